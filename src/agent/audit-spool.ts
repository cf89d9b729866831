import { z } from 'zod';
import { auditDecision } from '../model/audit.ts';
import type { AuditDecision } from '../model/audit.ts';
import { newIdentifier } from '../model/identifiers.ts';
import type { RandomBytes } from '../model/identifiers.ts';
import { identifier } from '../model/records.ts';
import type { AuditSink } from '../ports/audit-sink.ts';
import type { Clock } from '../ports/clock.ts';
import type { Store, StoreOperation } from '../ports/store.ts';
import type { Client } from '../protocol/client.ts';
import { auditPageSize } from '../protocol/audit-routes.ts';
import type { Routes } from '../protocol/routes.ts';

/** While the name server is away for longer than this many decisions, the oldest are dropped; the log then shows a gap. */
const keptDecisions = 50_000;
const retryMilliseconds = 2000;
const prefix = 'audit/';
const identityKey = 'audit-spool';

interface Kept {
  number: number;
  decision: AuditDecision;
}

/** Decisions of this host, durable until the name server has them. */
export class AuditSpool implements AuditSink {
  readonly #store: Store;
  readonly #id: string;
  readonly #waiting: Kept[];
  readonly #onDefect: (error: unknown) => void;
  #last: number;
  #wake: () => void = () => undefined;

  private constructor(store: Store, id: string, waiting: Kept[], last: number, onDefect: (error: unknown) => void) {
    this.#store = store;
    this.#id = id;
    this.#waiting = waiting;
    this.#last = last;
    this.#onDefect = onDefect;
  }

  /** @param onDefect told of a decision that could not be put down */
  static async open(store: Store, random: RandomBytes, onDefect: (error: unknown) => void): Promise<AuditSpool> {
    const known = identityRecord.safeParse((await store.get(identityKey))?.value).data;
    const identity = known ?? { id: newIdentifier('spl', random), told: 0 };
    if (known === undefined) await store.transact([], [{ put: identityKey, value: identity }]);
    const { entries } = await store.list(prefix);
    const waiting = entries.map(({ key, value }) => ({ number: Number(key.slice(prefix.length)), decision: auditDecision.parse(value) }));
    return new AuditSpool(store, identity.id, waiting, waiting.at(-1)?.number ?? identity.told, onDefect);
  }

  /** How many decisions the name server has not heard of. */
  get size(): number {
    return this.#waiting.length;
  }

  record(decision: Omit<AuditDecision, 'times'>): void {
    const { reason, subject } = decision;
    this.note({ ...decision, subject: subject.slice(0, 512), reason: reason.slice(0, 2048), times: 1 }).catch(this.#onDefect);
  }

  /** Durable when it resolves. */
  async note(decision: AuditDecision): Promise<void> {
    this.#last += 1;
    const kept = { number: this.#last, decision };
    this.#waiting.push(kept);
    const surplus = this.#waiting.splice(0, Math.max(0, this.#waiting.length - keptDecisions));
    await this.#store.transact([], [{ put: keyOf(kept), value: decision }, ...surplus.map((each) => ({ delete: keyOf(each) }))]);
    this.#wake();
  }

  /** Tells the name server, in order, until the signal fires. */
  async keepTold({ nameServer, clock }: { nameServer: Client<Routes>; clock: Clock }, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const [first] = this.#waiting;
      if (first === undefined) await this.#nextDecision(signal);
      else await this.#tell(nameServer, first, signal).catch(() => clock.sleep(retryMilliseconds, signal).catch(() => undefined));
    }
  }

  async #tell(nameServer: Client<Routes>, first: Kept, signal: AbortSignal): Promise<void> {
    const batch = this.#waiting.slice(0, auditPageSize);
    const decisions = batch.map(({ decision }) => decision);
    const { known } = await nameServer.recordDecisions({ body: { spool: this.#id, first: first.number, decisions } }, { signal });
    const told = batch.filter(({ number }) => number <= known);
    // The number is kept as well: an empty spool goes on counting after a restart.
    const forget: StoreOperation[] = told.map((each) => ({ delete: keyOf(each) }));
    await this.#store.transact([], [...forget, { put: identityKey, value: { id: this.#id, told: known } }]);
    while (this.#waiting[0] !== undefined && this.#waiting[0].number <= known) this.#waiting.shift();
  }

  #nextDecision(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      // Taken off again: the signal lives as long as the agent, and decisions are many.
      const wake = (): void => {
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#wake = wake;
      signal.addEventListener('abort', wake);
    });
  }
}

const identityRecord = z.object({ id: identifier, told: z.int().nonnegative() });

function keyOf({ number }: Kept): string {
  return `${prefix}${String(number).padStart(15, '0')}`;
}
