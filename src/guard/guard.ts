import type { Clock } from '../ports/clock.ts';
import type { Fence, Seal } from '../ports/fence.ts';
import { freezeLeadMilliseconds } from '../ports/guardian.ts';
import type { GuardedVolume, Guardian } from '../ports/guardian.ts';

/** How a volume stands with a guard. */
export interface GuardState {
  volume: string;
  epoch: number;
  /** End of the lease, in milliseconds of the monotonic clock. */
  until: number;
  /**
   * held: nothing is stopped, and containers may start. frozen: its users are stopped, are being ended, or may still be stopped from earlier.
   * fenced: nothing uses it, and it is read-only.
   */
  state: 'held' | 'frozen' | 'fenced';
  /** What could not be done and is tried again, for people; null if all is well. */
  problem: string | null;
}

export interface GuardOptions {
  clock: Clock;
  fence: Fence;
  seal: Seal;
  log: { info(details: object, message: string): void; warn(details: object, message: string): void };
  /** Lets everything be read that has arrived on sockets: a renewal that waits there counts. */
  readArrived: () => Promise<void>;
  /** So long before the end of a lease its users are frozen. */
  freezeLeadMilliseconds?: number;
}

interface Entry {
  lease: GuardedVolume;
  until: number;
  fenced: boolean;
  /** The last freeze has confirmed that all stand still. */
  frozen: boolean;
  /** Something may be stopped: by us, or by a guard before us that has died. */
  mayBeStopped: boolean;
  /** Given up by the agent: to be forgotten once what may be stopped goes on. */
  dropped: boolean;
  working: Record<Work, boolean>;
  /** Not before this time again. */
  next: Record<Work, number>;
  /** The end of a lease that was noticed late: it is judged again a little later. */
  doubted: number | null;
  problem: string | null;
}

type Work = 'freeze' | 'thaw' | 'kill';

/** Users that came late are looked for this often, in milliseconds. */
const refreezeMilliseconds = 200;
const retryMilliseconds = 500;
/** A deadline that is noticed later than this was slept through: this process was stopped, or the machine was. Milliseconds. */
const lateMilliseconds = 50;
/** So long after such an awakening a renewal may still come in, from an agent that was not stopped. Milliseconds. */
const doubtMilliseconds = 100;
const longestSleepMilliseconds = 60_000;

/**
 * Holds the deadlines of this host's leases. Before one, the users of the volume are frozen; if it is renewed in time they go on; at the deadline they are
 * killed, and the live copy is made read-only and snapshotted. Whatever fails is tried again for ever. All its effects may be repeated, also by another
 * process at the same time. It counts on the monotonic clock, so nothing depends on the time of day.
 */
export class Guard implements Guardian {
  readonly #options: GuardOptions;
  readonly #lead: number;
  readonly #entries = new Map<string, Entry>();
  readonly #running = new Set<Promise<void>>();
  #wake = new AbortController();

  constructor(options: GuardOptions) {
    this.#options = options;
    this.#lead = options.freezeLeadMilliseconds ?? freezeLeadMilliseconds;
  }

  /**
   * These volumes are held until then (milliseconds of the monotonic clock). What was frozen goes on. A lease that came back after the deadline counts as
   * well: its users are dead, and the volume is held again once that is over. Older epochs, and earlier ends of the same epoch, change nothing.
   */
  async hold(leases: readonly GuardedVolume[], until: number): Promise<void> {
    for (const lease of leases) {
      const entry = this.#entries.get(lease.volume);
      if (entry === undefined) this.#entries.set(lease.volume, newEntry(lease, until));
      else if (entry.dropped || lease.epoch > entry.lease.epoch || (lease.epoch === entry.lease.epoch && until > entry.until))
        renew(entry, lease, until);
    }
    this.#wake.abort();
  }

  /** This host has given the volume up, or it needs no lease any more: nothing is done at its deadline, and what is frozen goes on. */
  async drop(volume: string): Promise<void> {
    const entry = this.#entries.get(volume);
    if (entry !== undefined) entry.dropped = true;
    this.#wake.abort();
  }

