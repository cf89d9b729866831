/**
 * The store of the name server: keys, revisions, compare-and-swap, watch, leases. Shaped so that SQLite on one machine and etcd on
 * several both fit: one revision counter for the whole store, a transaction is compare-all-then-write-all, nothing more.
 * `store.contract.ts` beside this file is what every implementation must pass.
 */
export interface StoreEntry {
  key: string;
  /** Parsed JSON. */
  value: unknown;
  /** Revision of the transaction that wrote this value. */
  revision: number;
}

export interface Compare {
  key: string;
  /** The entry's revision, or 0 for "the key must not exist". */
  revision: number;
}

export type StoreOperation = { put: string; value: unknown; /** The key vanishes when this lease ends. */ lease?: string } | { delete: string };

export type TransactionResult = { committed: true; revision: number } | { committed: false; /** Keys whose comparison failed. */ failed: string[] };

export interface StoreEvent {
  key: string;
  /** undefined: deleted. */
  value: unknown;
  revision: number;
}

export interface Store {
  get(key: string): Promise<StoreEntry | undefined>;
  /** All entries whose key begins with the prefix, in key order, and the revision at which this is true. */
  list(prefix: string): Promise<{ entries: StoreEntry[]; revision: number }>;
  /** All comparisons hold and all operations are done and durable (fsynced) when this resolves, or nothing was done. */
  transact(compares: readonly Compare[], operations: readonly StoreOperation[]): Promise<TransactionResult>;
  /**
   * Every change of keys with the prefix after a revision, in order, each once, whole transactions at a time; ends only by the signal
   * (the iterator then simply finishes). A watcher that reads slowly misses nothing.
   * @throws revision-compacted if history from there is gone
   */
  watch(prefix: string, afterRevision: number, signal: AbortSignal): AsyncIterable<StoreEvent[]>;
  /** A lease ends after the duration unless kept alive; its keys are then deleted, which watchers see. Counted on the monotonic clock. */
  grantLease(lease: string, durationMilliseconds: number): Promise<void>;
  /** False if the lease has ended already. */
  keepLeaseAlive(lease: string): Promise<boolean>;
  revokeLease(lease: string): Promise<void>;
  close(): Promise<void>;
}
