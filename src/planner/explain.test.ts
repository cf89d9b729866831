import { describe, expect, it } from 'vitest';
import { newVolume } from '../model/new-volume.ts';
import type { Move, Placement, Volume } from '../model/records.ts';
import { explainVolume } from './explain.ts';
import type { Explanation } from './explain.ts';
import { hostOf } from './facts.contract.ts';
import type { KnownHost } from './failover-plan.ts';

const createdAt = '2026-01-01T00:00:00.000Z';
const start = Date.parse(createdAt);
const at = (seconds: number): string => new Date(start + seconds * 1000).toISOString();
const now = start + 100_000;

const host = (name: string, changes: Partial<KnownHost> = {}): KnownHost => hostOf(name, { pool: null, ...changes });
const hosts = ['h1', 'h2', 'h3'].map((name) => host(name));
const without = (...down: string[]): KnownHost[] => hosts.map((each) => (down.includes(each.id) ? { ...each, downMilliseconds: 10 } : each));
const held: Placement = { state: 'held', host: 'h1', base: null };
const moving: Placement = { state: 'moving', from: 'h1', to: 'h2', move: 'mov_1', base: null };
const copies = (have: Record<string, string[]>): Volume['copies'] =>
  Object.entries(have).map(([id, snapshots]) => ({ host: id, kind: 'replica', snapshots }));

/** Held by h1, with a fresh replica on h2, without automatic failover. */
function volume(changes: Partial<Volume> = {}): Volume {
  return newVolume({
    id: 'vol_1',
    name: 'data',
    createdAt,
    epoch: 3,
    placement: held,
    protection: { replicas: 1, intervalMilliseconds: 10_000, failover: 'manual' },
    replicas: ['h2'],
    lineage: [
      { snapshot: 's1', epoch: 3, takenAt: at(0), bytes: 5 },
      { snapshot: 's2', epoch: 3, takenAt: at(95), bytes: 7 },
    ],
    copies: copies({ h1: ['s1', 's2'], h2: ['s1', 's2'] }),
    ...changes,
  });
}

const auto = { protection: { replicas: 1, intervalMilliseconds: 10_000, failover: 'auto' as const }, leasedEpoch: 3 };
const [nobodyElse, three] = [
  { copies: copies({ h1: ['s2'] }) },
  { protection: { replicas: 3, intervalMilliseconds: 10_000, failover: 'manual' as const } },
];

function move(changes: Partial<Move> = {}): Move {
  return {
    id: 'mov_1',
    volume: 'vol_1',
    volumeName: 'data',
    from: 'h1',
    to: 'h2',
    epoch: 3,
    reason: 'operator',
    phase: 'copying',
    blockedBy: [],
    finalSnapshot: null,
    progress: null,
    error: null,
    startedAt: createdAt,
    endedAt: null,
    ...changes,
  };
}

interface Case {
  changes?: Partial<Volume>;
  known?: KnownHost[];
  open?: Partial<Move>;
}
const explain = ({ changes = {}, known = hosts, open }: Case): Explanation =>
  explainVolume({ volume: volume(changes), move: open === undefined ? null : move(open), hosts: known, now });

const uses = [{ kind: 'container' as const, name: 'db' }];
const diverged = [{ host: 'h3', snapshot: 's9', epoch: 2, keptAt: at(50) }];

describe('a volume that is well', () => {
  it.each<[string, Case, string]>([
    ['never used', { changes: { placement: { state: 'free' }, replicas: [] } }, 'never used'],
    ['held', {}, 'held by h1'],
    ['held under automatic failover', { changes: auto }, 'held by h1'],
    [
      'on a host that is drained',
      { known: hosts.map((each) => (each.id === 'h1' ? { ...each, state: 'draining' } : each)) },
      'held by h1, which is being drained',
    ],
    ['on its way', { changes: { placement: moving }, open: {} }, 'moving from h1 to h2'],
    ['removed', { changes: { placement: { state: 'removing', host: 'h1', base: null, confirmed: true } } }, 'removed; its copies are being deleted'],
    ['with a replica that lacks only what was made just now', { changes: { copies: copies({ h1: ['s2'], h2: ['s1'] }) } }, 'held by h1'],
  ])('%s', (_, given, state) => {
    expect(explain(given)).toMatchObject({ state, healthy: true, blockedBy: null, next: null });
  });
});

