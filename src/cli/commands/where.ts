import type { Command } from 'commander';
import type { WhereView } from '../../protocol/routes.ts';
import { examples, reference } from '../cli.ts';
import type { Cli } from '../cli.ts';

export function addWhereCommand(program: Command, cli: Cli): void {
  program
    .command('where')
    .description('where does the data go? The host that holds a volume now')
    .argument('<volume>', 'name or identifier', reference('volume'))
    .addHelpText('after', examples('supercargo where pgdata', 'supercargo where pgdata --json'))
    .action(async (word: string) => {
      const view = await cli.api((api) => api.where({ parameters: { volume: word } }));
      cli.output.result(view, () => describeWhere(view));
    });
}

function describeWhere({ volume, state, host, address, epoch, replicas, move }: WhereView): string[] {
  const lines = [
    host === null
      ? `${volume}: nowhere yet; the first host that mounts it gets it`
      : `${volume}: on ${host} (${address ?? 'address unknown'}), ${state}, epoch ${epoch}`,
  ];
  if (replicas.length > 0) lines.push(`replicas: ${replicas.join(', ')}`);
  if (move !== null) lines.push(`being moved (${move.phase}); follow it: supercargo move follow ${move.id}`);
  return lines;
}
