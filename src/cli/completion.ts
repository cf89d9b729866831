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

/** Makes `completion` and the hidden `complete`, which the printed script calls, work on the program as it is. */
export async function installCompletion(program: Command, cli: Cli): Promise<void> {
  const placeholder = program.commands.findIndex((command) => command.name() === 'completion');
  if (placeholder >= 0) (program.commands as Command[]).splice(placeholder, 1);
  const root = tab(program, { completionCommandName: 'completion' });
  if (cli.argv[0] !== 'complete') return;
  const names = await lookUpNames(cli);
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
