import type { Command } from 'commander';
import type { PoolReport } from '../../model/records.ts';
import { formatSize } from '../../model/size.ts';
import { describeLabels, examples, keyValues, reference } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { contentOf } from '../volume-text.ts';
import { addDrainCommands } from './host-drain.ts';
import { addRemoveHostCommand } from './host-remove.ts';
import { addReadmitCommand } from './revoke-identity.ts';

export function addHostCommands(program: Command, cli: Cli): void {
  const host = program.command('host').description('show, label, drain and remove the hosts of the cluster');

  host
    .command('ls')
    .alias('list')
    .description('list all hosts')
    .addHelpText('after', examples('supercargo host ls', 'supercargo host ls --json'))
    .action(() => listHosts(cli));

  host
    .command('inspect')
    .description('show all that is known of a host')
    .argument('<host>', 'name or identifier', reference('host'))
    .addHelpText('after', examples('supercargo host inspect h1'))
    .action((word: string) => inspectHost(cli, word));

  host
    .command('label')
    .description('set labels of a host; those that are not named stay, and one without a value goes')
    .argument('<host>', 'name or identifier', reference('host'))
    .argument('<labels...>', 'zone=a rack=7 old=', keyValues('The label'))
    .addHelpText('after', `${examples('supercargo host label h1 zone=a rack=')}\n\nReplicas of a volume go to hosts of different zones (label zone).`)
    .action((word: string, labels: Record<string, string>) => labelHost(cli, word, labels));

  addDrainCommands(host, cli);
  addRemoveHostCommand(host, cli);
  addReadmitCommand(host, cli);
}

async function listHosts(cli: Cli): Promise<void> {
  const [{ items: hosts }, { items: volumes }] = await cli.api((api) => Promise.all([api.listHosts({}), api.listVolumes({})]));
  const items = hosts.map((host) => ({ ...host, held: contentOf(host.id, volumes).held.length }));
  const rows = items.map(({ name, status, state, held, labels, address, pool, version }) => [
    name,
    status,
    state,
    String(held),
    describeLabels(labels),
    address,
    describePool(pool),
    version,
  ]);
  cli.output.table(items, ['NAME', 'STATUS', 'STATE', 'HOLDS', 'LABELS', 'ADDRESS', 'POOL USED/CAPACITY', 'VERSION'], rows);
}

async function inspectHost(cli: Cli, word: string): Promise<void> {
  const found = await cli.api((api) => api.getHost({ parameters: { host: word } }));
  cli.output.details(found, [
    ['name', found.name],
    ['identifier', found.id],
    ['status', found.status],
    ['state', found.state],
    ['labels', describeLabels(found.labels)],
    ['address', found.address],
    ['version', found.version],
    ['pool', describePool(found.pool)],
    ['pool driver', found.pool?.driver ?? ''],
    ['pool location', found.pool?.location ?? ''],
    ['joined', found.joinedAt],
  ]);
}

async function labelHost(cli: Cli, word: string, changes: Record<string, string>): Promise<void> {
  await cli.api(async (api) => {
    const { name, labels: before } = await api.getHost({ parameters: { host: word } });
    const labels = Object.fromEntries(Object.entries({ ...before, ...changes }).filter(([, value]) => value !== ''));
    await api.labelHost({ parameters: { host: word }, body: { labels } });
    cli.output.details({ name, labels }, [[name, describeLabels(labels)]]);
  });
}

function describePool(pool: PoolReport | null): string {
  return pool === null ? '' : `${formatSize(pool.usedBytes)} / ${formatSize(pool.capacityBytes)}`;
}
