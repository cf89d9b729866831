import { beforeEach, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import { newVolume } from '../model/new-volume.ts';
import type { Protection, Volume } from '../model/records.ts';
import type { GuardedUntil, Guardian } from '../ports/guardian.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import type { LeaseClaim } from '../protocol/protection-routes.ts';
import { createFakeDriver, FakeDisk } from '../../test/sim/fake-disk.ts';
import { Leases } from './leases.ts';
import { LocalState } from './local-state.ts';

class FakeGuardian implements Guardian {
  readonly guarded = new Map<string, GuardedUntil>();
  fails = false;

  async hold(volumes: readonly { volume: string; epoch: number }[], until: number): Promise<void> {
    if (this.fails) throw new Error('stopped');
    for (const { volume, epoch } of volumes) this.guarded.set(volume, { volume, epoch, until });
  }

  async drop(volume: string): Promise<void> {
    this.guarded.delete(volume);
  }

  states(): GuardedUntil[] {
    return [...this.guarded.values()];
  }
}

const clock = new ManualClock();
const auto = { replicas: 1, intervalMilliseconds: 5000, failover: 'auto' as const };
const manual = { ...auto, failover: 'manual' as const };
const id = newIdentifier('vol');
const self = { id: newIdentifier('hst'), name: 'h1' };
let state: LocalState;
let guardian: FakeGuardian;
let renewed: string[];
let leases: Leases;

function volumeOf(changes: Partial<Volume> = {}): Volume {
  return newVolume({ id, name: 'data', createdAt: '2026-01-01T00:00:00.000Z', protection: auto, ...changes });
}

function begin(boot = 'first'): Leases {
  const context = { self, boot, state, clock, driver: createFakeDriver(new FakeDisk()), mountDirectory: '/mounts', guardians: [guardian] };
  const silent = () => undefined;
  return new Leases({ ...context, log: { debug: silent, info: silent, warn: silent, error: silent } }, (volume) => renewed.push(volume));
}

/** One heartbeat that takes so long. @returns what was asked for */
async function beat(travelMilliseconds = 0, confirmed?: LeaseClaim[], held: LeaseClaim[] = []): Promise<LeaseClaim[]> {
  const sentAt = clock.monotonicMilliseconds();
  const claims = await leases.beforeHeartbeat(sentAt);
  await clock.advance(travelMilliseconds);
  await leases.confirm(sentAt, { sessionMilliseconds: 10_000, leases: confirmed ?? claims, held });
  return claims;
}

const grant = (epoch: number) => state.takeGrant(id, { epoch, boot: 'first' });

beforeEach(async () => {
  state = await LocalState.open(openSqliteStore({ path: ':memory:', clock }), clock);
  guardian = new FakeGuardian();
  renewed = [];
  leases = begin();
  await state.rememberVolumes([volumeOf()]);
});

describe('a lease', () => {
  it('is needed for volumes under automatic failover only', async () => {
    await state.rememberVolumes([volumeOf({ protection: manual })]);
    await grant(1);
    expect(leases.mayWrite(id, 1)).toBe(true);
    expect(await beat()).toEqual([]);
    expect(guardian.states()).toEqual([]);
  });

  it('counts from the sending of the heartbeat, however late the answer comes', async () => {
    await grant(1);
    const sentAt = clock.monotonicMilliseconds();
    await beat(4000);
    expect(guardian.states()).toEqual([{ volume: id, epoch: 1, until: sentAt + 10_000 }]);
    expect(leases.mayWrite(id, 1)).toBe(true);
    await clock.advance(4600);
    expect(leases.mayWrite(id, 1)).toBe(false);
    await beat();
    expect(leases.mayWrite(id, 1)).toBe(true);
  });

  it('is of one epoch', async () => {
    await grant(1);
    await beat();
    await grant(2);
    expect(leases.mayWrite(id, 2)).toBe(false);
    await beat();
    expect([leases.mayWrite(id, 1), leases.mayWrite(id, 2)]).toEqual([false, true]);
  });

  it('does not begin without the name server’s word, though it is guarded from the first time it is asked for', async () => {
    await grant(1);
    await beat(0, []);
    expect(leases.mayWrite(id, 1)).toBe(false);
    expect(guardian.states()).toMatchObject([{ volume: id, epoch: 1 }]);
  });

  it('tells when it begins, and not each time it goes on', async () => {
    await grant(1);
    await beat();
    await beat();
    expect(renewed).toEqual([id]);
  });

  it('goes on although a guardian does not answer', async () => {
    await grant(1);
    guardian.fails = true;
    await beat();
    expect(leases.mayWrite(id, 1)).toBe(true);
  });

  it('is forgotten by all with its grant', async () => {
    await grant(1);
    await beat();
    await state.setGrant(id, { epoch: 1, state: 'released', move: null, snapshot: newIdentifier('snp') });
    expect(await beat()).toEqual([]);
    expect(guardian.states()).toEqual([]);
    expect(leases.mayWrite(id, 1)).toBe(false);
  });
});

describe('after a restart of the agent', () => {
  it('a guardian that knows the deadline keeps it: asking is no renewal', async () => {
    await grant(1);
    await beat();
    const [before] = guardian.states();
    await clock.advance(7000);
    leases = begin();
    await leases.beforeHeartbeat(clock.monotonicMilliseconds());
    expect(guardian.states()).toEqual([before]);
    expect(leases.mayWrite(id, 1)).toBe(false);
  });

  it('a guardian that still guards what needs no lease any more lets go of it', async () => {
    await grant(1);
    await beat();
    await state.rememberVolumes([volumeOf({ protection: manual })]);
    leases = begin();
    expect(await beat()).toEqual([]);
    expect(guardian.states()).toEqual([]);
  });

  it('a volume that nobody guards stands still at once, until the name server answers', async () => {
    await grant(1);
    leases = begin();
    const now = clock.monotonicMilliseconds();
    await leases.beforeHeartbeat(now);
    expect(guardian.states()).toEqual([{ volume: id, epoch: 1, until: now + 1000 }]);
  });
});

describe('after the host was off', () => {
  const unprotected: Protection = { ...manual, replicas: 0 };
  const other = newIdentifier('hst');

  it.each<[string, Partial<Volume>]>([
    ['is to have replicas', { protection: manual }],
    ['has hosts that are to keep a replica still', { protection: unprotected, replicas: [other] }],
    ['has a copy on another host', { protection: unprotected, copies: [{ host: other, kind: 'replica', snapshots: [] }] }],
  ])('a volume that %s is not written until the name server says that it is held here still', async (_, changes) => {
    await state.rememberVolumes([volumeOf(changes)]);
    await grant(1);
    expect(leases.mayWrite(id, 1)).toBe(true);
    leases = begin('second');
    expect(leases.mayWrite(id, 1)).toBe(false);
    expect(leases.unconfirmed()).toEqual([{ volume: id, epoch: 1 }]);
    await beat();
    expect(leases.mayWrite(id, 1)).toBe(false);
    await beat(0, [], [{ volume: id, epoch: 1 }]);
    expect([leases.mayWrite(id, 1), leases.unconfirmed(), renewed]).toEqual([true, [], [id]]);
    // Remembered: the agent alone may start again.
    leases = begin('second');
    expect(leases.mayWrite(id, 1)).toBe(true);
  });

  it('a volume that nobody else has a copy of is used as before', async () => {
    await state.rememberVolumes([volumeOf({ protection: unprotected, copies: [{ host: self.id, kind: 'live', snapshots: [] }] })]);
    await grant(1);
    leases = begin('second');
    expect(leases.mayWrite(id, 1)).toBe(true);
  });

  it('nothing is asked about what was given up', async () => {
    await grant(1);
    await state.setGrant(id, { epoch: 1, state: 'released', move: null, snapshot: newIdentifier('snp') });
    expect(begin('second').unconfirmed()).toEqual([]);
  });

  it('a mount says what is waited for and what to do', async () => {
    await state.rememberVolumes([volumeOf({ protection: manual })]);
    await grant(1);
    leases = begin('second');
    const right = leases.awaitRight({ id, name: 'data' }, 1, new AbortController().signal);
    right.catch(() => undefined);
    await clock.advance(6000);
    await expect(right).rejects.toMatchObject({
      code: 'name-server-unreachable',
      message: expect.stringContaining('was off') as string,
      hint: expect.stringContaining('Start the host of the name server') as string,
    });
  });
});

describe('a mount', () => {
  it('waits for the word of the name server, and asks for it at once', async () => {
    await grant(1);
    const { wanted } = leases;
    const right = leases.awaitRight({ id, name: 'data' }, 1, new AbortController().signal);
    expect(wanted.aborted).toBe(true);
    await beat();
    await clock.advance(600);
    await expect(right).resolves.toBeUndefined();
  });

  it('fails if the name server is away', async () => {
    await grant(1);
    const right = leases.awaitRight({ id, name: 'data' }, 1, new AbortController().signal);
    right.catch(() => undefined);
    await clock.advance(6000);
    await expect(right).rejects.toMatchObject({ code: 'name-server-unreachable' });
  });
});
