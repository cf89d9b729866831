import { recordCopy } from './copies.ts';
import { SupercargoError } from './errors.ts';
import { recordSnapshot, withNewEpoch } from './failover.ts';
import type { Move, Placement, Volume, VolumeUse } from './records.ts';

/**
 * The state machine of a volume and its move: every change of holder that can ever happen, as pure functions from records to records.
 * The name server runs each as one compare-and-swap. What makes one writer certain:
 * - only a `release` by the source itself ends its right to write; only `commit` gives it to another, and only after a release;
 * - every grant after a release carries a higher epoch, so whoever acts on an older one is refused.
 * Each function may be called again with the same parameters after it succeeded and then changes nothing.
 */
export interface MoveChange {
  volume: Volume;
  move: Move;
}

export interface Opening {
  moveId: string;
  reason: Move['reason'];
  now: string;
}

function wrongState(message: string, hint: string): SupercargoError {
  return new SupercargoError('wrong-state', message, { hint });
}

export function isOver(move: Move): boolean {
  return move.phase === 'committed' || move.phase === 'aborted';
}

/**
 * A host wants to hold the volume. A free one is granted at once; a foreign one gets a move opened; a move that leads there is joined.
 * @throws move-in-progress if the volume is on its way to a third host, not-found if it is being removed
 */
export function claim(volume: Volume, host: string, opening: Opening): { volume: Volume; move: Move | null } {
  const { placement } = volume;
  switch (placement.state) {
    case 'free':
      return { volume: withNewEpoch({ ...volume, placement: { state: 'held', host, base: null } }), move: null };
    case 'held':
      return placement.host === host ? { volume, move: null } : openMove(volume, placement, host, opening);
    case 'moving':
      if (placement.to === host) return { volume, move: null };
      throw new SupercargoError('move-in-progress', `Volume "${volume.name}" is being moved to another host.`, {
        hint: `Wait until the move ends, or cancel it: supercargo move cancel ${placement.move}`,
        details: { move: placement.move, to: placement.to },
      });
    case 'removing':
      throw new SupercargoError('not-found', `Volume "${volume.name}" is being removed.`);
  }
}

function openMove(volume: Volume, held: Placement & { state: 'held' }, to: string, opening: Opening): MoveChange {
  const move: Move = {
    id: opening.moveId,
    volume: volume.id,
    volumeName: volume.name,
    from: held.host,
    to,
    epoch: volume.epoch,
    reason: opening.reason,
    phase: 'copying',
    blockedBy: [],
    finalSnapshot: null,
    progress: null,
    error: null,
    startedAt: opening.now,
    endedAt: null,
  };
  // Listed from the start: should the volume be removed meanwhile, its record waits until what has already arrived there is gone as well.
  const listed = volume.copies.some((copy) => copy.host === to);
  const expecting = listed ? volume : recordCopy(volume, to, { host: to, kind: 'replica', snapshots: [] });
  return { move, volume: { ...expecting, reverting: null, placement: { state: 'moving', from: held.host, to, move: move.id, base: held.base } } };
}

/** Checks that volume and move belong together and that the move is still going on. */
function checkOpen(volume: Volume, move: Move): Placement & { state: 'moving' } {
  if (isOver(move) || volume.placement.state !== 'moving' || volume.placement.move !== move.id) {
    throw wrongState(
      `Move ${move.id} of volume "${move.volumeName}" has ended (${move.phase}).`,
      'Look at the volume again; nothing is left to do for this move.',
    );
  }
  return volume.placement;
}

/** The destination has nearly everything. @throws wrong-state if the move has ended */
export function markReady(volume: Volume, move: Move): MoveChange {
  checkOpen(volume, move);
  return move.phase === 'copying' ? { volume, move: { ...move, phase: 'ready' } } : { volume, move };
}

/** The source says what still uses the volume. @throws wrong-state if the move has ended or was released */
export function markBlocked(volume: Volume, move: Move, uses: VolumeUse[]): MoveChange {
  checkOpen(volume, move);
  if (move.phase === 'released') throw wrongState(`Move ${move.id} was released already.`, 'Look at the move again.');
  return { volume, move: { ...move, blockedBy: uses } };
}

/**
 * The source declares, after it made sure that nothing can write any more, that its right to write has ended.
 * @throws wrong-state if the move has ended: the source still holds the volume and takes it back with `reclaim`
 */
export function release(volume: Volume, move: Move, finalSnapshot: string, now: string): MoveChange {
  checkOpen(volume, move);
  if (move.phase === 'released') {
    if (move.finalSnapshot === finalSnapshot) return { volume, move };
    throw wrongState(`Move ${move.id} was released with another snapshot.`, 'Report this as a defect.');
  }
  const entry = { snapshot: finalSnapshot, epoch: volume.epoch, takenAt: now, bytes: 0 };
  return { volume: recordSnapshot(volume, move.from, entry), move: { ...move, phase: 'released', blockedBy: [], finalSnapshot } };
}

