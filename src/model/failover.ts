import { recordCopy } from './copies.ts';
import { SupercargoError } from './errors.ts';
import { currentHost } from './holder.ts';
import type { Copy, DivergedCopy, FailoverRecord, LineageEntry, Protection, Volume } from './records.ts';

/**
 * What happens to a volume when its holder is lost, as pure functions like those of placement.ts. Which copy survives is decided by the lineage alone: the
 * list of snapshots that holders made, in the order in which the name server heard of them. Neither time stamps nor sizes have a say.
 */

/** Ended entries that are remembered although no copy has them, so that a late report finds its place. */
const rememberedEntries = 16;

/** The newest snapshot of the volume's history that a copy has; null if it has none of it. */
export function newestInLineage(volume: Pick<Volume, 'lineage'>, copy: Pick<Copy, 'snapshots'>): LineageEntry | null {
  return volume.lineage.findLast((entry) => copy.snapshots.includes(entry.snapshot)) ?? null;
}

/** The same for the copy on a host; null also if there is none. */
export function newestOn(volume: Volume, host: string): LineageEntry | null {
  const copy = volume.copies.find((each) => each.host === host);
  return copy === undefined ? null : newestInLineage(volume, copy);
}

/** Roughly what the volume's history holds, as far as it is remembered. Bytes. */
export function historyBytes({ lineage }: Pick<Volume, 'lineage'>): number {
  return lineage.reduce((sum, { bytes }) => sum + bytes, 0);
}

/**
 * The holder made a snapshot: it is the newest of the volume's history from here on. Only the holder of this very epoch adds to it, so what
 * a host writes after it was replaced never gets in. @throws stale-epoch
 */
export function recordSnapshot(volume: Volume, host: string, entry: LineageEntry): Volume {
  const { placement } = volume;
  const holds = (placement.state === 'held' && placement.host === host) || (placement.state === 'moving' && placement.from === host);
  if (!holds || entry.epoch !== volume.epoch) {
    throw new SupercargoError('stale-epoch', `This host does not hold volume "${volume.name}" under epoch ${entry.epoch}.`, {
      hint: 'Look at the volume again.',
    });
  }
  if (volume.lineage.some((each) => each.snapshot === entry.snapshot)) return volume;
  return { ...volume, lineage: trimLineage([...volume.lineage, entry], volume) };
}

/** Leaves out what no copy has any more and nobody has given a name, but for the last few. */
function trimLineage(lineage: readonly LineageEntry[], { copies, snapshots }: Volume): LineageEntry[] {
  const present = new Set([...copies.flatMap((copy) => copy.snapshots), ...snapshots.map(({ snapshot }) => snapshot)]);
  return lineage.filter((entry, index) => present.has(entry.snapshot) || index >= lineage.length - rememberedEntries);
}

export interface Takeover {
  to: string;
  actor: string;
  reason: string;
  now: string;
}

/**
 * A replica takes the place of the holder, under a new epoch: what the old holder wrote after the replica's snapshot is no part of the volume's history any more.
 * Whether the old holder has stopped is the caller's business. @throws wrong-state if the volume is not held by another host; data-missing if
 * the host has no snapshot of its history
 */
export function failOver(volume: Volume, takeover: Takeover): Volume {
  const { placement } = volume;
  if (placement.state !== 'held' || placement.host === takeover.to) {
    throw new SupercargoError('wrong-state', `Volume "${volume.name}" is not held by another host.`, { hint: 'Look at the volume again.' });
  }
  const newest = newestOn(volume, takeover.to);
  if (newest === null) {
    throw new SupercargoError('data-missing', `Host ${takeover.to} has no snapshot of volume "${volume.name}" that it could start from.`, {
      hint: 'supercargo volume failover NAME shows which hosts have one.',
    });
  }
  const record: FailoverRecord = {
    from: placement.host,
    to: takeover.to,
    fromEpoch: volume.epoch,
    snapshot: newest.snapshot,
    snapshotTakenAt: newest.takenAt,
    actor: takeover.actor,
    reason: takeover.reason,
    at: takeover.now,
  };
  const end = volume.lineage.indexOf(newest) + 1;
  const kept = volume.lineage.slice(0, end);
  // One that the volume went back to is in the history twice.
  const lost = volume.lineage.slice(end).filter(({ snapshot }) => !kept.some((entry) => entry.snapshot === snapshot));
  const { snapshots } = volume.copies.find((each) => each.host === takeover.to) ?? { snapshots: [] };
  return withNewEpoch({
    // Whatever live copy it had once is none of the new epoch: it makes that one from the snapshot.
    ...recordCopy(volume, takeover.to, { host: takeover.to, kind: 'replica', snapshots }),
    placement: { state: 'held', host: takeover.to, base: newest.snapshot },
    lineage: kept,
    diverged: [...volume.diverged, ...cutOff(volume, lost, takeover.now)],
    reverting: null,
    lastFailover: record,
  });
}

