import tab from '@bomb.sh/tab/commander';
import type { Command } from 'commander';
import { titleOf } from './access-text.ts';
import type { Cli } from './cli.ts';

/** How long the shell may wait for the names of volumes and hosts, in milliseconds. */
const lookupMilliseconds = 700;

const completedArguments = [
  ['volume clone', 'source', 'named'],
  ['volume revert', 'snapshot', 'named'],
  ['volume inspect', 'volume', 'volumes'],
  ['volume rm', 'volume', 'volumes'],
  ['volume move', 'volume', 'volumes'],
  ['volume failover', 'volume', 'volumes'],
  ['volume rekey', 'volume', 'volumes'],
  ['volume restore', 'volume', 'volumes'],
  ['volume restore', 'snapshot', 'snapshots'],
  ['volume forget', 'volume', 'volumes'],
  ['volume forget', 'snapshot', 'snapshots'],
  ['snapshot create', 'snapshot', 'volumes'],
  ['snapshot ls', 'volume', 'volumes'],
  ['snapshot inspect', 'snapshot', 'named'],
  ['snapshot rm', 'snapshot', 'named'],
  ['snapshot diff', 'from', 'named'],
  ['snapshot diff', 'to', 'named'],
  ['where', 'volume', 'volumes'],
  ['host inspect', 'host', 'hosts'],
  ['host label', 'host', 'hosts'],
  ['host drain', 'host', 'hosts'],
  ['host activate', 'host', 'hosts'],
  ['host rm', 'host', 'hosts'],
  ['class set', 'name', 'classes'],
  ['project inspect', 'project', 'projects'],
  ['project set', 'project', 'projects'],
  ['project rm', 'project', 'projects'],
  ['app rm', 'application', 'applications'],
  ['app reinstate', 'application', 'applications'],
  ['app pass', 'application', 'applications'],
  ['grant', 'application', 'applications'],
  ['grant', 'volume', 'volumes'],
  ['revoke grant', 'grant', 'grants'],
  ['revoke app', 'application', 'applications'],
] as const;

type Names = Record<(typeof completedArguments)[number][2], string[]>;

/** Adds the command `complete`, which the shell calls by the script that `completion` prints; too heavy to be there at every start. */
export async function installCompletion(program: Command, cli: Cli): Promise<void> {
  const names = await lookUpNames(cli);
  const root = tab(program);
  root.commands.delete('complete');
  for (const [command, argument, kind] of completedArguments) {
    root.commands.get(command)?.argument(argument, (complete) => {
      for (const name of names[kind]) complete(name, '');
    });
  }
}

/** Completion must never fail or hang: whatever is not known at once is left out. */
async function lookUpNames(cli: Cli): Promise<Names> {
  const options = { timeoutMilliseconds: lookupMilliseconds };
  const known = async <Item>(list: Promise<{ items: Item[] }>): Promise<Item[]> => list.then(({ items }) => items).catch(() => []);
  const [volumes, hosts, classes, projects, applications, grants] = await cli
    .api((api) =>
      Promise.all([
        known(api.listVolumes({}, options)),
        known(api.listHosts({}, options)),
        known(api.listClasses({}, options)),
        known(api.listProjects({}, options)),
        known(api.listApplications({ query: {} }, options)),
        known(api.listGrants({ query: {} }, options)),
      ]),
    )
    .catch(() => [[], [], [], [], [], []] as const);
  return {
    volumes: volumes.map(({ name }) => name),
    snapshots: volumes.flatMap(({ diverged }) => diverged.map(({ snapshot }) => snapshot)),
    named: volumes.flatMap(({ name, snapshots }) => snapshots.map((snapshot) => `${name}@${snapshot.name}`)),
    hosts: hosts.map(({ name }) => name),
    classes: classes.map(({ name }) => name),
    projects: projects.map(({ name }) => name),
    applications: applications.map(({ id }) => titleOf(id, { applications, projects })),
    grants: grants.filter(({ revocation }) => revocation === null).map(({ id }) => id),
  };
}