/** The commit point: the destination has the final snapshot and becomes the holder. @throws wrong-state before the release or after an abort */
export function commit(volume: Volume, move: Move, now: string): MoveChange {
  if (move.phase === 'committed') return { volume, move };
  checkOpen(volume, move);
  if (move.phase !== 'released' || move.finalSnapshot === null) {
    throw wrongState(`Move ${move.id} has not been released by its source.`, 'Wait for the release.');
  }
  return {
    move: { ...move, phase: 'committed', endedAt: now },
    volume: withNewEpoch({
      ...withRetired(volume, move.from, move.finalSnapshot),
      placement: { state: 'held', host: move.to, base: move.finalSnapshot },
    }),
  };
}

/** What the source's release said: it has the final snapshot, and no right to write. */
function withRetired(volume: Volume, source: string, finalSnapshot: string): Volume {
  const copy = volume.copies.find((each) => each.host === source);
  if (copy === undefined) return volume;
  const snapshots = [...copy.snapshots.filter((each) => each !== finalSnapshot), finalSnapshot];
  return recordCopy(volume, source, { ...copy, kind: 'replica', snapshots });
}

/**
 * Ends a move before its commit point: the volume stays with the source. After a release the source needs a new epoch, because it
 * has said that it writes no more under the old one. @throws wrong-state if the move was committed
 */
export function abort(volume: Volume, move: Move, error: Move['error'], now: string): MoveChange {
  if (move.phase === 'aborted') return { volume, move };
  const placement = checkOpen(volume, move);
  const back: Volume = { ...volume, placement: { state: 'held', host: placement.from, base: placement.base } };
  return { move: { ...move, phase: 'aborted', error, endedAt: now }, volume: move.phase === 'released' ? withNewEpoch(back) : back };
}

/**
 * The holder released under an epoch, but the move was aborted before it could say so: it gets a new epoch.
 * @throws stale-epoch if the volume is no longer this host's
 */
export function reclaim(volume: Volume, host: string, releasedEpoch: number): Volume {
  const { placement } = volume;
  if (placement.state !== 'held' || placement.host !== host || volume.epoch < releasedEpoch) {
    throw new SupercargoError('stale-epoch', `Volume "${volume.name}" is no longer held by this host.`, { hint: 'Look at the volume again.' });
  }
  return volume.epoch === releasedEpoch ? withNewEpoch(volume) : volume;
}

/** Begins the removal; null means that the record can go at once, because there is no data. @throws move-in-progress */
export function remove(volume: Volume): Volume | null {
  const { placement } = volume;
  switch (placement.state) {
    case 'free':
      return null;
    case 'held':
      return { ...volume, reverting: null, placement: { state: 'removing', host: placement.host, base: placement.base, confirmed: false } };
    case 'removing':
      return volume;
    case 'moving':
      throw new SupercargoError('move-in-progress', `Volume "${volume.name}" is being moved.`, {
        hint: `Wait until the move ends, or cancel it: supercargo move cancel ${placement.move}`,
      });
  }
}

/** The holder has made sure that nothing uses the volume and given it up; from here on its name is free. @throws wrong-state */
export function confirmRemoval(volume: Volume, host: string): Volume {
  const { placement } = volume;
  if (placement.state !== 'removing' || placement.host !== host) {
    throw wrongState(`Volume "${volume.name}" is not being removed from this host.`, 'Look at the volume again.');
  }
  return placement.confirmed ? volume : { ...volume, placement: { ...placement, confirmed: true } };
}

/** The removal is called off: the holder keeps the volume under the same epoch. @throws wrong-state once it was confirmed */
export function refuseRemoval(volume: Volume): Volume {
  const { placement } = volume;
  if (placement.state !== 'removing' || placement.confirmed || placement.host === null) {
    throw wrongState(`The removal of volume "${volume.name}" cannot be called off any more.`, 'Look at the volume again.');
  }
  return { ...volume, placement: { state: 'held', host: placement.host, base: placement.base } };
}

/** A removed volume whose copies are still being deleted has no name any more. */
export function isNamed(volume: Volume): boolean {
  return volume.placement.state !== 'removing' || !volume.placement.confirmed;
}

/** True once nothing of a removed volume is left anywhere. */
export function isGone(volume: Volume): boolean {
  return volume.placement.state === 'removing' && volume.placement.confirmed && volume.copies.length === 0;
}
