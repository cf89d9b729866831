import fc from 'fast-check';
import type { Grant } from '../model/grant.ts';
import type { Copy, FailoverRecord, Move, Placement, Snapshot, Volume } from '../model/records.ts';
import { newVolume } from '../model/new-volume.ts';
import type { KnownHost } from './failover-plan.ts';
import type { VolumeFacts } from './volume-plan.ts';

const now = '2026-01-01T00:00:00.000Z';
export const [self, other, third] = ['hst_self', 'hst_other', 'hst_third'] as const;

/** A host that is up and active, with a pool that is a tenth full. */
export function hostOf(name: string, changes: Partial<KnownHost> = {}): KnownHost {
  const pool = { driver: 'btrfs', location: '/dev/x', capacityBytes: 1000, usedBytes: 100 };
  const known = { id: name, name, address: `${name}:1`, version: '1', joinedAt: now, state: 'active' as const, labels: {} };
  return { ...known, pool, downMilliseconds: null, ...changes };
}

export function volumeOf(placement: Placement, epoch = 3, copies: Copy[] = []): Volume {
  return newVolume({ id: 'vol_1', name: 'data', createdAt: now, epoch, placement, copies });
}

export function moveOf(phase: Move['phase'], from: string = self, to: string = other, reason: Move['reason'] = 'mount'): Move {
  const finalSnapshot = phase === 'released' || phase === 'committed' ? 's2' : null;
  return {
    id: 'mov_1',
    volume: 'vol_1',
    volumeName: 'data',
    from,
    to,
    epoch: 3,
    reason,
    phase,
    blockedBy: [],
    finalSnapshot,
    progress: null,
    error: null,
    startedAt: now,
    endedAt: null,
  };
}

/** A named snapshot: with its place on the disks, or wanted. */
export function snapshotOf(snapshot: string | null, id = `request of ${snapshot}`): Snapshot {
  const taken = snapshot === null ? null : now;
  const wish = { id, name: id, kind: 'manual' as const, description: '', labels: {}, requestedAt: now };
  return { ...wish, snapshot, takenAt: taken, epoch: snapshot === null ? null : 1, bytes: null, problem: null };
}

function failoverOf(fromEpoch: number): FailoverRecord {
  return { from: self, to: other, fromEpoch, snapshot: 's1', snapshotTakenAt: now, actor: 'operator', reason: 'lost', at: now };
}

const hostArbitrary = fc.constantFrom<string>(self, other, third);
const baseArbitrary = fc.constantFrom<string | null>(null, 's1', 's2', 's3');
const snapshotsArbitrary = fc.subarray(['s1', 's2', 's3']);
const placementArbitrary: fc.Arbitrary<Placement> = fc.oneof(
  fc.constant({ state: 'free' as const }),
  fc.record({ state: fc.constant('held' as const), host: hostArbitrary, base: baseArbitrary }),
  fc
    .record({ state: fc.constant('moving' as const), from: hostArbitrary, to: hostArbitrary, move: fc.constant('mov_1'), base: baseArbitrary })
    .filter(({ from, to }) => from !== to),
  fc.record({ state: fc.constant('removing' as const), host: hostArbitrary, base: baseArbitrary, confirmed: fc.boolean() }),
);
/** As release writes them: a released one names its move and its snapshot, the others have no snapshot. */
const grantArbitrary: fc.Arbitrary<Grant> = fc
  .record({
    epoch: fc.integer({ min: 1, max: 4 }),
    state: fc.constantFrom<Grant['state']>('held', 'releasing', 'released'),
    move: fc.constantFrom('mov_0', 'mov_1'),
    snapshot: fc.constantFrom('s1', 's2', 's3'),
  })
  .map(({ epoch, state, move, snapshot }) => ({
    epoch,
    state,
    move: state === 'held' ? null : move,
    snapshot: state === 'released' ? snapshot : null,
  }));
/** Any facts at all, also such as no history leads to. */
export const factsArbitrary: fc.Arbitrary<VolumeFacts> = fc
  .record({
    placement: fc.option(placementArbitrary),
    epoch: fc.integer({ min: 1, max: 4 }),
    replicas: fc.subarray([self, other, third]),
    lineage: fc.subarray(['s1', 's2', 's3']),
    diverged: fc.subarray(['s1', 's2', 's3'], { maxLength: 1 }),
    pinned: fc.subarray(['s1', 's2', 's3']),
    wanted: fc.nat(2),
    reverting: fc.option(fc.constantFrom('s1', 's2', 's3')),
    failedOverAt: fc.option(fc.integer({ min: 1, max: 4 })),
    copies: fc.uniqueArray(
      fc.record({ host: hostArbitrary, kind: fc.constantFrom<Copy['kind']>('live', 'replica'), snapshots: snapshotsArbitrary }),
      {
        selector: ({ host }) => host,
      },
    ),
    phase: fc.option(fc.constantFrom<Move['phase']>('copying', 'ready', 'released')),
    reason: fc.constantFrom<Move['reason']>('mount', 'operator'),
    grant: fc.option(grantArbitrary),
    live: fc.constantFrom<VolumeFacts['live']>('absent', 'writable', 'readonly'),
    snapshots: snapshotsArbitrary,
    mounted: fc.boolean(),
    references: fc.nat(2),
    mayWrite: fc.boolean(),
    leaving: fc.boolean(),
  })
  .map(({ placement, epoch, copies, phase, reason, replicas, lineage, diverged, pinned, wanted, reverting, failedOverAt, ...rest }) => ({
    ...rest,
    self,
    volume:
      placement === null
        ? null
        : {
            ...volumeOf(placement, epoch, copies),
            replicas,
            lineage: lineage.map((snapshot) => ({ snapshot, epoch: 1, takenAt: now, bytes: 0 })),
            diverged: diverged.map((snapshot) => ({ host: self, snapshot, epoch: 1, keptAt: now })),
            snapshots: [
              ...pinned.map((snapshot) => snapshotOf(snapshot)),
              ...Array.from({ length: wanted }, (_, index) => snapshotOf(null, `w${index}`)),
            ],
            reverting:
              reverting === null || placement.state !== 'held' ? null : { id: 'rev_1', snapshot: reverting, requestedAt: now, problem: null },
            lastFailover: failedOverAt === null || failedOverAt >= epoch ? null : failoverOf(failedOverAt),
          },
    move: placement?.state === 'moving' && phase !== null ? { ...moveOf(phase, placement.from, placement.to, reason), epoch } : null,
  }));
