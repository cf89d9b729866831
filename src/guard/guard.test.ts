import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Fence, FenceOutcome, FenceTarget } from '../ports/fence.ts';
import type { GuardedVolume } from '../ports/guardian.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import { Guard } from './guard.ts';

const lease = (volume: string, epoch = 1): GuardedVolume => ({ volume, epoch, path: `/pool/${volume}`, mountPoint: `/mounts/${volume}` });

/** Users of volumes as the kernel would have them; remembers what was done, and fails or waits where it is told to. */
class FakeMachine implements Fence {
  readonly done: string[] = [];
  readonly users = new Map<string, 'running' | 'stopped'>();
  readonly readOnly = new Set<string>();
  readonly failures = new Map<string, string>();
  readonly waits = new Map<string, Promise<void>>();
  /** Called after each step, with how many times it was done. */
  after = (_what: string, _times: number): void => undefined;

  async freeze(targets: readonly FenceTarget[]): Promise<FenceOutcome[]> {
    return this.#all('freeze', targets, (path) => this.users.has(path) && this.users.set(path, 'stopped'));
  }
  async thaw(targets: readonly FenceTarget[]): Promise<void> {
    const outcomes = await this.#all('thaw', targets, (path) => this.users.has(path) && this.users.set(path, 'running'));
    if (outcomes.some(({ problem }) => problem !== null)) throw new Error('cannot thaw');
  }
  async kill(targets: readonly FenceTarget[]): Promise<FenceOutcome[]> {
    return this.#all('kill', targets, (path) => this.users.delete(path));
  }
  async setReadOnly(volume: string): Promise<void> {
    await this.#step('read-only', volume);
    this.readOnly.add(volume);
  }
  async snapshot(volume: string, epoch: number, ranOut: number): Promise<void> {
    await this.#step('snapshot', `${volume}@${epoch}:${ranOut}`);
  }

  async #all(what: string, targets: readonly FenceTarget[], act: (path: string) => unknown): Promise<FenceOutcome[]> {
    return Promise.all(
      targets.map(async ({ path }) => {
        const users = this.users.has(path) ? [{ processNumber: 7, name: 'db', how: 'cgroup' as const }] : [];
        try {
          await this.#step(what, path.replace('/pool/', ''));
          act(path);
          return { users, problem: null };
        } catch (error) {
          return { users, problem: (error as Error).message };
        }
      }),
    );
  }
  async #step(what: string, of: string): Promise<void> {
    this.done.push(`${what} ${of}`);
    await this.waits.get(what);
    const failure = this.failures.get(what);
    if (failure !== undefined) throw new Error(failure);
    this.after(what, this.done.filter((each) => each.startsWith(what)).length);
  }
}

