import { describe, expect, it } from 'vitest';
import { newVolume } from '../model/new-volume.ts';
import type { Volume } from '../model/records.ts';
import { candidatesOf, planFailover } from './failover-plan.ts';
import { hostOf as host, snapshotOf } from './facts.contract.ts';
import type { KnownHost } from './failover-plan.ts';

const now = '2026-01-01T00:00:00.000Z';

const a = host('a', { downMilliseconds: 5000 });
const [b, c] = [host('b'), host('c')];

/** Held by a, with a history of three snapshots whose time stamps tell the opposite of their order. */
function volume(copies: Record<string, string[]>, changes: Partial<Volume> = {}): Volume {
  return newVolume({
    id: 'vol_1',
    name: 'data',
    createdAt: now,
    epoch: 4,
    leasedEpoch: 4,
    placement: { state: 'held', host: 'a', base: null },
    protection: { replicas: 2, intervalMilliseconds: 1000, failover: 'auto' },
    lineage: ['s1', 's2', 's3'].map((snapshot, index) => ({
      snapshot,
      epoch: 4,
      takenAt: `2026-01-0${9 - index}T00:00:00.000Z`,
      bytes: 1000 - index,
    })),
    copies: Object.entries(copies).map(([id, snapshots]) => ({ host: id, kind: 'replica', snapshots })),
    ...changes,
  });
}

const plan = (given: Volume, hosts: KnownHost[] = [a, b, c]) => planFailover({ volume: given, hosts, move: null, marginMilliseconds: 2000 });

describe('the copy that takes over', () => {
  it('is the one that is furthest in the history, whatever its time stamps, its number of snapshots or its size', () => {
    expect(plan(volume({ b: ['s1', 'x1', 'x2', 'x3'], c: ['s2'] }))).toMatchObject({ do: 'fail-over', to: 'c' });
    expect(plan(volume({ b: ['s3'], c: ['s1', 's2'] }))).toMatchObject({ to: 'b' });
  });

  it('is on a host that is up', () => {
    expect(plan(volume({ b: ['s3'], c: ['s1'] }), [a, host('b', { downMilliseconds: 10 }), c])).toMatchObject({ to: 'c' });
  });

  it('is, of equals, on the host that wants it, then on one that stays, then on one with more room', () => {
    const equal = volume({ b: ['s3'], c: ['s3'] });
    const roomy = host('c', { pool: { driver: 'btrfs', location: '', capacityBytes: 9000, usedBytes: 0 } });
    expect(candidatesOf(equal, [a, b, roomy]).map((each) => each.host.id)).toEqual(['c', 'b']);
    expect(candidatesOf(equal, [a, b, { ...roomy, state: 'draining' }])[0]?.host.id).toBe('b');
    expect(candidatesOf(equal, [a, b, roomy], 'b')[0]?.host.id).toBe('b');
  });

  it('is none that is kept for its name alone, on a host that is to have no replica', () => {
    const snapshots = [snapshotOf('s1')];
    expect(plan(volume({ b: ['s1'] }))).toMatchObject({ to: 'b' });
    expect(plan(volume({ b: ['s1'] }, { snapshots }))).toMatchObject({ do: 'wait' });
    expect(plan(volume({ b: ['s1'] }, { snapshots, replicas: ['b'] }))).toMatchObject({ to: 'b' });
    expect(plan(volume({ b: ['s1'], c: ['s2'] }, { snapshots }))).toMatchObject({ to: 'c' });
  });

  it('is none that has nothing of the history: the volume waits, and says for whom', () => {
    expect(plan(volume({ b: ['x1'], c: [] }))).toEqual({
      do: 'wait',
      volume: 'vol_1',
      reason: expect.stringContaining('comes back with a') as string,
    });
  });
});

describe('a machine decides only', () => {
  it.each<[string, Partial<Volume>, Partial<KnownHost>]>([
    ['after the margin', {}, { downMilliseconds: 1999 }],
    ['about a holder that is lost', {}, { downMilliseconds: null }],
    ['where the class says so', { protection: { replicas: 1, intervalMilliseconds: 1000, failover: 'manual' } }, {}],
    ['if the holder of this very epoch has promised to stop', { leasedEpoch: 3 }, {}],
    ['if the holder has ever promised', { leasedEpoch: null }, {}],
    ['about a volume that is held', { placement: { state: 'removing', host: 'a', base: null, confirmed: false } }, {}],
  ])('%s', (_, changes, holder) => {
    const hosts = [{ ...a, ...holder }, b, c];
    expect(plan(volume({ b: ['s3'] }))).toMatchObject({ do: 'fail-over' });
    expect(plan(volume({ b: ['s3'] }, changes), hosts)).toBeNull();
  });
});
