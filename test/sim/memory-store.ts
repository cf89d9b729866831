import { SupercargoError } from '../../src/model/errors.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { Compare, Store, StoreEntry, StoreEvent, StoreOperation, TransactionResult } from '../../src/ports/store.ts';

/** Changes that a watch can go back. */
const keptTransactions = 5000;

interface Entry extends StoreEntry {
  lease: string | null;
}

interface Bucket {
  entries: Map<string, Entry>;
  /** null when keys came or went since it was sorted. */
  sorted: string[] | null;
}

interface Lease {
  duration: number;
  deadline: number;
}

/**
 * A store without a disk, many times quicker than SQLite in memory. It outlives the processes that use it: `leaseHolderDied` and its like say what
 * becomes of leases when the name server does not run.
 */
export class MemoryStore implements Store {
  readonly #clock: Clock;
  /** By the first part of the key, so that a listing does not go through all events. */
  readonly #buckets = new Map<string, Bucket>();
  readonly #log: { revision: number; events: StoreEvent[] }[] = [];
  readonly #leases = new Map<string, Lease>();
  #revision = 0;
  #watchers = Promise.withResolvers<void>();
  #counting = true;
  #expiry = new AbortController();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async get(key: string): Promise<StoreEntry | undefined> {
    return this.#bucketOf(key).entries.get(key);
  }

  async list(prefix: string): Promise<{ entries: StoreEntry[]; revision: number }> {
    return { entries: this.#entriesUnder(prefix), revision: this.#revision };
  }

  async transact(compares: readonly Compare[], operations: readonly StoreOperation[]): Promise<TransactionResult> {
    this.#expire();
    for (const operation of operations) {
      if ('put' in operation && operation.lease !== undefined && !this.#leases.has(operation.lease))
        throw new SupercargoError('not-found', `The lease ${operation.lease} has ended.`, { hint: 'Grant a new lease.' });
    }
    const failed = compares.filter(({ key, revision }) => (this.#bucketOf(key).entries.get(key)?.revision ?? 0) !== revision).map(({ key }) => key);
    return failed.length > 0 ? { committed: false, failed } : { committed: true, revision: this.#apply(operations) };
  }

  async *watch(prefix: string, afterRevision: number, signal: AbortSignal): AsyncGenerator<StoreEvent[], void> {
    const ended = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    let position = afterRevision;
    while (!signal.aborted) {
      const first = this.#log[0]?.revision ?? this.#revision + 1;
      if (position < first - 1) throw new SupercargoError('revision-compacted', `Changes after revision ${position} are not kept any more.`);
      const next = this.#log[position - first + 1];
      if (next === undefined) {
        await Promise.race([this.#watchers.promise, ended]);
        continue;
      }
      position = next.revision;
      const events = next.events.filter(({ key }) => key.startsWith(prefix));
      if (events.length > 0) yield events;
    }
  }

  async grantLease(lease: string, duration: number): Promise<void> {
    this.#expire();
    this.#leases.set(lease, { duration, deadline: this.#clock.monotonicMilliseconds() + duration });
    this.#scheduleExpiry();
  }

  async keepLeaseAlive(lease: string): Promise<boolean> {
    this.#expire();
    const found = this.#leases.get(lease);
    if (found !== undefined) found.deadline = this.#clock.monotonicMilliseconds() + found.duration;
    return found !== undefined;
  }

  async revokeLease(lease: string): Promise<void> {
    this.#end(lease);
  }

  async close(): Promise<void> {
    this.leaseHolderDied();
  }

  /** Nobody counts leases meanwhile. */
  leaseHolderDied(): void {
    this.#counting = false;
    this.#expiry.abort();
  }

  /** Every lease lasts its full time again, as with the real store. */
  leaseHolderStarted(): void {
    this.#counting = true;
    for (const lease of this.#leases.values()) lease.deadline = this.#clock.monotonicMilliseconds() + lease.duration;
    this.#scheduleExpiry();
  }

  /** Nobody counts leases meanwhile, but their time runs on. @returns how it goes on */
  leaseHolderStopped(): () => void {
    const counted = this.#counting;
    this.#counting = false;
    this.#expiry.abort();
    return () => {
      if (!counted) return;
      this.#counting = true;
      this.#expire();
      this.#scheduleExpiry();
    };
  }

  #bucketOf(key: string): Bucket {
    const name = key.slice(0, key.indexOf('/'));
    let bucket = this.#buckets.get(name);
    if (bucket === undefined) {
      bucket = { entries: new Map(), sorted: null };
      this.#buckets.set(name, bucket);
    }
    return bucket;
  }

  #entriesUnder(prefix: string): Entry[] {
    const buckets = prefix.includes('/') ? [this.#bucketOf(prefix)] : [...this.#buckets.values()];
    const found = buckets.flatMap((bucket) => {
      bucket.sorted ??= [...bucket.entries.keys()].sort();
      return bucket.sorted.filter((key) => key.startsWith(prefix)).map((key) => bucket.entries.get(key) as Entry);
    });
    return buckets.length === 1 ? found : found.sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  #apply(operations: readonly StoreOperation[]): number {
    const effective = operations.filter((operation) => 'put' in operation || this.#bucketOf(operation.delete).entries.has(operation.delete));
    if (effective.length === 0) return this.#revision;
    this.#revision += 1;
    const revision = this.#revision;
    const events = effective.map((operation): StoreEvent => {
      const key = 'put' in operation ? operation.put : operation.delete;
      const bucket = this.#bucketOf(key);
      if ('delete' in operation) {
        bucket.entries.delete(key);
        bucket.sorted = null;
        return { key, value: undefined, revision };
      }
      // A copy, because it is of another process, and as JSON would have it.
      const value: unknown = JSON.parse(JSON.stringify(operation.value));
      if (!bucket.entries.has(key)) bucket.sorted = null;
      bucket.entries.set(key, { key, value, revision, lease: operation.lease ?? null });
      return { key, value, revision };
    });
    this.#log.push({ revision, events: events.sort((a, b) => (a.key < b.key ? -1 : 1)) });
    if (this.#log.length > 2 * keptTransactions) this.#log.splice(0, keptTransactions);
    const waiting = this.#watchers;
    this.#watchers = Promise.withResolvers<void>();
    waiting.resolve();
    return revision;
  }

  #expire(): void {
    if (!this.#counting) return;
    const now = this.#clock.monotonicMilliseconds();
    for (const [name, { deadline }] of this.#leases) if (deadline <= now) this.#end(name);
  }

  #end(lease: string): void {
    if (!this.#leases.delete(lease)) return;
    const keys = [...this.#buckets.values()].flatMap(({ entries }) => [...entries.values()].filter((entry) => entry.lease === lease));
    this.#apply(keys.map(({ key }) => ({ delete: key })));
  }

  #scheduleExpiry(): void {
    this.#expiry.abort();
    const expiry = new AbortController();
    this.#expiry = expiry;
    if (this.#leases.size === 0) return;
    const earliest = Math.min(...[...this.#leases.values()].map(({ deadline }) => deadline));
    const wait = Math.max(0, earliest - this.#clock.monotonicMilliseconds());
    this.#clock.sleep(wait, expiry.signal).then(
      () => {
        this.#expire();
        this.#scheduleExpiry();
      },
      () => undefined,
    );
  }
}
