import { formatDuration } from '../model/duration.ts';
import type { Move, VolumeUse } from '../model/records.ts';
import { formatSize } from '../model/size.ts';
import { formatRate, printable } from './format.ts';
import type { HostNames } from './host-names.ts';

const kinds: Record<VolumeUse['kind'], string> = { container: 'container', process: 'process', 'mount-session': 'mount' };

/** Who uses a volume: "container db, process psql (4711)". */
export function describeUses(uses: readonly VolumeUse[]): string {
  return uses.map(({ kind, name }) => `${kinds[kind]} ${printable(name)}`).join(', ');
}

/** Where a move is, in one line: "pgdata h1 -> h2: copying  63 %  1.1 of 1.7 GiB  210 MiB/s  3 s left". */
export function describeMove(move: Move, hostName: HostNames): string {
  return `${move.volumeName} ${hostName(move.from)} -> ${hostName(move.to)}: ${describePhase(move, hostName)}`;
}

function describePhase(move: Move, hostName: HostNames): string {
  switch (move.phase) {
    case 'copying':
      return `copying${describeProgress(move)}`;
    case 'ready':
      return move.blockedBy.length === 0
        ? 'ready; handing over'
        : `ready; waits for ${describeUses(move.blockedBy)} on ${hostName(move.from)} to stop`;
    case 'released':
      return `last changes${describeProgress(move)}`;
    case 'committed':
      return 'done';
    case 'aborted':
      return `failed: ${printable(move.error?.message ?? 'no reason is recorded')}`;
  }
}

function describeProgress({ progress }: Move): string {
  if (progress === null) return '';
  const { transferredBytes, bytesPerSecond } = progress;
  // The total is an estimate, which the data may exceed.
  const totalBytes = Math.max(progress.totalBytes, transferredBytes);
  const percent = totalBytes === 0 ? 100 : Math.floor((100 * transferredBytes) / totalBytes);
  const parts = [`${percent} %`, `${formatSize(transferredBytes)} of ${formatSize(totalBytes)}`, formatRate(bytesPerSecond)];
  const leftBytes = totalBytes - transferredBytes;
  if (bytesPerSecond > 0 && leftBytes > 0) parts.push(`${formatDuration((1000 * leftBytes) / bytesPerSecond)} left`);
  return `  ${parts.join('  ')}`;
}

/** What a move that reached its destination came to: "Moved pgdata from h1 to h2: 1.7 GiB in 8.2 s." */
export function describeCommitted(move: Move, hostName: HostNames): string {
  const took = move.endedAt === null ? 0 : Date.parse(move.endedAt) - Date.parse(move.startedAt);
  const bytes = move.progress?.totalTransferredBytes ?? 0;
  return `Moved ${move.volumeName} from ${hostName(move.from)} to ${hostName(move.to)}: ${formatSize(bytes)} in ${formatDuration(took)}.`;
}
