import type { Clock } from '../../ports/clock.ts';

/** Before the expiry of leases is tried again when the disk refused it. */
const retryMilliseconds = 1_000;

interface Lease {
  durationMilliseconds: number;
  deadline: number;
}

/**
 * The deadlines of leases, in memory only: keeping a lease alive costs no write. After a restart every lease has its full duration
 * again, because nobody may lose a session for the time in which the name server was down and could not hear them.
 */
export class LeaseDeadlines {
  readonly #leases = new Map<string, Lease>();
  readonly #clock: Clock;
  readonly #expire: () => void;
  readonly #stopped = new AbortController();
  #wake = new AbortController();
  #nextWakeup = Infinity;

  /** @param expire ends every lease that is due; may throw, and is then called again a little later */
  constructor(clock: Clock, expire: () => void) {
    this.#clock = clock;
    this.#expire = expire;
    void this.#run();
  }

  set(lease: string, durationMilliseconds: number): void {
    const deadline = this.#clock.monotonicMilliseconds() + durationMilliseconds;
    this.#leases.set(lease, { durationMilliseconds, deadline });
    if (deadline < this.#nextWakeup) this.#wake.abort();
  }

  /** False if there is no such lease. */
  renew(name: string): boolean {
    const lease = this.#leases.get(name);
    if (lease === undefined) return false;
    lease.deadline = this.#clock.monotonicMilliseconds() + lease.durationMilliseconds; // later than before: nobody to wake
    return true;
  }

  has(lease: string): boolean {
    return this.#leases.has(lease);
  }

  delete(lease: string): void {
    this.#leases.delete(lease);
  }

  due(): string[] {
    const now = this.#clock.monotonicMilliseconds();
    return [...this.#leases].filter(([, { deadline }]) => deadline <= now).map(([name]) => name);
  }

  stop(): void {
    this.#stopped.abort();
    this.#wake.abort();
  }

  async #run(): Promise<void> {
    let failed = false;
    while (!this.#stopped.signal.aborted) {
      await this.#untilDue(failed ? retryMilliseconds : 0);
      if (this.#stopped.signal.aborted) return;
      try {
        if (this.due().length > 0) this.#expire();
        failed = false;
      } catch {
        failed = true; // whoever writes next meets the same fault and reports it
      }
    }
  }

  /** Sleeps until the earliest deadline, or until an earlier one is set. */
  async #untilDue(leastMilliseconds: number): Promise<void> {
    const now = this.#clock.monotonicMilliseconds();
    let earliest = Infinity;
    for (const { deadline } of this.#leases.values()) earliest = Math.min(earliest, deadline);
    this.#nextWakeup = Math.max(earliest, now + leastMilliseconds);
    this.#wake = new AbortController();
    if (this.#stopped.signal.aborted) return;
    const { signal } = this.#wake;
    if (earliest === Infinity) return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    await this.#clock.sleep(this.#nextWakeup - now, signal).catch(() => undefined); // woken, not failed
  }
}
