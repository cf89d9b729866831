import { isSameCopy } from '../model/copies.ts';
import type { Grant } from '../model/grant.ts';
import { newestInLineage } from '../model/failover.ts';
import { currentHost } from '../model/holder.ts';
import { isOver } from '../model/placement.ts';
import type { Copy, Move, Volume } from '../model/records.ts';
import { isReverted } from '../model/revert.ts';
import { inHistoryOrder, isTaken, pinnedSnapshots, wantedSnapshots } from '../model/snapshots.ts';
import { missingPinned } from './transfer-plan.ts';

/** All that the decision about one volume on one host rests on. */
export interface VolumeFacts {
  /** Identifier of this host. */
  self: string;
  /** The name server's record as of now (never a remembered one); null if the volume does not exist any more. */
  volume: Volume | null;
  /** The open move of the volume, if there is one. */
  move: Move | null;
  grant: Grant | null;
  live: 'absent' | 'writable' | 'readonly';
  /** Snapshots on this host's disk, oldest first. */
  snapshots: string[];
  mounted: boolean;
  /** Mount sessions of engines that were answered and not given back. */
  references: number;
  /** False for a volume under automatic failover while the lease of this host is not confirmed. */
  mayWrite: boolean;
  /** This host is to have nothing that it need not have: it is being emptied. */
  leaving: boolean;
}

export type Step =
  | { do: 'create-live' }
  | { do: 'activate'; snapshot: string }
  | { do: 'resume-live' }
  | { do: 'delete-live'; why: string }
  | { do: 'protect-live' }
  | { do: 'report-copy'; kind: Copy['kind'] }
  | { do: 'take-grant'; epoch: number }
  | { do: 'take-snapshot'; id: string }
  | { do: 'revert'; epoch: number }
  | { do: 'report-revert'; epoch: number }
  | { do: 'measure-snapshot'; snapshot: string; base: string | null }
  | { do: 'undo-release' }
  | { do: 'reclaim'; epoch: number }
  | { do: 'unmount' }
  | { do: 'release'; move: string; epoch: number; refuseIfUsed: boolean }
  | { do: 'report-release'; move: string; epoch: number }
  | { do: 'rededicate-release'; move: string }
  | { do: 'receive-move'; move: string }
  | { do: 'receive-replica'; snapshot: string }
  | { do: 'import-snapshot'; fromVolume: string; snapshot: string }
  | { do: 'fence-live'; why: string }
  | { do: 'keep-diverged'; epoch: number }
  | { do: 'report-diverged'; epoch: number; snapshot: string }
  | { do: 'drop-snapshots'; snapshots: string[] }
  | { do: 'rekey'; number: number }
  | { do: 'confirm-removal' }
  | { do: 'delete-copy' }
  | { do: 'complain'; problem: string };

/**
 * What this host has to do next for one volume, as a list to be done in order, after which it observes and plans again.
 * Pure; the only place where a host decides about a volume.
 */
export function planVolume(facts: VolumeFacts): Step[] {
  const { volume, self } = facts;
  if (volume === null) return planGone(facts);
  const superseded = planSuperseded(facts, volume);
  if (superseded.length > 0) return superseded;
  const { placement } = volume;
  switch (placement.state) {
    case 'free':
      return [];
    case 'held':
      return placement.host === self ? planHolder(facts, volume) : planBystander(facts, volume);
    case 'moving':
      if (placement.from === self) return planSource(facts, volume);
      return placement.to === self ? planDestination(facts, volume) : planProtection(facts);
    case 'removing':
      return planRemoval(facts, volume);
  }
}

function hasAnything(facts: VolumeFacts): boolean {
  return facts.live !== 'absent' || facts.snapshots.length > 0 || facts.grant !== null;
}

/**
 * The name server lets a record go only after every copy was given up. Data that is here all the same (a name server that was set back to an
 * old backup, say) is not thrown away on its word.
 */
