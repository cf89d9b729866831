import type { Command } from 'commander';
import { formatDuration } from '../../model/duration.ts';
import { failsOverByItself } from '../../model/failover.ts';
import type { DivergedCopy, FailoverRecord, Volume } from '../../model/records.ts';
import { formatSize } from '../../model/size.ts';
import { hostsWith } from '../../model/snapshots.ts';
import type { CopyView, VolumeStatus } from '../../protocol/protection-routes.ts';
import { describeLabels, examples, reference } from '../cli.ts';
import type { Cli } from '../cli.ts';
import type { Api } from '../connection.ts';
import { formatDetails, formatLimit, formatTable } from '../format.ts';
import { hostNames } from '../host-names.ts';
import type { HostNames } from '../host-names.ts';
import { describeUses } from '../move-text.ts';
import { describeEncryption, describeProtection } from '../volume-text.ts';

export function addInspectCommand(volume: Command, cli: Cli): void {
  volume
    .command('inspect')
    .description('show how a volume stands: what is amiss, what to do next, its copies, and what a failover has left behind')
    .argument('<volume>', 'name or identifier', reference('volume'))
    .addHelpText('after', examples('supercargo volume inspect pgdata', 'supercargo volume inspect pgdata --json'))
    .action((word: string) => inspectVolume(cli, word));
}

async function inspectVolume(cli: Cli, word: string): Promise<void> {
  const { status, hosts, project } = await cli.api(async (api) => {
    const [found, { items }] = await Promise.all([api.getVolumeStatus({ parameters: { volume: word } }), api.listHosts({})]);
    return { status: found, hosts: items, project: await projectOf(api, found.volume) };
  });
  cli.output.result(status, () => describeStatus(status, project, hostNames(hosts)));
}

async function projectOf(api: Api, { project }: Volume): Promise<string> {
  const { defaultProject } = await import('../../model/records.ts');
  return project === defaultProject.id ? defaultProject.name : (await api.getProject({ parameters: { project } })).name;
}

function describeStatus(status: VolumeStatus, project: string, hostName: HostNames): string[] {
  const { volume, copies } = status;
  const lines = formatDetails([
    ['name', volume.name],
    ['identifier', volume.id],
    ['project', project],
    ['state', status.state],
    ['healthy', describeHealth(status)],
    ...(status.uses.length === 0 ? [] : [['used by', describeUses(status.uses)] as const]),
    ['next step', status.next ?? (status.healthy ? 'nothing is to be done' : '')],
    ['epoch', String(volume.epoch)],
    ['class', volume.class],
    ['protection', describeProtection(volume.protection) + leaseRemark(volume)],
    ['encryption', describeEncryption(volume)],
    ['driver', volume.driver],
    ['size limit', formatLimit(volume.sizeBytes)],
    ['labels', describeLabels(volume.labels)],
    ['created', volume.createdAt],
    ...(volume.lastFailover === null ? [] : describeFailover(volume.lastFailover, hostName)),
  ]);
  if (copies.length > 0) {
    lines.push(
      '',
      ...formatTable(
        ['COPY ON', 'ROLE', 'STATUS', 'LAG', 'LAG BYTES', 'NEWEST SNAPSHOT'],
        copies.map((copy) => copyRow(copy, hostName)),
      ),
    );
  }
  if (volume.snapshots.length > 0) lines.push('', ...describeSnapshots(volume, hostName));
  if (volume.diverged.length > 0) lines.push('', ...describeDiverged(volume, hostName));
  return lines;
}

function describeHealth({ healthy, blockedBy, volume }: VolumeStatus): string {
  if (healthy) return 'yes';
  return `NO: ${blockedBy ?? (volume.diverged.length > 0 ? 'what is kept below waits for a decision' : 'the name server gives no reason')}`;
}

/** Automatic failover begins only when the holder has promised to stop its users in time. */
function leaseRemark(volume: Volume): string {
  const waits = volume.protection.failover === 'auto' && volume.placement.state === 'held' && !failsOverByItself(volume);
  return waits ? ' (not in force yet: the holder has not taken up its lease)' : '';
}

function copyRow({ host, role, status, snapshot, lagMilliseconds, lagBytes }: CopyView, hostName: HostNames): string[] {
  return [
    hostName(host),
    role,
    status,
    lagMilliseconds === null ? '' : formatDuration(lagMilliseconds),
    lagBytes === null ? '' : formatSize(lagBytes),
    snapshot ?? '',
  ];
}

function describeFailover(record: FailoverRecord, hostName: HostNames): (readonly [string, string])[] {
  return [
    ['last failover', `${record.at} from ${hostName(record.from)} to ${hostName(record.to)} by ${record.actor}: ${record.reason}`],
    ['lost by it', describeLoss(record)],
  ];
}

/** What a failover has cost, in words. */
export function describeLoss({ snapshotTakenAt, at }: FailoverRecord): string {
  if (snapshotTakenAt === null) return 'everything: the new holder started empty';
  const milliseconds = Math.max(0, Date.parse(at) - Date.parse(snapshotTakenAt));
  return `what was written after ${snapshotTakenAt}, ${formatDuration(milliseconds)} before it`;
}

function describeSnapshots(volume: Volume, hostName: HostNames): string[] {
  const rows = volume.snapshots.map(({ name, kind, snapshot, takenAt, problem }) => [
    `${volume.name}@${name}`,
    kind,
    takenAt ?? (problem === null ? 'not yet' : 'FAILED'),
    snapshot === null ? '' : hostsWith(volume, snapshot).map(hostName).join(', '),
  ]);
  return formatTable(['SNAPSHOT', 'KIND', 'TAKEN', 'ON'], rows);
}

function describeDiverged({ name, diverged }: Volume, hostName: HostNames): string[] {
  const rows = diverged.map(({ snapshot, host, epoch, keptAt }: DivergedCopy) => [snapshot, hostName(host), String(epoch), keptAt]);
  return [
    'Kept of holders that were replaced (not part of the volume any more):',
    ...formatTable(['SNAPSHOT', 'ON', 'EPOCH', 'SINCE'], rows),
    `restore one: supercargo volume restore ${name} SNAPSHOT NEWNAME`,
    `drop one:    supercargo volume forget ${name} SNAPSHOT`,
  ];
}
