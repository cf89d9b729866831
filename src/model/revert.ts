import { recordCopy } from './copies.ts';
import { SupercargoError } from './errors.ts';
import { isHeldBy, recordSnapshot, withNewEpoch } from './failover.ts';
import type { LineageEntry, Snapshot, Volume } from './records.ts';
import { findTaken, hostsWith, isTaken } from './snapshots.ts';

/**
 * A volume goes back to one of its snapshots in place, as pure functions like those of placement.ts. The holder gives up its right to write as for a move, and
 * keeps what there was as a snapshot; one swap makes the older snapshot the newest of the history and what the next epoch begins with.
 */

export interface RevertWish {
  id: string;
  /** The snapshot, by its name or an identifier. */
  word: string;
  now: string;
}

/**
 * @throws not-found; move-in-progress; wrong-state if nobody holds the volume, the holder does not have the snapshot, or it is going back to another one
 */
export function requestRevert(volume: Volume, { id, word, now }: RevertWish): Volume {
  const { name, placement, reverting } = volume;
  const { snapshot, name: title } = findTaken(volume, word);
  if (placement.state === 'moving') {
    throw new SupercargoError('move-in-progress', `Volume "${name}" is being moved.`, {
      hint: `Wait until the move ends, or cancel it: supercargo move cancel ${placement.move}`,
    });
  }
  if (placement.state !== 'held') throw new SupercargoError('wrong-state', `Volume "${name}" is not held by a host (it is ${placement.state}).`);
  if (!hostsWith(volume, snapshot).includes(placement.host)) {
    throw new SupercargoError('wrong-state', `The holder of volume "${name}" does not have its snapshot "${title}".`, {
      hint: `supercargo snapshot inspect ${name}@${title} says who has it: move the volume there first.`,
    });
  }
  if (reverting !== null && reverting.problem === null) {
    if (reverting.snapshot === snapshot) return volume;
    throw new SupercargoError('wrong-state', `Volume "${name}" is going back to another snapshot at the moment.`, { hint: 'Wait a moment.' });
  }
  return { ...volume, reverting: { id, snapshot, requestedAt: now, problem: null } };
}

/** The holder does not do it, and says why. @throws stale-epoch */
export function refuseRevert(volume: Volume, host: string, epoch: number, problem: NonNullable<Volume['reverting']>['problem']): Volume {
  requireHeld(volume, host, epoch);
  return volume.reverting === null ? volume : { ...volume, reverting: { ...volume.reverting, problem } };
}

/** What is still asked for is asked for no more. */
export function callOffRevert(volume: Volume, id?: string): Volume {
  return volume.reverting === null || (id !== undefined && volume.reverting.id !== id) ? volume : { ...volume, reverting: null };
}

/** Whether it is being done, or was: the epoch began with the snapshot. A move that was opened since changes nothing of that. */
export function isReverted({ lineage, placement, epoch }: Volume): boolean {
  return (
    (placement.state === 'held' || placement.state === 'moving') &&
    lineage.some((entry) => entry.snapshot === placement.base && entry.epoch === epoch)
  );
}

export interface Reverting {
  epoch: number;
  /** Holds all that was written under that epoch. */
  last: LineageEntry;
  /** The name under which that is kept. */
  safety: Pick<Snapshot, 'id' | 'name' | 'description'>;
}

/**
 * The holder has given up its right to write, and has kept what it had written: the swap. The snapshot that the volume goes back to is entered into the history once
 * more, as its newest: a replica that has it has all of the volume. What was live is no part of the new epoch. @throws stale-epoch, wrong-state
 */
export function commitRevert(volume: Volume, host: string, { epoch, last, safety }: Reverting): Volume {
  // Asked again because the answer was lost.
  if (volume.epoch === epoch + 1 && volume.snapshots.some(({ snapshot }) => snapshot === last.snapshot)) return volume;
  requireHeld(volume, host, epoch);
  const { reverting, placement } = volume;
  if (reverting === null || reverting.problem !== null || placement.state !== 'held') {
    throw new SupercargoError('wrong-state', `Volume "${volume.name}" is not to go back to a snapshot any more.`, { hint: 'It goes on as it is.' });
  }
  const recorded = recordSnapshot(volume, host, last);
  const { snapshot, takenAt, bytes } = last;
  const kept: Snapshot = { ...safety, kind: 'safety', labels: {}, requestedAt: takenAt, snapshot, takenAt, epoch, bytes, problem: null };
  const { snapshots = [] } = volume.copies.find((copy) => copy.host === host) ?? {};
  return withNewEpoch({
    ...recordCopy(recorded, host, { host, kind: 'replica', snapshots: [...snapshots.filter((each) => each !== snapshot), snapshot] }),
    snapshots: [...volume.snapshots.filter(isTaken), kept, ...volume.snapshots.filter((each) => !isTaken(each))],
    lineage: [...recorded.lineage, { snapshot: reverting.snapshot, epoch: epoch + 1, takenAt, bytes: 0 }],
    placement: { ...placement, base: reverting.snapshot },
    reverting: null,
  });
}

function requireHeld(volume: Volume, host: string, epoch: number): void {
  if (isHeldBy(volume, host, epoch)) return;
  throw new SupercargoError('stale-epoch', `This host does not hold volume "${volume.name}" under epoch ${epoch}.`, {
    hint: 'Look at the volume again.',
  });
}