function planGone(facts: VolumeFacts): Step[] {
  if (!hasAnything(facts)) return [];
  if (facts.live === 'absent' && facts.snapshots.length === 0) return [{ do: 'delete-copy' }];
  return [complain('The name server does not know this volume, but data of it is here. It is kept.')];
}

/**
 * Another copy took over while this host was not heard: its right to write ended without its own word. What still uses its copy is stopped, and what it had
 * written is kept and shown, before anything else is done with the volume here.
 */
function planSuperseded(facts: VolumeFacts, volume: Volume): Step[] {
  const { grant, live, snapshots } = facts;
  const replaced = grant !== null && volume.lastFailover !== null && volume.lastFailover.fromEpoch >= grant.epoch && grant.epoch < volume.epoch;
  if (!replaced) return [];
  if (grant.state !== 'released') {
    if (live === 'absent') return [complain('Another copy has taken over, and the live copy that was here is missing from the pool.')];
    return [{ do: 'fence-live', why: 'another copy has taken over' }, { do: 'protect-live' }, { do: 'keep-diverged', epoch: grant.epoch }];
  }
  const { snapshot } = grant;
  if (snapshot === null || !snapshots.includes(snapshot)) return [];
  const known = volume.lineage.some((entry) => entry.snapshot === snapshot) || volume.diverged.some((each) => each.snapshot === snapshot);
  // The live copy goes only after the report, so without one there was a report: what is not listed any more, an operator has given up.
  return known || live === 'absent' ? [] : [{ do: 'report-diverged', epoch: grant.epoch, snapshot }];
}

function planHolder(facts: VolumeFacts, volume: Volume): Step[] {
  if (facts.grant?.state === 'releasing' && facts.grant.epoch === volume.epoch) return [{ do: 'undo-release' }];
  if (facts.grant?.state === 'released' && facts.grant.epoch === volume.epoch) return planReleasedHolder(facts.grant, volume);
  const acquire = planAcquisition(facts, volume);
  if (acquire.length > 0) return acquire;
  const take = planSnapshots(facts, volume);
  if (take.length > 0) return take;
  if (isToRevert(volume) && facts.live === 'writable') return [{ do: 'revert', epoch: volume.epoch }];
  const idle = facts.mounted && facts.references === 0;
  return [
    ...planCopyReport(facts, volume, 'live'),
    ...planMeasuring(facts, volume),
    ...planPruning(facts, volume),
    ...(idle ? [{ do: 'unmount' } as const] : []),
    ...planRekeying(facts, volume),
  ];
}

/** It has given up its right to write: for a snapshot that the volume goes back to, or else for nothing any more. */
function planReleasedHolder({ epoch, snapshot }: Grant, volume: Volume): Step[] {
  return isToRevert(volume) && snapshot !== null ? [{ do: 'report-revert', epoch }] : [{ do: 'reclaim', epoch }];
}

function isToRevert({ reverting }: Volume): boolean {
  return reverting !== null && reverting.problem === null;
}

/** What people wait for comes before all tidying up. A copy that is closed for want of a lease is opened again first. */
function planSnapshots({ live }: VolumeFacts, volume: Volume): Step[] {
  return live === 'writable' ? wantedSnapshots(volume).map(({ id }) => ({ do: 'take-snapshot', id })) : [];
}

/** How much each holds is found out when nobody waits any more: to take one is quick, whatever the size of the volume, to read what is in it is not. */
function planMeasuring({ snapshots }: VolumeFacts, volume: Volume): Step[] {
  const present = inHistoryOrder(volume, snapshots);
  const unmeasured = volume.snapshots.filter(isTaken).filter(({ snapshot, bytes }) => bytes === null && present.includes(snapshot));
  return unmeasured.map(({ snapshot }) => ({ do: 'measure-snapshot', snapshot, base: present[present.indexOf(snapshot) - 1] ?? null }));
}

/** The newest key becomes the one that opens the live copy, also while it is used. */
function planRekeying({ live, mayWrite }: VolumeFacts, { encryption }: Volume): Step[] {
  if (encryption === null || encryption.keyInUse >= encryption.key || live !== 'writable' || !mayWrite) return [];
  return [{ do: 'rekey', number: encryption.key }];
}

