import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { newVolume } from '../model/new-volume.ts';
import type { Volume } from '../model/records.ts';
import { hostOf as host, snapshotOf } from './facts.contract.ts';
import type { KnownHost } from './failover-plan.ts';
import { planReplicas } from './replica-plan.ts';

const now = '2026-01-01T00:00:00.000Z';
const graceMilliseconds = 60_000;

function volume(name: string, replicas: string[], changes: Partial<Volume> = {}, wanted = 1): Volume {
  return newVolume({
    id: name,
    name,
    createdAt: now,
    placement: { state: 'held', host: 'a', base: null },
    protection: { replicas: wanted, intervalMilliseconds: 1000, failover: 'manual' },
    replicas,
    ...changes,
  });
}

/** Those that have a history, and who has a copy of it. */
const withCopies = (...hosts: string[]): Partial<Volume> => ({
  lineage: [{ snapshot: 's1', epoch: 1, takenAt: now, bytes: 1 }],
  copies: hosts.map((each) => ({ host: each, kind: 'replica', snapshots: ['s1'] })),
});

function plan(volumes: Volume[], hosts: KnownHost[], maximumBuilds = 2): Record<string, string[]> {
  const changes = planReplicas({ volumes, hosts, graceMilliseconds, maximumBuilds });
  return Object.fromEntries(changes.map((change) => [change.volume, change.replicas]));
}

const hosts = ['a', 'b', 'c', 'd'].map((name) => host(name));
const away = (name: string, milliseconds: number) => hosts.map((each) => (each.id === name ? { ...each, downMilliseconds: milliseconds } : each));

describe('replicas', () => {
  it('go to other hosts than the holder, as many as are wanted or as there are', () => {
    expect(plan([volume('v', [], {}, 2)], hosts)).toEqual({ v: ['b', 'c'] });
    expect(plan([volume('v', [], {}, 5)], hosts, 5)).toEqual({ v: ['b', 'c', 'd'] });
  });

  it('go first to another zone, then to where a copy is, then to who has the fewest', () => {
    const zoned = hosts.map((each) => ({ ...each, labels: { zone: each.id === 'd' ? 'east' : 'west' } }));
    expect(plan([volume('v', [], withCopies('a', 'c'))], zoned)).toEqual({ v: ['d'] });
    expect(plan([volume('v', [], withCopies('a', 'c'))], hosts)).toEqual({ v: ['c'] });
    expect(plan([volume('u', ['b']), volume('v', [])], hosts)).toEqual({ v: ['c'] });
  });

  it('do not go to a host that is full, away or being emptied', () => {
    const full = { driver: 'btrfs', location: '', capacityBytes: 1000, usedBytes: 950 };
    expect(
      plan([volume('v', [])], [host('a'), host('b', { pool: full }), host('c', { downMilliseconds: 1 }), host('d', { state: 'draining' })]),
    ).toEqual({});
  });

  it('stay where they are during a short absence, and are replaced after a long one', () => {
    expect(plan([volume('v', ['b'])], away('b', graceMilliseconds - 1))).toEqual({});
    expect(plan([volume('v', ['b'])], away('b', graceMilliseconds))).toEqual({ v: ['c'] });
  });

  it('keep their place on a host that is being emptied until another can take it', () => {
    const draining = [host('a'), host('b', { state: 'draining' })];
    expect(plan([volume('v', ['b'])], draining)).toEqual({});
    expect(plan([volume('v', ['b'])], [...draining, host('c')])).toEqual({ v: ['c'] });
  });

  it('leave the host that has become the holder', () => {
    expect(plan([volume('v', ['b'], { placement: { state: 'held', host: 'b', base: null } })], hosts)).toEqual({ v: ['a'] });
  });

  it('are not made anew when more than a third of the hosts vanish at once', () => {
    const five = [...hosts, host('e')].map((each) => (['b', 'c'].includes(each.id) ? { ...each, downMilliseconds: graceMilliseconds } : each));
    expect(plan([volume('v', ['b']), volume('w', ['c'])], five)).toEqual({});
    expect(plan([volume('v', ['b'])], [...five, ...['f', 'g'].map((name) => host(name))])).toEqual({ v: [expect.any(String)] });
  });

  it('stay on a host that is being emptied until another one has a copy as well', () => {
    const draining = [host('a'), host('b', { state: 'draining' }), host('c')];
    expect(plan([volume('v', ['b'], withCopies('a', 'b'))], draining)).toEqual({ v: ['b', 'c'] });
    expect(plan([volume('v', ['b', 'c'], withCopies('a', 'b'))], draining)).toEqual({});
    expect(plan([volume('v', ['b', 'c'], withCopies('a', 'b', 'c'))], draining)).toEqual({ v: ['c'] });
  });

  it('are not counted for a named snapshot of old alone', () => {
    const draining = [host('a'), host('b', { state: 'draining' }), host('c')];
    const { lineage } = withCopies();
    const [first] = lineage!;
    const aged: Partial<Volume> = {
      lineage: [first!, { ...first!, snapshot: 's2' }],
      snapshots: [snapshotOf('s1')],
      copies: [
        { host: 'a', kind: 'live', snapshots: ['s1', 's2'] },
        { host: 'b', kind: 'replica', snapshots: ['s2'] },
        { host: 'c', kind: 'replica', snapshots: ['s1'] },
      ],
    };
    expect(plan([volume('v', ['b', 'c'], aged)], draining)).toEqual({});
    expect(plan([volume('v', ['b', 'c'], { ...aged, snapshots: [] })], draining)).toEqual({ v: ['c'] });
  });

  it('go to the holder that was replaced if it may be back soon', () => {
    const replaced = volume('v', ['b'], { ...withCopies('a', 'b'), placement: { state: 'held', host: 'b', base: null } });
    expect(plan([replaced], away('a', 100))).toEqual({ v: ['a'] });
    expect(plan([replaced], away('a', graceMilliseconds))).toEqual({ v: ['c'] });
    expect(plan([{ ...replaced, replicas: ['a'] }], away('a', graceMilliseconds))).toEqual({ v: ['c'] });
  });

  it('share the room that a host has', () => {
    const few = [host('a'), host('b')];
    expect(
      Object.keys(
        plan(
          ['u', 'v', 'w'].map((name) => volume(name, [], { sizeBytes: 300 })),
          few,
          9,
        ),
      ),
    ).toEqual(['u', 'v']);
    expect(plan([volume('u', ['b'], { sizeBytes: 300 }), volume('v', [], { sizeBytes: 600 })], few, 9)).toEqual({});
  });

  it('that are built count from their assignment on, unless they can make no progress', () => {
    const volumes = ['u', 'v', 'w'].map((name) => volume(name, []));
    expect(Object.keys(plan(volumes, hosts))).toEqual(['u', 'v']);
    const begun = [volume('u', ['b']), volume('v', ['c']), volume('w', [])];
    expect(plan(begun, hosts)).toEqual({});
    expect(planReplicas({ volumes: begun, hosts, graceMilliseconds, maximumBuilds: 2, stalled: new Set(['u b']) })).toEqual([
      { volume: 'w', replicas: ['d'] },
    ]);
    expect(Object.keys(plan(begun, away('b', 1)))).toEqual(['w']);
    expect(plan(volumes, away('a', 1))).toEqual({});
  });

  it('go first to the volumes that have the fewest copies', () => {
    const volumes = [volume('u', ['b'], withCopies('a', 'b'), 2), volume('v', [], withCopies('a'), 2)];
    expect(plan(volumes, hosts, 1)).toEqual({ v: [expect.any(String)] });
  });

  it('are made anew a few at a time', () => {
    const volumes = Array.from({ length: 6 }, (_, index) => volume(`v${index}`, ['b'], withCopies('a', 'b')));
    expect(Object.keys(plan(volumes, away('b', graceMilliseconds)))).toHaveLength(2);
  });
});

