import type { Compare, StoreEntry, StoreEvent, StoreOperation, TransactionResult } from './store.ts';

/** A store without disk, leases or waiting, simple enough to be right: what the contract's property test compares with. */
export class StoreModel {
  readonly #entries = new Map<string, StoreEntry>();
  readonly #log: StoreEvent[][] = [];

  revisionOf(key: string): number {
    return this.#entries.get(key)?.revision ?? 0;
  }

  transact(compares: readonly Compare[], operations: readonly StoreOperation[]): TransactionResult {
    const failed = compares.filter(({ key, revision }) => this.revisionOf(key) !== revision).map(({ key }) => key);
    if (failed.length > 0) return { committed: false, failed };
    const effective = operations.filter((operation) => 'put' in operation || this.#entries.has(operation.delete));
    if (effective.length === 0) return { committed: true, revision: this.#log.length };
    const revision = this.#log.length + 1;
    const events = effective.map((operation): StoreEvent => {
      const event =
        'put' in operation ? { key: operation.put, value: operation.value, revision } : { key: operation.delete, value: undefined, revision };
      if ('put' in operation) this.#entries.set(event.key, event);
      else this.#entries.delete(event.key);
      return event;
    });
    this.#log.push(events.sort(byCodePoints));
    return { committed: true, revision };
  }

  list(prefix: string): { entries: StoreEntry[]; revision: number } {
    const entries = [...this.#entries.values()].filter(({ key }) => key.startsWith(prefix)).sort(byCodePoints);
    return { entries, revision: this.#log.length };
  }

  eventsOf(prefix: string): StoreEvent[][] {
    return this.#log.map((events) => events.filter(({ key }) => key.startsWith(prefix))).filter((events) => events.length > 0);
  }
}

/** The order of keys: by their UTF-8 bytes. */
export function byCodePoints(a: { key: string }, b: { key: string }): number {
  return Buffer.compare(Buffer.from(a.key), Buffer.from(b.key));
}
