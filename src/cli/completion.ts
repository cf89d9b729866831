import tab from '@bomb.sh/tab/commander';
import type { Command } from 'commander';
import type { Cli } from './cli.ts';

/** How long the shell may wait for the names of volumes and hosts, in milliseconds. */
const lookupMilliseconds = 700;

const completedArguments = [
  ['volume inspect', 'volume', 'volumes'],
  ['volume rm', 'volume', 'volumes'],
  ['volume move', 'volume', 'volumes'],
  ['where', 'volume', 'volumes'],
  ['host inspect', 'host', 'hosts'],
] as const;

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
async function lookUpNames(cli: Cli): Promise<{ volumes: string[]; hosts: string[] }> {
  const options = { timeoutMilliseconds: lookupMilliseconds };
  try {
    const [volumes, hosts] = await cli.api((api) => Promise.all([api.listVolumes({}, options), api.listHosts({}, options)]));
    return { volumes: volumes.items.map(({ name }) => name), hosts: hosts.items.map(({ name }) => name) };
  } catch {
    return { volumes: [], hosts: [] };
  }
}