const hostArbitrary = (name: string): fc.Arbitrary<KnownHost> =>
  fc
    .record({
      downMilliseconds: fc.constantFrom(null, null, null, 10, graceMilliseconds),
      state: fc.constantFrom<KnownHost['state']>('active', 'active', 'draining'),
      usedBytes: fc.integer({ min: 0, max: 1000 }),
      zone: fc.constantFrom('x', 'y'),
    })
    .map(({ usedBytes, zone, ...rest }) =>
      host(name, { ...rest, labels: { zone }, pool: { driver: 'btrfs', location: '', capacityBytes: 1000, usedBytes } }),
    );
const names = ['a', 'b', 'c', 'd', 'e'];
const volumeArbitrary = (id: string): fc.Arbitrary<Volume> =>
  fc
    .record({ holder: fc.constantFrom(...names), replicas: fc.subarray(names), copies: fc.subarray(names), wanted: fc.nat(3) })
    .map(({ holder, replicas, copies, wanted }) =>
      volume(id, replicas, { ...withCopies(...copies), placement: { state: 'held', host: holder, base: null } }, wanted),
    );

describe('whatever the cluster', () => {
  const facts = fc.record({ hosts: fc.tuple(...names.map(hostArbitrary)), volumes: fc.tuple(...['u', 'v', 'w'].map(volumeArbitrary)) });
  const after = (volumes: readonly Volume[], changes: Record<string, string[]>) =>
    volumes.map((each) => ({ ...each, replicas: changes[each.id] ?? each.replicas }));

  it('a plan names each host once, never the holder, no more than wanted, and planning comes to rest', () => {
    fc.assert(
      fc.property(facts, ({ hosts: known, volumes }) => {
        const changes = plan(volumes, known);
        for (const each of volumes) {
          const replicas = changes[each.id];
          if (replicas === undefined) continue;
          expect(new Set(replicas).size).toBe(replicas.length);
          expect(replicas).not.toContain(each.placement.state === 'held' ? each.placement.host : '');
          const staying = replicas.filter((id) => known.find((host) => host.id === id)?.state === 'active');
          expect(staying.length).toBeLessThanOrEqual(each.protection.replicas);
        }
        // What waits for a host that is freed in the same plan comes in the next ones.
        let settled = after(volumes, changes);
        for (let round = 0; round < 4; round += 1) settled = after(settled, plan(settled, known));
        expect(plan(settled, known)).toEqual({});
      }),
      { numRuns: 2000 },
    );
  });
});