describe('Guard', () => {
  let clock: ManualClock;
  let machine: FakeMachine;
  let guard: Guard;
  let stop: AbortController;
  let running: Promise<void>;
  let logged: string[];
  /** What waits in the socket; read when the guard looks. */
  let arrived: (() => void)[];

  const state = (volume = 'a') => guard.states().find((each) => each.volume === volume)?.state;
  const taken = () => machine.done.splice(0);

  beforeEach(async () => {
    clock = new ManualClock();
    machine = new FakeMachine();
    arrived = [];
    logged = [];
    const note = (details: object, message: string): void => void logged.push(`${message} ${JSON.stringify(details)}`);
    const readArrived = async (): Promise<void> => arrived.splice(0).forEach((message) => message());
    guard = new Guard({ clock, fence: machine, seal: machine, log: { info: note, warn: note }, readArrived });
    stop = new AbortController();
    running = guard.run(stop.signal);
    machine.users.set('/pool/a', 'running');
    await guard.hold([lease('a')], 10_000);
    await clock.advance(0);
    taken();
  });
  afterEach(async () => {
    stop.abort();
    await running;
  });

  it('touches nothing while the lease is renewed in time', async () => {
    for (let now = 5000; now <= 50_000; now += 5000) {
      await clock.advance(now - clock.monotonicMilliseconds());
      await guard.hold([lease('a')], now + 10_000);
    }
    expect(taken()).toEqual([]);
    expect([state(), machine.users.get('/pool/a')]).toEqual(['held', 'running']);
  });

  it('freezes before the deadline, looks again for late users, and kills at the deadline', async () => {
    await clock.advance(8999);
    expect([state(), taken()]).toEqual(['held', []]);
    await clock.advance(1);
    expect([state(), taken()]).toEqual(['frozen', ['freeze a']]);
    await clock.advance(999);
    expect(taken()).toEqual(['freeze a', 'freeze a', 'freeze a', 'freeze a']);
    expect(machine.users.get('/pool/a')).toBe('stopped');
    expect(guard.idle).toBe(false);
    await clock.advance(1);
    expect(taken()).toEqual(['kill a', 'read-only a', 'kill a', 'snapshot a@1:10000']);
    expect(guard.states()).toEqual([{ volume: 'a', epoch: 1, until: 10_000, state: 'fenced', problem: null }]);
    expect(guard.idle).toBe(true);
    await clock.advance(1e6);
    expect(taken()).toEqual([]);
  });

  it('lets go on what was frozen when the lease is renewed before the deadline', async () => {
    await clock.advance(9500);
    await guard.hold([lease('a')], 20_000);
    await clock.advance(0);
    expect([state(), machine.users.get('/pool/a')]).toEqual(['held', 'running']);
    taken();
    await clock.advance(9499);
    expect(taken()).toEqual([]);
    await clock.advance(1);
    expect(taken()).toEqual(['freeze a']);
  });

  it('begins with letting go on what a guard before it may have stopped', async () => {
    await guard.hold([lease('b')], 10_000);
    expect(state('b')).toBe('frozen');
    await clock.advance(0);
    expect([state('b'), taken()]).toEqual(['held', ['thaw b']]);
  });

  it('takes no earlier end and no older epoch for a renewal', async () => {
    await guard.hold([lease('a', 0)], 99_000);
    await guard.hold([lease('a')], 5000);
    await clock.advance(8999);
    expect(state()).toBe('held');
    await clock.advance(1001);
    expect(state()).toBe('fenced');
    await guard.hold([lease('a')], 10_000);
    await clock.advance(0);
    expect(state()).toBe('fenced');
  });

  it.each([
    ['of the same epoch that comes late', 1],
    ['of a higher epoch', 2],
  ])('holds a fenced volume again by a lease %s', async (_, epoch) => {
    await clock.advance(15_000);
    expect(state()).toBe('fenced');
    taken();
    machine.users.set('/pool/a', 'running');
    await guard.hold([lease('a', epoch)], 30_000);
    await clock.advance(0);
    expect([state(), taken(), guard.idle]).toEqual(['held', [], false]);
    await clock.advance(15_000);
    expect([state(), machine.users.has('/pool/a')]).toEqual(['fenced', false]);
    expect(taken()).toContain(`snapshot a@${epoch}:30000`);
  });

  it('fences each volume at its own end, and those of one end together', async () => {
    await guard.hold([lease('b'), lease('c')], 12_000);
    await clock.advance(10_000);
    expect(guard.states().map(({ state }) => state)).toEqual(['fenced', 'held', 'held']);
    taken();
    await clock.advance(2000);
    expect(taken().slice(-8)).toEqual([
      'kill b',
      'kill c',
      'read-only b',
      'read-only c',
      'kill b',
      'kill c',
      'snapshot b@1:12000',
      'snapshot c@1:12000',
    ]);
  });

  it('does nothing for a volume that was given up, but for letting go on what it froze', async () => {
    await guard.drop('a');
    await clock.advance(0);
    expect([guard.states(), guard.idle]).toEqual([[], true]);
    await clock.advance(20_000);
    expect(taken()).toEqual([]);

    machine.users.set('/pool/b', 'running');
    await guard.hold([lease('b')], 30_000);
    await clock.advance(9500);
    expect(machine.users.get('/pool/b')).toBe('stopped');
    await guard.drop('b');
    await clock.advance(0);
    expect([machine.users.get('/pool/b'), guard.idle]).toEqual(['running', true]);
    await guard.drop('unknown');
  });

  it('starts anew with a volume that was given up and comes back', async () => {
    await guard.drop('a');
    await guard.hold([lease('a', 1)], 8000);
    await clock.advance(8000);
    expect(state()).toBe('fenced');
  });

  it('tries a kill again for ever, and says what hinders it', async () => {
    machine.failures.set('kill', 'db (process 7) waits for its disk');
    await clock.advance(13_000);
    expect(guard.states()).toMatchObject([{ state: 'frozen', problem: 'kill: db (process 7) waits for its disk' }]);
    expect(taken().filter((each) => each === 'kill a').length).toBeGreaterThan(4);
    expect(machine.readOnly).toContain('a');
    expect(logged.filter((line) => line.startsWith('fencing is not complete'))).toHaveLength(1);
    expect(guard.idle).toBe(false);
    machine.failures.clear();
    await clock.advance(500);
    expect(guard.states()).toMatchObject([{ state: 'fenced', problem: null }]);
  });

  it.each([
    ['the look at processes fails', 'freeze', 9500, 'out of order'],
    ['the data cannot be made read-only', 'read-only', 10_000, 'read-only: out of order'],
  ])('goes on trying when %s', async (_, what, time, problem) => {
    machine.failures.set(what, 'out of order');
    await clock.advance(time);
    expect(guard.states()).toMatchObject([{ problem }]);
    expect(state()).not.toBe('fenced');
    machine.failures.clear();
    await clock.advance(500);
    expect(state()).toBe('fenced');
  });

  it('tries to let users go on until it succeeds', async () => {
    await clock.advance(9500);
    machine.failures.set('thaw', 'out of order');
    await guard.hold([lease('a')], 20_000);
    await clock.advance(0);
    expect(guard.states()).toMatchObject([{ state: 'frozen', problem: 'thaw: cannot thaw' }]);
    machine.failures.clear();
    await clock.advance(500);
    expect(guard.states()).toMatchObject([{ state: 'held', problem: null }]);
  });

  it('counts a volume as fenced without a snapshot, because its data is as safe, and says so', async () => {
    machine.failures.set('snapshot', 'pool full');
    await clock.advance(10_000);
    expect(guard.states()).toMatchObject([{ state: 'fenced', problem: 'no snapshot: pool full' }]);
  });

  it('kills in time though the freeze hangs', async () => {
    let release = (): void => undefined;
    machine.waits.set('freeze', new Promise((resolve) => (release = resolve)));
    await clock.advance(9500);
    await guard.drop('wake');
    await clock.advance(500);
    expect(state()).toBe('fenced');
    expect(taken().filter((each) => each === 'freeze a')).toHaveLength(1);
    // A container of the next lease must not stay frozen by the freeze that comes to its end now.
    machine.users.set('/pool/a', 'running');
    release();
    await guard.hold([lease('a')], 30_000);
    await clock.advance(0);
    expect([state(), machine.users.get('/pool/a')]).toEqual(['held', 'running']);
  });

  it('keeps no volume waiting for another that hangs', async () => {
    let release = (): void => undefined;
    machine.waits.set('kill', new Promise((resolve) => (release = resolve)));
    await guard.hold([lease('b')], 20_000);
    await clock.advance(10_000);
    machine.waits.delete('kill');
    machine.users.set('/pool/b', 'running');
    await clock.advance(10_000);
    expect([state('a'), state('b')]).toEqual(['frozen', 'fenced']);
    release();
    await clock.advance(0);
    expect(state('a')).toBe('fenced');
  });

  describe.each([
    ['renewed', () => guard.hold([lease('a')], 40_000), 'held'],
    ['given up', () => guard.drop('a'), undefined],
  ])('when the volume is %s in the middle', (_, change, expected) => {
    it.each([
      ['the first look', 'kill', 1, { kills: 1, snapshots: 0 }],
      ['the second look', 'kill', 2, { kills: 2, snapshots: 0 }],
      ['the snapshot', 'snapshot', 1, { kills: 2, snapshots: 1 }],
    ])('of %s, calls the rest off', async (_, what, times, done) => {
      machine.after = (step, count) => void (step === what && count === times && change());
      await clock.advance(10_000);
      expect(state()).toBe(expected);
      const words = taken().map((each) => each.split(' ')[0]);
      expect({ kills: words.filter((word) => word === 'kill').length, snapshots: words.filter((word) => word === 'snapshot').length }).toEqual(done);
    });
  });

  it('lets go on at once, however often', async () => {
    await clock.advance(9500);
    await guard.hold([lease('a')], 10_600);
    await clock.advance(150);
    expect(taken()).toEqual(['freeze a', 'freeze a', 'freeze a', 'thaw a', 'freeze a']);
    await guard.hold([lease('a')], 20_000);
    await clock.advance(0);
    expect(machine.users.get('/pool/a')).toBe('running');
  });

  describe('when its process was stopped past the deadline', () => {
    /** The clock goes on, and nothing else; then the guard is awake again. */
    async function sleepThrough(milliseconds: number): Promise<void> {
      const elapsed = clock.monotonicMilliseconds.bind(clock);
      clock.monotonicMilliseconds = () => elapsed() + milliseconds;
      await guard.drop('wake');
    }

    it('reads the renewals that wait in the socket before it judges', async () => {
      arrived.push(() => void guard.hold([lease('a')], 70_000));
      await sleepThrough(55_000);
      await clock.advance(0);
      expect([state(), taken()]).toEqual(['held', []]);
    });

    it('freezes at once, and kills unless a renewal comes in a moment later', async () => {
      await sleepThrough(60_000);
      await clock.advance(0);
      expect([state(), taken()]).toEqual(['frozen', ['freeze a']]);
      await clock.advance(99);
      expect([state(), taken()]).toEqual(['frozen', []]);
      await clock.advance(1);
      expect([state(), taken().slice(0, 2)]).toEqual(['fenced', ['kill a', 'read-only a']]);
    });

    it('kills nobody if it does', async () => {
      await sleepThrough(60_000);
      await clock.advance(50);
      await guard.hold([lease('a')], 70_000);
      await clock.advance(1000);
      expect([state(), machine.users.get('/pool/a'), taken()]).toEqual(['held', 'running', ['freeze a', 'thaw a']]);
    });
  });

  it('does not care about the time of day', async () => {
    clock.setWall(0);
    await clock.advance(5000);
    clock.setWall(Date.UTC(2199, 0, 1));
    await clock.advance(3999);
    expect([state(), taken()]).toEqual(['held', []]);
    await clock.advance(1001);
    expect(state()).toBe('fenced');
  });
});