  states(): GuardState[] {
    const alive = [...this.#entries.values()].filter(({ dropped }) => !dropped);
    return alive.map(({ lease, until, fenced, mayBeStopped, working, problem }) => {
      const state = fenced ? 'fenced' : mayBeStopped || working.kill ? 'frozen' : 'held';
      return { volume: lease.volume, epoch: lease.epoch, until, state, problem };
    });
  }

  /** True if nothing is left to be done at any time. */
  get idle(): boolean {
    return [...this.#entries.values()].every(({ fenced }) => fenced);
  }

  /** Runs until the signal fires, and then ends what is under way. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // A renewal that has arrived counts, however late this process is awake to read it.
      await this.#options.readArrived();
      this.#act();
      await this.#sleep(signal);
    }
    await Promise.all(this.#running);
  }

  async #sleep(signal: AbortSignal): Promise<void> {
    const now = this.#now();
    const due = [...this.#entries.values()].flatMap((entry) => this.#dueTimes(entry)).filter((time) => time > now);
    const milliseconds = Math.min(longestSleepMilliseconds, ...due.map((time) => Math.max(1, Math.ceil(time - now))));
    // Whoever woke us while we were still acting is not lost: the signal has fired already, and the sleep ends at once.
    await this.#options.clock.sleep(milliseconds, AbortSignal.any([signal, this.#wake.signal])).catch(() => undefined);
    if (this.#wake.signal.aborted) this.#wake = new AbortController();
  }

  #dueTimes({ until, doubted, next }: Entry): number[] {
    return [until - this.#lead, until, doubted ?? 0, next.freeze, next.thaw, next.kill];
  }

  #now(): number {
    return this.#options.clock.monotonicMilliseconds();
  }

  /** Begins all that is due. Nothing waits for anything else: a kill that hangs on one volume must not keep another from being frozen. */
  #act(): void {
    const due: Record<Work, Entry[]> = { freeze: [], thaw: [], kill: [] };
    for (const [volume, entry] of this.#entries) {
      const work = this.#workFor(entry);
      if (work !== null) due[work].push(entry);
      else if (entry.dropped && !isBusy(entry)) this.#entries.delete(volume);
    }
    this.#begin('freeze', due.freeze, (entries) => this.#freeze(entries));
    this.#begin('thaw', due.thaw, (entries) => this.#thaw(entries));
    this.#begin('kill', due.kill, (entries) => this.#kill(entries));
  }

  #workFor(entry: Entry): Work | null {
    const now = this.#now();
    const { until, fenced, dropped, mayBeStopped, working, next } = entry;
    if (fenced && !dropped) return null;
    if (dropped || now < until - this.#lead) return mayBeStopped && !isBusy(entry) && now >= next.thaw ? 'thaw' : null;
    if (now >= until && !this.#doubts(entry, now)) return !working.kill && now >= next.kill ? 'kill' : null;
    return !isBusy(entry) && now >= next.freeze ? 'freeze' : null;
  }

  /** Whether the end of the lease was slept through and is not to be believed yet. */
  #doubts(entry: Entry, now: number): boolean {
    if (entry.doubted === null && now - entry.until > lateMilliseconds) entry.doubted = now + doubtMilliseconds;
    // Noticed in time: it stays so.
    entry.doubted ??= entry.until;
    return now < entry.doubted;
  }

  #begin(work: Work, entries: Entry[], task: (entries: Entry[]) => Promise<void>): void {
    if (entries.length === 0) return;
    for (const entry of entries) entry.working[work] = true;
    const running = task(entries)
      .catch((error: unknown) => {
        for (const entry of entries) this.#report(entry, `${work}: ${(error as Error).message}`);
      })
      .finally(() => {
        const again = this.#now() + (work === 'freeze' ? refreezeMilliseconds : retryMilliseconds);
        for (const entry of entries) {
          entry.working[work] = false;
          entry.next[work] = work === 'thaw' && !entry.mayBeStopped ? 0 : again;
        }
        this.#running.delete(running);
        this.#wake.abort();
      });
    this.#running.add(running);
  }

  async #freeze(entries: readonly Entry[]): Promise<void> {
    for (const entry of entries) entry.mayBeStopped = true;
    const outcomes = await this.#options.fence.freeze(entries.map(({ lease }) => lease));
    for (const [index, entry] of entries.entries()) {
      const { users = [], problem = null } = outcomes[index] ?? {};
      if (!entry.frozen && problem === null) {
        const milliseconds = Math.round(entry.until - this.#now());
        this.#options.log.warn({ volume: entry.lease.volume, users, milliseconds }, 'the lease runs out: what uses the volume is frozen');
      }
      entry.frozen ||= problem === null;
      // Again, for a kill that was quicker and thought that all was over.
      entry.mayBeStopped = true;
      this.#report(entry, problem);
    }
  }