/** What copies have of a stretch of history that does not count any more: it is shown from now on, also while their hosts are away. */
function cutOff(volume: Volume, stretch: readonly LineageEntry[], now: string): DivergedCopy[] {
  return volume.copies.flatMap(({ host, snapshots }) => {
    const last = stretch.findLast((entry) => snapshots.includes(entry.snapshot));
    return last === undefined ? [] : [{ host, snapshot: last.snapshot, epoch: last.epoch, keptAt: now }];
  });
}

/**
 * The next epoch. A holder that is named under a record that says `auto` never writes without its lease, so from then on a machine may
 * decide that it has stopped.
 */
export function withNewEpoch(volume: Volume): Volume {
  const epoch = volume.epoch + 1;
  return { ...volume, epoch, leasedEpoch: volume.protection.failover === 'auto' ? epoch : null };
}

/** The holder says that it stops its users when its lease ends: for a volume that was put under automatic failover while it was held. */
export function acceptLease(volume: Volume, host: string, epoch: number): Volume {
  if (!isLeaseOf(volume, host, epoch) || volume.leasedEpoch === epoch) return volume;
  return { ...volume, leasedEpoch: epoch };
}

/** Whether the host may go on writing under this epoch, as long as its session lasts. */
export function isLeaseOf(volume: Volume, host: string, epoch: number): boolean {
  return isHeldBy(volume, host, epoch) && volume.protection.failover === 'auto';
}

/** Whether the host has the right to write under this epoch. */
export function isHeldBy(volume: Volume, host: string, epoch: number): boolean {
  return currentHost(volume.placement) === host && volume.epoch === epoch;
}

/**
 * Whether an operator's word could let another host take the volume over, as far as an older record tells: others have copies, or are to have them.
 */
export function hasCopiesElsewhere({ protection, replicas, copies }: Volume, host: string): boolean {
  return protection.replicas > 0 || replicas.length > 0 || copies.some((copy) => copy.host !== host);
}

/**
 * Whether a machine may let a replica take over once the holder's lease has ended: its class says so, and the holder of this very epoch has promised to stop
 * by then.
 */
export function failsOverByItself({ protection, leasedEpoch, epoch }: Pick<Volume, 'protection' | 'leasedEpoch' | 'epoch'>): boolean {
  return protection.failover === 'auto' && leasedEpoch === epoch;
}

/** Other parameters of the class. Without automatic failover no machine may take the volume from its holder, from this moment on. */
export function withProtection(volume: Volume, protection: Protection): Volume {
  return { ...volume, protection, leasedEpoch: protection.failover === 'auto' ? volume.leasedEpoch : null };
}

/**
 * A host that was replaced has kept what it had written as a snapshot; from here on it is as any other that has a copy.
 * @throws wrong-state while the epoch under which it wrote goes on
 */
export function recordDiverged(volume: Volume, diverged: DivergedCopy): Volume {
  if (diverged.epoch >= volume.epoch) {
    throw new SupercargoError('wrong-state', `Epoch ${diverged.epoch} of volume "${volume.name}" has not ended.`, {
      hint: 'Look at the volume again.',
    });
  }
  if (volume.diverged.some((each) => each.snapshot === diverged.snapshot)) return volume;
  // What a host had written last under an epoch holds all that it had written before under it.
  const others = volume.diverged.filter(({ host, epoch }) => host !== diverged.host || epoch !== diverged.epoch);
  return { ...volume, diverged: [...others, diverged] };
}

/** An operator does not want what was kept any more. @throws not-found */
export function forgetDiverged(volume: Volume, snapshot: string): Volume {
  if (!volume.diverged.some((each) => each.snapshot === snapshot)) {
    throw new SupercargoError('not-found', `Volume "${volume.name}" has no kept copy ${snapshot}.`, {
      hint: `supercargo volume inspect ${volume.name} lists them.`,
    });
  }
  return { ...volume, diverged: volume.diverged.filter((each) => each.snapshot !== snapshot) };
}
