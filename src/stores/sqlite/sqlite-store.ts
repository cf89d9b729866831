import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { SupercargoError } from '../../model/errors.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Compare, Store, StoreEntry, StoreEvent, StoreOperation, TransactionResult } from '../../ports/store.ts';
import { openDatabase } from './database.ts';
import { checkKey, keyAfterPrefix } from './keys.ts';
import { LeaseDeadlines } from './lease-deadlines.ts';
import { Watchers } from './watchers.ts';

export interface SqliteStoreOptions {
  /** A file, made with mode 0600 if absent, or ':memory:'. */
  path: string;
  clock: Clock;
  /** How many changes a watch can go back; older ones are compacted. */
  historyLimit?: number;
}

const defaultHistoryLimit = 100_000;

/**
 * The store in one SQLite file, for one name server on one machine. A resolved transaction is on the disk (synchronous=FULL).
 * @throws wrong-state if another process has the file open, or a newer release wrote it
 */
export function openSqliteStore(options: SqliteStoreOptions): Store {
  return new SqliteStore(options);
}

interface Change {
  key: string;
  /** JSON text; null deletes. */
  text: string | null;
  lease: string | null;
}

class SqliteStore implements Store {
  readonly #database: DatabaseSync;
  readonly #statements: ReturnType<typeof prepareStatements>;
  readonly #leases: LeaseDeadlines;
  readonly #watchers = new Watchers();
  readonly #historyLimit: number;
  #historyRows: number;
  #open = true;

  constructor({ path, clock, historyLimit = defaultHistoryLimit }: SqliteStoreOptions) {
    this.#historyLimit = historyLimit;
    this.#database = openDatabase(path);
    this.#statements = prepareStatements(this.#database);
    this.#historyRows = integer(this.#statements.countHistory, 'count');
    this.#leases = new LeaseDeadlines(clock, () => this.#expireLeases());
    for (const { name, duration } of this.#statements.allLeases.all()) this.#leases.set(String(name), Number(duration));
  }

  async get(key: string): Promise<StoreEntry | undefined> {
    this.#checkOpen();
    const row = this.#statements.getEntry.get(key);
    return row && toEntry(row);
  }

  async list(prefix: string): Promise<{ entries: StoreEntry[]; revision: number }> {
    this.#checkOpen();
    const entries = this.#statements.listEntries.all({ prefix, end: keyAfterPrefix(prefix) }).map(toEntry);
    return { entries, revision: this.#counter('revision') };
  }

  async transact(compares: readonly Compare[], operations: readonly StoreOperation[]): Promise<TransactionResult> {
    this.#checkOpen();
    const changes = toChanges(operations);
    this.#expireLeases();
    for (const { lease } of changes) this.#checkLease(lease);
    return this.#inTransaction(() => {
      const failed = compares.filter(({ key, revision }) => (this.#statements.getEntry.get(key)?.['revision'] ?? 0) !== revision);
      if (failed.length > 0) return { committed: false, failed: failed.map(({ key }) => key) };
      return { committed: true, revision: this.#apply(changes) };
    });
  }

  async *watch(prefix: string, afterRevision: number, signal: AbortSignal): AsyncGenerator<StoreEvent[], void> {
    const range = { prefix, end: keyAfterPrefix(prefix) };
    let position = afterRevision;
    while (!signal.aborted) {
      this.#checkOpen();
      this.#checkNotCompacted(position);
      const next = this.#statements.nextChange.get({ ...range, position })?.['revision'];
      if (next === undefined) {
        position = Math.max(position, this.#counter('revision'));
        await this.#watchers.next(signal); // no commit can slip in between: everything since the query above was synchronous
      } else {
        position = Number(next);
        yield this.#statements.changesOf.all({ ...range, position }).map(toEvent);
      }
    }
  }

  async grantLease(lease: string, durationMilliseconds: number): Promise<void> {
    this.#checkOpen();
    if (!(durationMilliseconds > 0 && Number.isFinite(durationMilliseconds))) {
      throw new SupercargoError('invalid-request', `The lease ${lease} cannot last ${durationMilliseconds} ms.`);
    }
    this.#expireLeases();
    this.#statements.putLease.run(lease, durationMilliseconds);
    this.#leases.set(lease, durationMilliseconds);
  }

  async keepLeaseAlive(lease: string): Promise<boolean> {
    this.#checkOpen();
    this.#expireLeases();
    return this.#leases.renew(lease);
  }

  async revokeLease(lease: string): Promise<void> {
    this.#checkOpen();
    this.#endLeases([lease]);
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    this.#leases.stop();
    this.#watchers.notify();
    this.#database.close();
  }

  /** Before anything that depends on a lease, so that a late timer makes no difference. */
  #expireLeases(): void {
    const due = this.#leases.due();
    if (due.length > 0) this.#endLeases(due);
  }

  /** One transaction a lease, as each ends for itself. */
  #endLeases(leases: readonly string[]): void {
    for (const lease of leases) {
      this.#inTransaction(() => {
        const keys = this.#statements.keysOfLease.all(lease);
        this.#apply(keys.map(({ key }) => ({ key: String(key), text: null, lease: null })));
        this.#statements.deleteLease.run(lease);
      });
      this.#leases.delete(lease);
    }
  }