  async #thaw(entries: readonly Entry[]): Promise<void> {
    await this.#options.fence.thaw(entries.map(({ lease }) => lease));
    for (const entry of entries) {
      if (entry.frozen) this.#options.log.info({ volume: entry.lease.volume }, 'what uses the volume goes on');
      entry.mayBeStopped = false;
      entry.frozen = false;
      this.#report(entry, null);
    }
  }

  /**
   * Read-only first, and at the same time as the kill, so that nothing opens a file for writing any more; then a second look for what opened one in between;
   * then the snapshot, of what nobody can change. A lease that comes back in the middle calls the rest off; what was read-only already stays so.
   */
  async #kill(entries: readonly Entry[]): Promise<void> {
    const { seal, log } = this.#options;
    const ends = new Map(entries.map((entry) => [entry, entry.until]));
    const calledOff = (entry: Entry): boolean => entry.dropped || entry.until !== ends.get(entry);
    const [dead, closed] = await Promise.all([this.#killUsers(entries), this.#eachOf(entries, ({ lease }) => seal.setReadOnly(lease.volume))]);
    const ready = dead.filter((entry) => closed.includes(entry) && !calledOff(entry));
    const quiet = (ready.length === 0 ? [] : await this.#killUsers(ready)).filter((entry) => !calledOff(entry));
    for (const entry of quiet) {
      const { volume, epoch } = entry.lease;
      // Without a snapshot the data is as safe, because the live copy itself is changed by nobody.
      const problem = await seal.snapshot(volume, epoch, entry.until).then(
        () => null,
        (error: unknown) => `no snapshot: ${(error as Error).message}`,
      );
      if (calledOff(entry)) continue;
      Object.assign(entry, { fenced: true, frozen: false, mayBeStopped: false });
      log.warn({ volume, epoch }, 'the lease has run out: what used the volume is ended, and it is read-only');
      this.#report(entry, problem);
    }
    for (const entry of entries) if (calledOff(entry)) this.#report(entry, null);
  }

  /** @returns those of which nothing is left */
  async #killUsers(entries: readonly Entry[]): Promise<Entry[]> {
    const outcomes = await this.#options.fence.kill(entries.map(({ lease }) => lease));
    for (const [index, entry] of entries.entries()) {
      const { users = [], problem = null } = outcomes[index] ?? {};
      if (users.length > 0) this.#options.log.warn({ volume: entry.lease.volume, users }, 'killed what used the volume');
      if (problem !== null) this.#report(entry, `kill: ${problem}`);
    }
    return entries.filter((_, index) => outcomes[index]?.problem === null);
  }

  /** @returns those for which it succeeded */
  async #eachOf(entries: readonly Entry[], task: (entry: Entry) => Promise<void>): Promise<Entry[]> {
    const results = await Promise.allSettled(entries.map(task));
    return entries.filter((entry, index) => {
      const result = results[index];
      if (result?.status === 'rejected') this.#report(entry, `read-only: ${(result.reason as Error).message}`);
      return result?.status === 'fulfilled';
    });
  }

  #report(entry: Entry, problem: string | null): void {
    if (problem !== null && problem !== entry.problem) this.#options.log.warn({ volume: entry.lease.volume, problem }, 'fencing is not complete');
    entry.problem = problem;
  }
}

function newEntry(lease: GuardedVolume, until: number): Entry {
  return {
    lease,
    until,
    fenced: false,
    frozen: false,
    mayBeStopped: true,
    dropped: false,
    working: { freeze: false, thaw: false, kill: false },
    next: { freeze: 0, thaw: 0, kill: 0 },
    doubted: null,
    problem: null,
  };
}

/** What is under way goes on with what it began; the next look goes by the new end. */
function renew(entry: Entry, lease: GuardedVolume, until: number): void {
  Object.assign(entry, { lease, until, fenced: false, dropped: false, doubted: null, problem: null });
  entry.next.kill = 0;
}

function isBusy({ working }: Entry): boolean {
  return working.freeze || working.thaw || working.kill;
}