/** From the name server's word that this host holds the volume to a live copy and a durable grant; empty if all that is so already. */
function planAcquisition(facts: VolumeFacts, volume: Volume): Step[] {
  const { grant, live } = facts;
  if (grant !== null && (grant.epoch > volume.epoch || (grant.state !== 'released' && grant.epoch !== volume.epoch))) {
    return [
      complain(
        `This host's own grant is of epoch ${grant.epoch}, the name server's record of ${volume.epoch}: one of them was set back to an older state. Nothing is touched.`,
      ),
    ];
  }
  if (grant !== null && grant.state !== 'released') return planHeld(facts);
  const finish: Step[] = [
    { do: 'report-copy', kind: 'live' },
    { do: 'take-grant', epoch: volume.epoch },
  ];
  const reportedLive = volume.copies.some((copy) => copy.host === facts.self && copy.kind === 'live');
  // The live copy of the epoch before goes on: it was released for a move that was then called off. Not so if the volume goes back to a snapshot.
  const goesOn = reportedLive || !isReverted(volume);
  if (live !== 'absent' && grant !== null && grant.epoch + 1 === volume.epoch && goesOn) return [{ do: 'resume-live' }, ...finish];
  if (live !== 'absent' && grant === null && reportedLive) return [{ do: 'resume-live' }, ...finish];
  if (live === 'absent' && reportedLive) return [complain('The live copy of this volume is missing from the pool.')];
  return [...planFreshLive(facts, volume), ...finish];
}

function planHeld({ live, mayWrite }: VolumeFacts): Step[] {
  if (live === 'writable') return [];
  // Its users were stopped when the lease ended: it goes on once the name server says so.
  if (live === 'readonly' && !mayWrite) return [];
  return live === 'readonly' ? [{ do: 'resume-live' }] : [complain('The live copy of this volume is missing from the pool.')];
}

/** A live copy made anew from where the epoch starts. One that is there but was never granted was never mounted either. */
function planFreshLive(facts: VolumeFacts, volume: Volume): Step[] {
  const base = volume.placement.state === 'held' || volume.placement.state === 'moving' ? volume.placement.base : null;
  const clear: Step[] = facts.live === 'absent' ? [] : [{ do: 'delete-live', why: 'left over from before this epoch' }];
  if (base === null) return [...clear, { do: 'create-live' }];
  const { origin } = volume;
  const foreign = origin?.snapshot === base && !facts.snapshots.includes(base);
  const bring: Step[] = foreign ? [{ do: 'import-snapshot', fromVolume: origin.volume, snapshot: base }] : [];
  return [...clear, ...bring, { do: 'activate', snapshot: base }];
}

function complain(problem: string): Step {
  return { do: 'complain', problem };
}

function planSource(facts: VolumeFacts, volume: Volume): Step[] {
  const { move, grant } = facts;
  if (move === null || isOver(move)) return [];
  if (grant?.state === 'released' && grant.epoch === volume.epoch && grant.snapshot !== null) {
    if (move.phase === 'released') return [];
    const report: Step = { do: 'report-release', move: move.id, epoch: grant.epoch };
    // Released for a move that was called off before anybody heard of it: nothing was written since, so the release holds for this move as well.
    return grant.move === move.id ? [report] : [{ do: 'rededicate-release', move: move.id }, report];
  }
  if (move.phase === 'released') return planProtection(facts);
  if (grant?.state === 'releasing' && grant.epoch === volume.epoch && grant.move !== move.id) return [{ do: 'undo-release' }];
  if (grant?.state !== 'releasing') {
    const acquire = planAcquisition(facts, volume);
    if (acquire.length > 0) return acquire;
    // A move may wait for its users for days.
    const take = planSnapshots(facts, volume);
    if (take.length > 0) return take;
  }
  return move.phase === 'ready' ? [{ do: 'release', move: move.id, epoch: volume.epoch, refuseIfUsed: move.reason === 'mount' }] : [];
}

