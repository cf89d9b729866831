import type { Command } from 'commander';
import type { PoolReport } from '../../model/records.ts';
import { formatSize } from '../../model/size.ts';
import { examples, named } from '../cli.ts';
import type { Cli } from '../cli.ts';

export function addHostCommands(program: Command, cli: Cli): void {
  const host = program.command('host').description('show the hosts of the cluster');

  host
    .command('ls')
    .alias('list')
    .description('list all hosts')
    .addHelpText('after', examples('supercargo host ls', 'supercargo host ls --json'))
    .action(async () => {
      const { items } = await cli.api((api) => api.listHosts({}));
      const rows = items.map(({ name, status, address, pool, version }) => [name, status, address, describePool(pool), version]);
      cli.output.table(items, ['NAME', 'STATUS', 'ADDRESS', 'POOL USED/CAPACITY', 'VERSION'], rows);
    });

  host
    .command('inspect')
    .description('show all that is known of a host')
    .argument('<host>', 'name or identifier', named('host'))
    .addHelpText('after', examples('supercargo host inspect h1'))
    .action(async (word: string) => {
      const found = await cli.api((api) => api.getHost({ parameters: { host: word } }));
      cli.output.details(found, [
        ['name', found.name],
        ['identifier', found.id],
        ['status', found.status],
        ['address', found.address],
        ['version', found.version],
        ['pool', describePool(found.pool)],
        ['pool driver', found.pool?.driver ?? ''],
        ['pool location', found.pool?.location ?? ''],
        ['joined', found.joinedAt],
      ]);
    });
}

function describePool(pool: PoolReport | null): string {
  return pool === null ? '' : `${formatSize(pool.usedBytes)} / ${formatSize(pool.capacityBytes)}`;
}
