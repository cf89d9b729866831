import type { z } from 'zod';
import { SupercargoError } from '../model/errors.ts';
import type { ClusterEvent } from '../model/records.ts';
import type { Clock } from '../ports/clock.ts';
import type { Compare, Store, StoreOperation } from '../ports/store.ts';

/** Where each kind of record lives. Everything that agents watch is under one prefix, so that one listing is one consistent state. */
export const keys = {
  cluster: 'cluster',
  state: 'state/',
  host: (id: string) => `state/hosts/${id}`,
  hosts: 'state/hosts/',
  session: (host: string) => `state/sessions/${host}`,
  sessions: 'state/sessions/',
  volume: (id: string) => `state/volumes/${id}`,
  volumes: 'state/volumes/',
  move: (id: string) => `state/moves/${id}`,
  moves: 'state/moves/',
  /** Not watched: what agents are told never holds a key. */
  volumeKeys: (id: string) => `keys/${id}`,
  hostName: (name: string) => `names/hosts/${name}`,
  volumeName: (name: string) => `names/volumes/${name}`,
  class: (name: string) => `classes/${name}`,
  classes: 'classes/',
  invite: (id: string) => `invites/${id}`,
  invites: 'invites/',
  event: (sequence: number) => `events/${String(sequence).padStart(15, '0')}`,
  events: 'events/',
} as const;

const maximumAttempts = 50;
const keptEvents = 10_000;

/**
 * The records of the name server over a store. All changes go through `transact`: what was read is compared, what was decided is written,
 * at once or not at all.
 */
export class Repository {
  readonly #store: Store;
  readonly #clock: Clock;
  #nextEvent: number | undefined;

  constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
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
    for (let attempt = 0; attempt < maximumAttempts; attempt += 1) {
      const transaction = new Transaction(this.#store);
      const result = await decide(transaction);
      const writes = await this.#withEvents(transaction);
      if (writes.operations.length === 0) return result;
      const outcome = await this.#store.transact(writes.compares, writes.operations);
      if (outcome.committed) return result;
      if (outcome.failed.some((key) => key.startsWith(keys.events))) this.#nextEvent = undefined;
    }
    throw new SupercargoError('conflict', 'The records kept changing while they were being changed.', { hint: 'Try again.' });
  }

  async #withEvents(transaction: Transaction): Promise<{ compares: Compare[]; operations: StoreOperation[] }> {
    const { compares, operations } = transaction.plan();
    for (const event of transaction.events) {
      const sequence = await this.#takeEventNumber();
      const record: ClusterEvent = { ...event, time: this.now() };
      compares.push({ key: keys.event(sequence), revision: 0 });
      operations.push({ put: keys.event(sequence), value: record });
      if (sequence > keptEvents) operations.push({ delete: keys.event(sequence - keptEvents) });
    }
    return { compares, operations };
  }

  async #takeEventNumber(): Promise<number> {
    if (this.#nextEvent === undefined) {
      const { entries } = await this.#store.list(keys.events);
      const last = entries.at(-1);
      this.#nextEvent ??= last === undefined ? 1 : eventSequence(last.key) + 1;
    }
    const sequence = this.#nextEvent;
    this.#nextEvent += 1;
    return sequence;
  }
}

export function eventSequence(key: string): number {
  return Number(key.slice(keys.events.length));
}

/** One optimistic transaction: remembers the revision of all it read. */
export class Transaction {
  readonly events: Omit<ClusterEvent, 'time'>[] = [];
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

  plan(): { compares: Compare[]; operations: StoreOperation[] } {
    return { compares: [...this.#read].map(([key, revision]) => ({ key, revision })), operations: [...this.#writes.values()] };
  }
}