describe('a volume that is not: what is in its way, and what to do', () => {
  it.each<[string, Case, RegExp, RegExp | null]>([
    [
      'its holder is down',
      { known: without('h1') },
      /^h1 does not answer, and only an operator/,
      /failover data --to h2 --reason "…" --holder-is-off \(loses at most the last 5\.0 s\)/,
    ],
    [
      'its holder is down, a machine decides',
      { known: without('h1'), changes: auto },
      /h2 takes over when its lease and the margin/,
      /wait some seconds/,
    ],
    [
      'its holder is down and took up no lease',
      { known: without('h1'), changes: { ...auto, leasedEpoch: null } },
      /not taken up its lease yet/,
      /--holder-is-off/,
    ],
    ['nobody else has a copy', { known: without('h1'), changes: { ...auto, ...nobodyElse } }, /no other host has a copy/, /^Bring h1 back/],
    ['who has a copy is away as well', { known: without('h1', 'h2'), changes: auto }, /do not answer either: h2/, /^Bring h1 or h2 back/],
    [
      'its users',
      { changes: { placement: moving }, open: { blockedBy: uses } },
      /^in use on h1 by container db$/,
      /Stop it on h1, or end the move: supercargo move cancel mov_1/,
    ],
    [
      'the source of its move',
      { changes: { placement: moving }, open: {}, known: without('h1') },
      /^h1 does not answer$/,
      /Start the agent on h1, or end/,
    ],
    [
      'the source of its move, a machine decides',
      { changes: { placement: moving, ...auto }, open: {}, known: without('h1') },
      /a replica takes over/,
      /wait/,
    ],
    [
      'the destination of its move',
      { changes: { placement: moving }, open: {}, known: without('h2') },
      /^h2 does not answer$/,
      /Start the agent on h2, or end/,
    ],
    [
      'the destination after the release',
      { changes: { placement: moving }, open: { phase: 'released' }, known: without('h2') },
      /nobody may write/,
      /agent on h2/,
    ],
    [
      'a removal without an answer',
      { changes: { placement: { state: 'removing', host: 'h1', base: null, confirmed: false } } },
      /^h1 has not confirmed/,
      /called off/,
    ],
    ['a replica that is being made', { changes: nobodyElse }, /^0 of 1 replicas: being made on h2$/, null],
    ['a replica that is away', { known: without('h2') }, /^0 of 1 replicas: h2 does not answer, and is replaced/, /^Bring h2 back/],
    [
      'too few hosts',
      { changes: { ...three, replicas: ['h2', 'h3'], copies: copies({ h2: ['s2'], h3: ['s2'] }) } },
      /^2 of 3 replicas: not enough hosts$/,
      /^Add a host/,
    ],
    ['a storm', { known: without('h2', 'h3') }, /too many hosts are away at once/, /Bring the hosts back/],
    ['no room', { changes: { replicas: [], ...nobodyElse } }, /^0 of 1 replicas: waits for room/, null],
    [
      'a replica that lags',
      {
        changes: {
          copies: copies({ h2: ['s1'] }),
          lineage: [...volume().lineage.slice(0, 1), { snapshot: 's2', epoch: 3, takenAt: at(30), bytes: 7 }],
        },
      },
      /^a replica lags behind: h2$/,
      null,
    ],
    ['a lease that is not taken up', { changes: { ...auto, leasedEpoch: null } }, /not in force yet: h1/, null],
    [
      'automatic failover to nobody',
      { changes: { protection: { ...auto.protection, replicas: 0 }, replicas: [] } },
      /nothing could take over/,
      /--replicas 1/,
    ],
    [
      'something that was kept',
      { changes: { diverged } },
      /^what h3 had written/,
      /restore data s9 NEWNAME; or give it up: supercargo volume forget data s9/,
    ],
  ])('%s', (_, given, blockedBy, next) => {
    const explained = explain(given);
    expect(explained.healthy).toBe(false);
    expect(explained.blockedBy).toMatch(blockedBy);
    expect(explained.next ?? 'nothing').toMatch(next ?? /^nothing$/);
  });

  it('the most urgent first', () => {
    expect(explain({ known: without('h1'), changes: { diverged } }).blockedBy).toMatch(/only an operator/);
  });
});

describe('its copies', () => {
  it('are listed with their roles and their lag, also those that are still to come', () => {
    const changes = { replicas: ['h2', 'h4'], copies: copies({ h1: ['s1', 's2'], h2: ['s1'], h3: ['x1'] }) };
    expect(explain({ changes, known: without('h3') }).copies).toEqual([
      { host: 'h1', role: 'holder', status: 'up', snapshot: 's2', takenAt: at(95), lagMilliseconds: null, lagBytes: null },
      { host: 'h2', role: 'replica', status: 'up', snapshot: 's1', takenAt: at(0), lagMilliseconds: 100_000, lagBytes: 7 },
      { host: 'h3', role: 'leftover', status: 'down', snapshot: null, takenAt: null, lagMilliseconds: null, lagBytes: null },
      { host: 'h4', role: 'replica', status: 'down', snapshot: null, takenAt: null, lagMilliseconds: null, lagBytes: null },
    ]);
  });
});
