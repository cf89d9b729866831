import { emptyLog, auditHead, isAudited, sealDecision } from '../model/audit.ts';
import type { AuditDecision, AuditHead } from '../model/audit.ts';
import type { ClusterEvent } from '../model/records.ts';
import { SerialQueue } from '../model/serial-queue.ts';
import type { Compare, Store, StoreOperation, TransactionResult } from '../ports/store.ts';
import { keys } from './keys.ts';

const keptEvents = 10_000;
/** Older ones are dropped; the chain of those that are left begins at what the oldest of them says of the one before. */
export const keptAuditEntries = 200_000;

/** What a transaction has to say beside what it changes. */
export interface Remarks {
  events: readonly Omit<ClusterEvent, 'time'>[];
  decisions: readonly { decision: AuditDecision; host: string | null }[];
}

export interface Writes {
  compares: Compare[];
  operations: StoreOperation[];
}

/** Numbers events and chains audit entries, and commits them together with the change that they tell of. */
export class Journal {
  readonly #store: Store;
  /** Whoever lengthens the chain compares its end, so within this process one does after the other. */
  readonly #chaining = new SerialQueue();
  #nextEvent: number | undefined;

  constructor(store: Store) {
    this.#store = store;
  }

  /** @param now what the entries are dated, RFC 3339 @returns undefined if there is nothing to write */
  async commit(writes: Writes, { events, decisions }: Remarks, now: string): Promise<TransactionResult | undefined> {
    const told = events.map((event): ClusterEvent => ({ ...event, time: now }));
    const all = [...told.filter(({ type }) => isAudited(type)).map(asDecision), ...decisions];
    const withEvents = await this.#withEvents(writes, told);
    if (withEvents.operations.length === 0 && all.length === 0) return undefined;
    if (all.length === 0) return this.#write(withEvents);
    return this.#chaining.run(async () => this.#write(await this.#withEntries(withEvents, all)));
  }

  async #write({ compares, operations }: Writes): Promise<TransactionResult> {
    const outcome = await this.#store.transact(compares, operations);
    if (!outcome.committed && outcome.failed.some((key) => key.startsWith(keys.events))) this.#nextEvent = undefined;
    return outcome;
  }

  async #withEvents({ compares, operations }: Writes, events: readonly ClusterEvent[]): Promise<Writes> {
    const written: Writes = { compares: [...compares], operations: [...operations] };
    for (const event of events) {
      const sequence = await this.#takeEventNumber();
      written.compares.push({ key: keys.event(sequence), revision: 0 });
      written.operations.push({ put: keys.event(sequence), value: event });
      if (sequence > keptEvents) written.operations.push({ delete: keys.event(sequence - keptEvents) });
    }
    return written;
  }

  async #withEntries({ compares, operations }: Writes, decisions: Remarks['decisions']): Promise<Writes> {
    const end = await this.#store.get(keys.auditHead);
    let head: AuditHead = end === undefined ? emptyLog : auditHead.parse(end.value);
    const entries = decisions.map(({ decision, host }) => {
      const entry = sealDecision(decision, host, head);
      head = { sequence: entry.sequence, digest: entry.digest };
      return entry;
    });
    const kept = entries.map((entry): StoreOperation => ({ put: keys.auditEntry(entry.sequence), value: entry }));
    const dropped = entries.filter(({ sequence }) => sequence > keptAuditEntries);
    return {
      compares: [...compares, { key: keys.auditHead, revision: end?.revision ?? 0 }],
      operations: [
        ...operations,
        ...kept,
        ...dropped.map(({ sequence }) => ({ delete: keys.auditEntry(sequence - keptAuditEntries) })),
        { put: keys.auditHead, value: head },
      ],
    };
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

function asDecision({ time, type, subject, actor, message }: ClusterEvent): Remarks['decisions'][number] {
  const decision: AuditDecision = { time, actor, action: type, subject, verdict: 'change', reason: message.slice(0, 2048), revision: null, times: 1 };
  return { decision, host: null };
}
