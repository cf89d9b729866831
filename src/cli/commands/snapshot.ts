import { Option } from 'commander';
import type { Command } from 'commander';
import { SupercargoError } from '../../model/errors.ts';
import { parseSnapshotName } from '../../model/names.ts';
import { formatSize } from '../../model/size.ts';
import type { SnapshotView } from '../../protocol/snapshot-routes.ts';
import { describeLabels, examples, keyValues, reference, snapshotReference, snapshotReferences, volumeOrSnapshot } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { titleOf } from '../follow-snapshot.ts';
import { plural } from '../volume-text.ts';
import { formatAge, formatDetails, parseDuration, printable } from '../format.ts';

/** How long a comparison may take, in milliseconds: it reads the metadata of what has changed. */
const differenceMilliseconds = 600_000;

export function addSnapshotCommands(program: Command, cli: Cli): void {
  const snapshot = program.command('snapshot').description('keep the state of a volume under a name: VOLUME@SNAPSHOT');

  snapshot
    .command('create')
    .description('take a snapshot of a volume, also while it is in use; asked again with the same name, it succeeds')
    .argument('<snapshot>', 'VOLUME@NAME, or VOLUME for a name made of the time', volumeOrSnapshot)
    .option('--description <text>', 'what it is for')
    .option('--label <key=value>', 'label, may be given several times', keyValues('Option "--label"'))
    .addOption(new Option('--detach', 'return at once; it is taken all the same').conflicts('timeout'))
    .option('--timeout <duration>', 'stop waiting after this time; it stays asked for', (text: string) => parseDuration('--timeout', text))
    .addHelpText('after', examples('supercargo snapshot create pgdata', 'supercargo snapshot create pgdata@before-upgrade --label ticket=42'))
    .action((text: string, options: CreateOptions) => createSnapshot(cli, text, options));

  snapshot
    .command('ls')
    .alias('list')
    .description('list snapshots, and on which hosts they are')
    .argument('[volume]', 'name or identifier (default: of all volumes)', reference('volume'))
    .addHelpText('after', examples('supercargo snapshot ls', 'supercargo snapshot ls pgdata --json'))
    .action((volume: string | undefined) => listSnapshots(cli, volume));

  snapshot
    .command('inspect')
    .description('show one snapshot')
    .argument('<snapshot>', 'VOLUME@SNAPSHOT', snapshotReference)
    .addHelpText('after', examples('supercargo snapshot inspect pgdata@nightly'))
    .action((text: string) => inspectSnapshot(cli, text));

  snapshot
    .command('rm')
    .alias('remove')
    .description('delete snapshots, on all hosts; those that are off drop theirs when they are back')
    .argument('<snapshot...>', 'VOLUME@SNAPSHOT', snapshotReferences)
    .addHelpText('after', examples('supercargo snapshot rm pgdata@nightly pgdata@before-upgrade'))
    .action((texts: string[]) => removeSnapshots(cli, texts));

  snapshot
    .command('diff')
    .description('show which paths have changed from one snapshot to another, on a host that has both')
    .argument('<from>', 'VOLUME@SNAPSHOT', snapshotReference)
    .argument('<to>', 'VOLUME@SNAPSHOT', snapshotReference)
    .addHelpText('after', examples('supercargo snapshot diff pgdata@monday pgdata@tuesday'))
    .action((from: string, to: string) => showDifference(cli, from, to));
}

interface CreateOptions {
  description?: string;
  label?: Record<string, string>;
  detach?: boolean;
  timeout?: number;
}

async function createSnapshot(cli: Cli, text: string, { description, label, detach = false, timeout }: CreateOptions): Promise<void> {
  const { output } = cli;
  const { wantSnapshot } = await import('../follow-snapshot.ts');
  const { volume, snapshot } = parseSnapshotName(text);
  await cli.api(async (api) => {
    const wish = { volume, name: snapshot ?? undefined, description, labels: label };
    const view = await wantSnapshot(wish, { api, output, detach, timeoutMilliseconds: timeout });
    output.result(view, () => [titleOf(view)]);
  });
}

async function listSnapshots(cli: Cli, volume: string | undefined): Promise<void> {
  const { items } = await cli.api((api) => api.listSnapshots({ query: volume === undefined ? {} : { volume } }));
  const rows = items.map((view) => [
    titleOf(view),
    view.kind,
    describeState(view),
    view.takenAt === null ? '' : formatAge(view.takenAt, Date.now()),
    view.bytes === null ? '' : formatSize(view.bytes),
    view.hosts.join(', '),
  ]);
  cli.output.table(items, ['SNAPSHOT', 'KIND', 'STATE', 'AGE', 'CHANGED', 'ON'], rows);
}

function describeState({ state, explanation }: SnapshotView): string {
  return explanation === null ? state : `${state}: ${explanation}`;
}

async function inspectSnapshot(cli: Cli, text: string): Promise<void> {
  const parameters = partsOf(text);
  const view = await cli.api((api) => api.getSnapshot({ parameters }));
  cli.output.result(view, () =>
    formatDetails([
      ['name', titleOf(view)],
      ['identifier', view.snapshot ?? view.id],
      ['state', describeState(view)],
      ['kind', view.kind],
      ['description', view.description],
      ['labels', describeLabels(view.labels)],
      ['asked for', view.requestedAt],
      ['taken', view.takenAt ?? 'not yet'],
      ['epoch', view.epoch === null ? '' : String(view.epoch)],
      ['changed', view.bytes === null ? '' : formatSize(view.bytes)],
      ['on', view.hosts.join(', ')],
    ]),
  );
}

/** Tries every one, so that one which is needed does not keep the others; the errors are thrown together at the end. */
async function removeSnapshots(cli: Cli, texts: readonly string[]): Promise<void> {
  await cli.api(async (api) => {
    const removed: string[] = [];
    const failures: unknown[] = [];
    for (const text of texts) {
      try {
        await api.deleteSnapshot({ parameters: partsOf(text) });
        removed.push(text);
      } catch (error) {
        failures.push(error);
      }
    }
    cli.output.result(removed, () => removed);
    if (failures.length > 0) throw new AggregateError(failures);
  });
}

async function showDifference(cli: Cli, from: string, to: string): Promise<void> {
  const { output } = cli;
  const [one, other] = [partsOf(from), partsOf(to)];
  if (one.volume !== other.volume) throw new SupercargoError('invalid-request', 'Only snapshots of one volume can be compared.');
  const query = { volume: one.volume, from: one.snapshot, to: other.snapshot };
  const difference = await cli.agent((agent) => agent.diffSnapshots({ query }, { timeoutMilliseconds: differenceMilliseconds }));
  const { changes, total, bytes } = difference;
  if (output.json) return output.result(difference, () => []);
  // Names of files are whatever their makers wanted.
  const rows = changes.map((each) => [
    each.change,
    formatSize(each.bytes),
    printable(each.from === undefined ? each.path : `${each.from} -> ${each.path}`),
  ]);
  output.table(changes, ['CHANGE', 'WRITTEN', 'PATH'], rows);
  output.note(`${plural(total, 'path')}, ${formatSize(bytes)} written${total > changes.length ? `; the first ${changes.length} are listed` : ''}`);
}

/** Of an argument that was read already. */
function partsOf(text: string): { volume: string; snapshot: string } {
  const { volume, snapshot } = parseSnapshotName(text);
  return { volume, snapshot: snapshot ?? '' };
}
