import type { z } from 'zod';
import { SupercargoError } from '../model/errors.ts';
import type { AuditDecision } from '../model/audit.ts';
import type { Clock } from '../ports/clock.ts';
import type { Store, StoreOperation } from '../ports/store.ts';
import { Journal } from './journal.ts';
import type { Remarks, Writes } from './journal.ts';

const maximumAttempts = 50;

/**
 * The records of the name server over a store. All changes go through `transact`: what was read is compared, what was decided is written,
 * at once or not at all.
 */
export class Repository {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #journal: Journal;
  #retries: Promise<unknown> = Promise.resolve();

  constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
    this.#journal = new Journal(store);
  }

  get store(): Store {
    return this.#store;
  }

  now(): string {
    return new Date(this.#clock.wallMilliseconds()).toISOString();
  }

  async get<Schema extends z.ZodType>(key: string, schema: Schema): Promise<z.output<Schema> | undefined> {
    const entry = await this.#store.get(key);
    return entry === undefined ? undefined : schema.parse(entry.value);
  }

  async list<Schema extends z.ZodType>(prefix: string, schema: Schema): Promise<z.output<Schema>[]> {
    const { entries } = await this.#store.list(prefix);
    return entries.map((entry) => schema.parse(entry.value));
  }

  /**
   * Runs a decision against what it reads and commits what it writes. The decision may run several times: it must have no effects but those on the transaction.
   * @throws conflict if the records kept changing underneath
   */
  async transact<Result>(decide: (transaction: Transaction) => Promise<Result>): Promise<Result> {
    const first = await this.#attempt(decide);
    if (first !== null) return first.result;
    // Those that got into each other's way go on one by one: any number of them gets through.
    const result = this.#retries.then(() => this.#retry(decide));
    this.#retries = result.catch(() => undefined);
    return result;
  }

  async #retry<Result>(decide: (transaction: Transaction) => Promise<Result>): Promise<Result> {
    for (let attempt = 1; attempt < maximumAttempts; attempt += 1) {
      const outcome = await this.#attempt(decide);
      if (outcome !== null) return outcome.result;
    }
    throw new SupercargoError('conflict', 'The records kept changing while they were being changed.', { hint: 'Try again.' });
  }

  /** @returns null if what was read had changed before it could be written */
  async #attempt<Result>(decide: (transaction: Transaction) => Promise<Result>): Promise<{ result: Result } | null> {
    const transaction = new Transaction(this.#store);
    const result = await decide(transaction);
    const outcome = await this.#journal.commit(transaction.plan(), transaction, this.now());
    return outcome === undefined || outcome.committed ? { result } : null;
  }
}

/** One optimistic transaction: remembers the revision of all it read. */
export class Transaction {
  readonly events: Remarks['events'][number][] = [];
  readonly decisions: Remarks['decisions'][number][] = [];
  readonly #store: Store;
  readonly #read = new Map<string, number>();
  readonly #writes = new Map<string, StoreOperation>();

  constructor(store: Store) {
    this.#store = store;
  }

  async get<Schema extends z.ZodType>(key: string, schema: Schema): Promise<z.output<Schema> | undefined> {
    const entry = await this.#store.get(key);
    this.#read.set(key, entry?.revision ?? 0);
    return entry === undefined ? undefined : schema.parse(entry.value);
  }

  /** The revision at which a key was read here: its entity tag. */
  revisionOf(key: string): number {
    return this.#read.get(key) ?? 0;
  }

  put(key: string, value: unknown, lease?: string): void {
    this.#writes.set(key, lease === undefined ? { put: key, value } : { put: key, value, lease });
  }

  delete(key: string): void {
    this.#writes.set(key, { delete: key });
  }

  /** Adds a line to the cluster's events, written together with the change it tells of. */
  record(type: string, subject: string, actor: string, message: string): void {
    this.events.push({ type, subject, actor, message });
  }

  /** Adds an entry to the audit log. @param host whose agent decided; null if the name server did */
  audit(decision: AuditDecision, host: string | null): void {
    this.decisions.push({ decision, host });
  }

  plan(): Writes {
    return { compares: [...this.#read].map(([key, revision]) => ({ key, revision })), operations: [...this.#writes.values()] };
  }
}