  /** Writes the changes under a new revision; changes nothing, not even the revision, if there is nothing to change. */
  #apply(changes: readonly Change[]): number {
    const current = this.#counter('revision');
    const effective = changes.filter(({ key, text }) => text !== null || this.#statements.getEntry.get(key) !== undefined);
    if (effective.length === 0) return current;
    const revision = current + 1;
    for (const { key, text, lease } of effective) {
      if (text === null) this.#statements.deleteEntry.run(key);
      else this.#statements.putEntry.run(key, text, revision, lease);
      this.#statements.addHistory.run(revision, key, text);
    }
    this.#statements.setCounter.run(revision, 'revision');
    this.#historyRows += effective.length;
    if (this.#historyRows > this.#historyLimit * 1.1) this.#compact(revision); // a tenth more, so that it is not done every time
    return revision;
  }

  /** Forgets the oldest transactions beyond the limit, never the newest one. */
  #compact(revision: number): void {
    const beyond = Number(this.#statements.firstBeyondLimit.get(this.#historyLimit)?.['revision'] ?? 0);
    const cut = Math.min(beyond, revision - 1);
    this.#historyRows -= Number(this.#statements.deleteHistory.run(cut).changes);
    this.#statements.setCounter.run(cut, 'compacted');
  }

  #inTransaction<Result>(work: () => Result): Result {
    const historyRows = this.#historyRows;
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      const result = work();
      this.#database.exec('COMMIT');
      this.#watchers.notify();
      return result;
    } catch (error) {
      this.#historyRows = historyRows;
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw error;
    }
  }

  #counter(name: 'revision' | 'compacted'): number {
    return integer(this.#statements.getCounter, 'value', name);
  }

  #checkOpen(): void {
    if (!this.#open) throw new SupercargoError('wrong-state', 'The store is closed.', { hint: 'The name server is stopping; try again.' });
  }

  #checkLease(lease: string | null): void {
    if (lease === null || this.#leases.has(lease)) return;
    throw new SupercargoError('not-found', `The lease ${lease} has ended.`, { hint: 'Grant a new lease.' });
  }

  #checkNotCompacted(position: number): void {
    const compacted = this.#counter('compacted');
    if (position >= compacted) return;
    throw new SupercargoError('revision-compacted', `Changes after revision ${position} are asked for, but only those after ${compacted} are kept.`, {
      hint: 'List the keys again and watch from the revision of that list.',
    });
  }
}

function prepareStatements(database: DatabaseSync) {
  const inRange = 'key >= :prefix AND (:end IS NULL OR key < :end)';
  return {
    getCounter: database.prepare('SELECT value FROM counters WHERE name = ?'),
    setCounter: database.prepare('UPDATE counters SET value = ? WHERE name = ?'),
    getEntry: database.prepare('SELECT key, value, revision FROM entries WHERE key = ?'),
    listEntries: database.prepare(`SELECT key, value, revision FROM entries WHERE ${inRange} ORDER BY key`),
    putEntry: database.prepare('INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)'),
    deleteEntry: database.prepare('DELETE FROM entries WHERE key = ?'),
    addHistory: database.prepare('INSERT INTO history VALUES (?, ?, ?)'),
    countHistory: database.prepare('SELECT count(*) AS count FROM history'),
    firstBeyondLimit: database.prepare('SELECT revision FROM history ORDER BY revision DESC LIMIT 1 OFFSET ?'),
    deleteHistory: database.prepare('DELETE FROM history WHERE revision <= ?'),
    nextChange: database.prepare(`SELECT revision FROM history WHERE revision > :position AND ${inRange} ORDER BY revision LIMIT 1`),
    changesOf: database.prepare(`SELECT key, value, revision FROM history WHERE revision = :position AND ${inRange} ORDER BY key`),
    allLeases: database.prepare('SELECT name, duration FROM leases'),
    putLease: database.prepare('INSERT INTO leases VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET duration = excluded.duration'),
    deleteLease: database.prepare('DELETE FROM leases WHERE name = ?'),
    keysOfLease: database.prepare('SELECT key FROM entries WHERE lease = ?'),
  };
}

type Row = NonNullable<ReturnType<StatementSync['get']>>;

function integer(statement: StatementSync, column: string, ...parameters: string[]): number {
  return Number(statement.get(...parameters)?.[column]);
}

function toEntry(row: Row): StoreEntry {
  return { key: String(row['key']), value: JSON.parse(String(row['value'])), revision: Number(row['revision']) };
}

function toEvent(row: Row): StoreEvent {
  return row['value'] === null ? { key: String(row['key']), value: undefined, revision: Number(row['revision']) } : toEntry(row);
}

function toChanges(operations: readonly StoreOperation[]): Change[] {
  const changes = operations.map((operation): Change => {
    if ('delete' in operation) return { key: checkKey(operation.delete), text: null, lease: null };
    return { key: checkKey(operation.put), text: toText(operation.put, operation.value), lease: operation.lease ?? null };
  });
  if (new Set(changes.map(({ key }) => key)).size === changes.length) return changes;
  throw new SupercargoError('invalid-request', 'A transaction writes the same key twice.', { hint: 'Write each key once.' });
}

function toText(key: string, value: unknown): string {
  const text: string | undefined = JSON.stringify(value); // undefined for undefined and functions, whatever its type says
  if (text !== undefined) return text;
  throw new SupercargoError('invalid-request', `The value of ${key} is not JSON.`);
}
