import { Option } from 'commander';
import type { Command } from 'commander';
import { SupercargoError } from '../../model/errors.ts';
import { currentHost } from '../../model/placement.ts';
import type { Host, Volume } from '../../model/records.ts';
import { parseSize } from '../../model/size.ts';
import { examples, named, namedList } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { formatAge, formatLimit, parseDuration } from '../format.ts';

/** How long a removal may take, in milliseconds: the holder first makes sure that nothing uses the volume. */
const removalTimeoutMilliseconds = 60_000;

export function addVolumeCommands(program: Command, cli: Cli): void {
  const volume = program.command('volume').description('make, show, move and remove volumes');

  volume
    .command('create')
    .description('make a volume; asked again with the same options, it succeeds')
    .argument('<name>', 'name of the volume', named('volume'))
    .option('--size <size>', 'size limit, for example 10G', (text: string) => parseSize('--size', text))
    .option('--class <class>', 'class of the volume')
    .option('--label <key=value>', 'label, may be given several times', collectLabel)
    .option('--host <host>', 'host that gets it at once (default: the first that mounts it)', named('host'))
    .addHelpText('after', examples('supercargo volume create pgdata --size 10G --label team=shop'))
    .action((name: string, options: CreateOptions) => createVolume(cli, name, options));

  volume
    .command('ls')
    .alias('list')
    .description('list all volumes')
    .addHelpText('after', examples('supercargo volume ls', 'supercargo volume ls --json'))
    .action(() => listVolumes(cli));

  volume
    .command('inspect')
    .description('show all that is known of a volume')
    .argument('<volume>', 'name or identifier', named('volume'))
    .addHelpText('after', examples('supercargo volume inspect pgdata', 'supercargo volume inspect pgdata --json'))
    .action((name: string) => inspectVolume(cli, name));

  volume
    .command('rm')
    .alias('remove')
    .description('remove volumes that nothing uses')
    .argument('<volume...>', 'names or identifiers', namedList('volume'))
    .addHelpText('after', examples('supercargo volume rm old1 old2'))
    .action((names: string[]) => removeVolumes(cli, names));

  volume
    .command('move')
    .description('move a volume to another host: copies while it is used, hands over when nothing uses it any more')
    .argument('<volume>', 'name or identifier', named('volume'))
    .requiredOption('--to <host>', 'destination', named('host'))
    .addOption(new Option('--detach', 'return at once; the move goes on').conflicts('timeout'))
    .option('--timeout <duration>', 'stop waiting after this time, for example 10m; the move goes on', (text: string) =>
      parseDuration('--timeout', text),
    )
    .addHelpText('after', examples('supercargo volume move pgdata --to h2', 'supercargo volume move pgdata --to h2 --detach --json'))
    .action((name: string, options: MoveOptions) => moveVolume(cli, name, options));
}

interface CreateOptions {
  size?: number;
  class?: string;
  label?: Record<string, string>;
  host?: string;
}

function collectLabel(text: string, previous: Record<string, string> = {}): Record<string, string> {
  const [, key, value] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
  if (key === undefined || value === undefined) {
    throw new SupercargoError('invalid-option', `Option "--label" is not key=value: ${JSON.stringify(text)}.`, {
      hint: 'Write for example --label team=shop.',
    });
  }
  return { ...previous, [key]: value };
}

async function createVolume(cli: Cli, name: string, options: CreateOptions): Promise<void> {
  const { size, class: className, label, host } = options;
  const body = {
    name,
    ...(size === undefined ? {} : { sizeBytes: size }),
    ...(className === undefined ? {} : { class: className }),
    ...(label === undefined ? {} : { labels: label }),
    ...(host === undefined ? {} : { host }),
  };
  const volume = await cli.api((api) => api.createVolume({ body }));
  cli.output.result(volume, () => [volume.name]);
}

async function listVolumes(cli: Cli): Promise<void> {
  const [{ items: volumes }, { items: hosts }] = await cli.api((api) => Promise.all([api.listVolumes({}), api.listHosts({})]));
  const name = hostNames(hosts);
  const rows = volumes.map((volume) => [
    volume.name,
    volume.class,
    formatLimit(volume.sizeBytes),
    name(currentHost(volume.placement)),
    describeState(volume, name),
    replicasOf(volume).map(name).join(','),
    formatAge(volume.createdAt, Date.now()),
  ]);
  cli.output.table(volumes, ['NAME', 'CLASS', 'SIZE', 'HOLDER', 'STATE', 'REPLICAS', 'AGE'], rows);
}

async function inspectVolume(cli: Cli, word: string): Promise<void> {
  const [volume, { items: hosts }] = await cli.api((api) => Promise.all([api.getVolume({ parameters: { volume: word } }), api.listHosts({})]));
  const name = hostNames(hosts);
  const copies = volume.copies.map((copy) => [`copy on ${name(copy.host)}`, `${copy.kind}, ${copy.snapshots.length} snapshots`] as const);
  cli.output.details(volume, [
    ['name', volume.name],
    ['identifier', volume.id],
    ['class', volume.class],
    ['driver', volume.driver],
    ['size limit', formatLimit(volume.sizeBytes)],
    ['state', describeState(volume, name)],
    ['holder', name(currentHost(volume.placement))],
    ['epoch', String(volume.epoch)],
    ...copies,
    [
      'labels',
      Object.entries(volume.labels)
        .map(([key, value]) => `${key}=${value}`)
        .join(', '),
    ],
    ['created', volume.createdAt],
  ]);
}

/** Tries every one, so that a volume in use does not keep the others; the errors are thrown together at the end. */
async function removeVolumes(cli: Cli, names: readonly string[]): Promise<void> {
  await cli.api(async (api) => {
    const removed: string[] = [];
    const failures: unknown[] = [];
    for (const name of names) {
      try {
        await api.removeVolume({ parameters: { volume: name } }, { timeoutMilliseconds: removalTimeoutMilliseconds });
        removed.push(name);
      } catch (error) {
        failures.push(error);
      }
    }
    cli.output.result(removed, () => removed);
    if (failures.length > 0) throw new AggregateError(failures);
  });
}

interface MoveOptions {
  to: string;
  detach?: boolean;
  timeout?: number;
}

async function moveVolume(cli: Cli, name: string, { to, detach, timeout }: MoveOptions): Promise<void> {
  const { output } = cli;
  const { followAndReport } = await import('../follow-move.ts');
  await cli.api(async (api) => {
    const { move, volume } = await api.createMove({ body: { volume: name, to } });
    if (move === null) return output.result(null, () => [`Volume ${volume.name} is on ${to} already.`]);
    if (detach === true) {
      output.result(move, () => [move.id]);
      if (!output.json) output.note(`The move goes on. Follow it: supercargo move follow ${move.id}`);
      return;
    }
    await followAndReport(move, { api, output, timeoutMilliseconds: timeout });
  });
}

function hostNames(hosts: readonly Host[]): (id: string | null) => string {
  const names = new Map(hosts.map(({ id, name }) => [id, name]));
  return (id) => (id === null ? '' : (names.get(id) ?? id));
}

function replicasOf(volume: Volume): string[] {
  return volume.copies.filter(({ kind }) => kind === 'replica').map(({ host }) => host);
}

function describeState({ placement }: Volume, name: (id: string | null) => string): string {
  return placement.state === 'moving' ? `moving to ${name(placement.to)}` : placement.state;
}
