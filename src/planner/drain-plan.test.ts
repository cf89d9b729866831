import { describe, expect, it } from 'vitest';
import { newVolume } from '../model/new-volume.ts';
import type { Move, Volume } from '../model/records.ts';
import { movesToOpen, planDrain } from './drain-plan.ts';
import { hostOf } from './facts.contract.ts';
import type { KnownHost } from './failover-plan.ts';

const createdAt = '2026-01-01T00:00:00.000Z';

function volume(id: string, changes: Partial<Volume> = {}): Volume {
  const copies: Volume['copies'] = [{ host: 'a', kind: 'live', snapshots: [] }];
  return newVolume({ id, name: id, createdAt, placement: { state: 'held', host: 'a', base: null }, copies, ...changes });
}

function move(id: string, changes: Partial<Move> = {}): Move {
  const names = { id, volume: id, volumeName: id, from: 'a', to: 'b' };
  const rest = { blockedBy: [], finalSnapshot: null, progress: null, error: null, startedAt: createdAt, endedAt: null };
  return { ...names, ...rest, epoch: 1, reason: 'operator', phase: 'copying', ...changes };
}

const poolWith = (usedBytes: number) => ({ pool: { driver: 'btrfs', location: '', capacityBytes: 1000, usedBytes } });
const host = (name: string, usedBytes = 0, changes: Partial<KnownHost> = {}): KnownHost => hostOf(name, { ...poolWith(usedBytes), ...changes });
const [a, b, c] = [host('a'), host('b', 100), host('c', 200)];
function plan(volumes: Volume[], hosts: KnownHost[] = [a, b, c], moves: Move[] = []): Record<string, string | number> {
  const { moves: planned, homeless } = planDrain({ host: 'a', volumes, hosts, moves });
  return Object.fromEntries([
    ...planned.map(({ volume: { id }, to }) => [id, to]),
    ...homeless.map(({ volume: { id }, bytes }) => [id, bytes]),
  ]) as never;
}

describe('a host that is emptied', () => {
  it('gives each volume to who has a copy, else to who has the most room, counting what it gave before', () => {
    const copied = [{ host: 'c', kind: 'replica' as const, snapshots: ['s1'] }];
    expect(plan([volume('u', { sizeBytes: 300 }), volume('v', { sizeBytes: 600 }), volume('w', { copies: copied })])).toEqual({
      u: 'b',
      v: 'c',
      w: 'c',
    });
  });

  it('gives nothing to a host that is away, being emptied, or too full, and says how much did not fit', () => {
    const hosts = [a, host('b', 900), host('c', 0, { state: 'draining' }), host('d', 0, { downMilliseconds: 1 })];
    expect(plan([volume('u', { sizeBytes: 300 }), volume('v', { sizeBytes: 50 })], hosts)).toEqual({ u: 300, v: 'b' });
  });

  it('leaves alone what it does not hold', () => {
    const elsewhere = volume('u', { placement: { state: 'held', host: 'b', base: null } });
    expect(plan([elsewhere, volume('v', { placement: { state: 'free' } })])).toEqual({});
  });

  it('counts what is on its way', () => {
    const going = volume('u', { sizeBytes: 500, placement: { state: 'moving', from: 'a', to: 'b', move: 'u', base: null } });
    expect(plan([going, volume('v', { sizeBytes: 450 })], [a, b], [move('u')])).toEqual({ v: 450 });
    expect(plan([going, volume('v', { sizeBytes: 350 })], [a, b], [move('u')])).toEqual({ v: 'b' });
  });

  it('takes what is known of a history for the size, and for those of which nothing is known a share of the rest of the pool', () => {
    const told = volume('u', { lineage: [{ snapshot: 's1', epoch: 1, takenAt: createdAt, bytes: 200 }] });
    const full = host('b', 999);
    expect(plan([told, volume('v'), volume('w')], [host('a', 800), full])).toEqual({ u: 200, v: 300, w: 300 });
  });
});

describe('moves away from a host', () => {
  it('go on a few at a time; those that wait for users, or have ended, hold none up', () => {
    const waiting = { blockedBy: [{ kind: 'container' as const, name: 'db' }] };
    expect(movesToOpen([], 'a', 2)).toBe(2);
    expect(movesToOpen([move('u'), move('v', { from: 'b' }), move('w', { phase: 'aborted' })], 'a', 2)).toBe(1);
    expect(movesToOpen([move('u'), move('v')], 'a', 2)).toBe(0);
    expect(movesToOpen([move('u', waiting), move('v', waiting)], 'a', 2)).toBe(2);
  });

  it('are not all begun at once only because all wait for their users', () => {
    const waiting = Array.from({ length: 19 }, (_, index) => move(`v${index}`, { blockedBy: [{ kind: 'process', name: 'vim' }] }));
    expect(movesToOpen(waiting, 'a', 2)).toBe(1);
    expect(movesToOpen([...waiting, ...waiting], 'a', 2)).toBe(0);
  });
});