/** Another host may write: whatever live copy is here must not. */
function planProtection(facts: VolumeFacts): Step[] {
  return facts.live === 'writable' && facts.grant?.state !== 'held' ? [{ do: 'protect-live' }] : [];
}

function planBystander(facts: VolumeFacts, volume: Volume): Step[] {
  if (facts.live !== 'absent') {
    if (isRetired(facts, volume)) return [{ do: 'delete-live', why: 'another host holds the volume; the final snapshot is kept' }];
    return [
      { do: 'protect-live' },
      complain('Another host holds this volume, but a live copy that was never released is here. It is kept, read-only.'),
    ];
  }
  return [...planCopyReport(facts, volume, 'replica'), ...planReplica(facts, volume)];
}

/** A replica follows the newest snapshot of the holder, and has all that people gave a name to; one that nobody wants any more leaves a host that is being emptied. */
function planReplica(facts: VolumeFacts, volume: Volume): Step[] {
  const { self, snapshots, leaving } = facts;
  if (volume.replicas.includes(self)) {
    const newest = volume.lineage.at(-1)?.snapshot;
    if (newest !== undefined && !snapshots.includes(newest)) return [{ do: 'receive-replica', snapshot: newest }];
    const [next] = missingPinned(volume, currentHost(volume.placement) ?? '', snapshots);
    // One that cannot be had must not keep what nobody needs in the pool.
    if (next !== undefined) return [...planPruning(facts, volume), { do: 'receive-replica', snapshot: next }];
  } else if (leaving && hasAnything(facts) && facts.grant?.state !== 'held' && isSafeWithout(facts, volume)) return [{ do: 'delete-copy' }];
  return planPruning(facts, volume);
}

/** Whether what is here is surplus: the holder has its live copy and all that has a name, and nothing is kept here for an operator to decide on. */
function isSafeWithout({ self, snapshots }: VolumeFacts, volume: Volume): boolean {
  const holder = volume.copies.find((copy) => copy.host !== self && copy.kind === 'live' && copy.host === currentHost(volume.placement));
  if (holder === undefined || volume.diverged.some((each) => each.host === self)) return false;
  // Another host but the holder may be about to let go of it as well.
  return pinnedSnapshots(volume).every((snapshot) => !snapshots.includes(snapshot) || holder.snapshots.includes(snapshot));
}

/** Whether the live copy has served: a kept snapshot holds all of it, or it was made for an epoch that never began here. */
function isRetired({ self, grant, snapshots }: VolumeFacts, volume: Volume): boolean {
  if (grant === null) return !volume.copies.some((copy) => copy.host === self && copy.kind === 'live');
  return grant.state === 'released' && grant.snapshot !== null && snapshots.includes(grant.snapshot);
}

/** The volume is on its way here: what is left of an earlier stay is cleared before it arrives, not after. */
function planDestination(facts: VolumeFacts, volume: Volume): Step[] {
  const receive: Step[] = facts.move === null ? [] : [{ do: 'receive-move', move: facts.move.id }];
  const retired = facts.live === 'readonly' && isRetired(facts, volume);
  return retired ? [...receive, { do: 'delete-live', why: 'the volume is on its way back' }] : [...planProtection(facts), ...receive];
}

/** Tells the name server what is on the disk, where its record differs. */
function planCopyReport(facts: VolumeFacts, volume: Volume, kind: Copy['kind']): Step[] {
  const recorded = volume.copies.find((copy) => copy.host === facts.self);
  const nothing = facts.live === 'absent' && facts.snapshots.length === 0;
  if (nothing) return recorded === undefined ? [] : [{ do: 'report-copy', kind }];
  const same = recorded !== undefined && isSameCopy(recorded, { kind, snapshots: facts.snapshots });
  return same ? [] : [{ do: 'report-copy', kind }];
}

/**
 * Snapshots that nobody needs: people gave them no name, and no incremental transfer can start from them. Kept of the latter: the newest one in common with each
 * other host, the newest of the volume's history, the one before it, which a replica may be pulling just now, and what an operator has not decided on yet.
 */
function planPruning(facts: VolumeFacts, volume: Volume): Step[] {
  const keep = new Set<string>(pinnedSnapshots(volume));
  // The last one here may have become part of the history, and the record has not come round yet.
  const last = facts.snapshots.at(-1);
  if (last !== undefined && !volume.lineage.some((entry) => entry.snapshot === last)) keep.add(last);
  if (!isOnlyCopy(facts, volume)) {
    const newest = newestInLineage(volume, facts)?.snapshot;
    for (const snapshot of [...(newest === undefined ? [] : [newest]), ...offeredSnapshots(volume)]) keep.add(snapshot);
  }
  for (const each of volume.diverged) if (each.host === facts.self) keep.add(each.snapshot);
  if (volume.placement.state === 'held' && volume.placement.base !== null) keep.add(volume.placement.base);
  for (const copy of volume.copies) {
    if (copy.host === facts.self) continue;
    const common = inHistoryOrder(volume, facts.snapshots).findLast((snapshot) => copy.snapshots.includes(snapshot));
    if (common !== undefined) keep.add(common);
  }
  const surplus = facts.snapshots.filter((snapshot) => !keep.has(snapshot));
  return surplus.length === 0 ? [] : [{ do: 'drop-snapshots', snapshots: surplus }];
}

/** Whether this host holds the volume and nobody else has anything of it or is to have: its own live copy needs no snapshot. */
function isOnlyCopy({ self, live }: VolumeFacts, { placement, replicas, copies }: Volume): boolean {
  if (placement.state !== 'held' || placement.host !== self || live === 'absent') return false;
  return [...replicas, ...copies.map(({ host }) => host)].every((host) => host === self);
}

/** What its holder keeps for replicas to pull, whatever they have. */
function offeredSnapshots({ lineage }: Volume): string[] {
  return lineage.slice(-2).map(({ snapshot }) => snapshot);
}

/**
 * Whether the holder is to wait before it adds to the volume's history: two snapshots are offered here, and no replica has either. With a third one the first would
 * go, and replicas that need longer than the interval would for ever ask for what is gone.
 */
export function waitsForReplicas(volume: Volume, snapshots: readonly string[]): boolean {
  const offered = offeredSnapshots(volume).filter((snapshot) => snapshots.includes(snapshot));
  const arrived = volume.copies.some(({ kind, snapshots: theirs }) => kind === 'replica' && theirs.some((each) => offered.includes(each)));
  return offered.length === 2 && !arrived;
}

function planRemoval(facts: VolumeFacts, volume: Volume): Step[] {
  const { placement } = volume;
  if (placement.state !== 'removing') return [];
  if (!placement.confirmed) return placement.host === facts.self ? [{ do: 'confirm-removal' }] : [];
  const recorded = volume.copies.some((copy) => copy.host === facts.self);
  return hasAnything(facts) || recorded ? [{ do: 'delete-copy' }] : [];
}

/** Whether this host is to keep a replica of a volume that another one holds. */
export function isReplicaOf({ volume, self }: Pick<VolumeFacts, 'volume' | 'self'>): boolean {
  return volume?.placement.state === 'held' && volume.placement.host !== self && volume.replicas.includes(self);
}

/** Whether nobody waits for any of these steps: they tidy up after what is done. */
export function isHousekeeping(steps: readonly Step[]): boolean {
  return steps.every((step) => ['report-copy', 'measure-snapshot', 'drop-snapshots', 'unmount', 'delete-live'].includes(step.do));
}

/** The plan as people read it in a log. */
export function describeSteps(steps: readonly Step[]): string {
  return steps
    .map((step) => [step.do, ...Object.entries(step).flatMap(([key, value]) => (key === 'do' ? [] : [String(value)]))].join(' '))
    .join(', then ');
}
