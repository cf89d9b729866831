import type { AuditDecision } from '../model/audit.ts';
import { hostRecord } from '../model/records.ts';
import type { Refusal } from '../protocol/server.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';

/** How often refusals are put down: those that are alike in between become one entry. */
export const refusalMilliseconds = 1000;
/** Different refusals that are kept apart in one interval; an attacker can make many. */
const keptApart = 200;

/** Refused calls on their way to the audit log. Whoever is refused can ask again as fast as it likes; the log grows by a few entries a second at most. */
export class Refusals {
  #pending = new Map<string, AuditDecision & { caller: string | null }>();

  note({ identity, route, subject, error }: Refusal, now: string): void {
    const actor = identity === null ? 'unknown' : (identity.host ?? identity.caller);
    const key = JSON.stringify([actor, route, subject, error.code]);
    const known = this.#pending.get(key);
    if (known !== undefined) known.times += 1;
    else if (this.#pending.size < keptApart)
      this.#pending.set(key, { ...describe(route, subject, error), actor, time: now, caller: identity?.host ?? null });
    else this.#noteFurther(now);
  }

  #noteFurther(now: string): void {
    const further = this.#pending.get('') ?? { ...describe('any', '', null), actor: 'unknown', time: now, caller: null, times: 0 };
    this.#pending.set('', { ...further, times: further.times + 1 });
  }

  /** Puts down what has come up. */
  async record({ repository }: NameServerContext): Promise<void> {
    const pending = [...this.#pending.values()];
    this.#pending = new Map();
    if (pending.length === 0) return;
    await repository.transact(async (transaction) => {
      for (const { caller, ...decision } of pending) {
        const host = caller === null ? undefined : await transaction.get(keys.host(caller), hostRecord);
        transaction.audit({ ...decision, actor: host === undefined ? decision.actor : `host ${host.name}` }, null);
      }
    });
  }
}

function describe(route: string, subject: string, error: Refusal['error'] | null): Omit<AuditDecision, 'actor' | 'time'> {
  const reason = error === null ? 'Further refusals, too many to be told apart.' : `${error.code}: ${error.message}`.slice(0, 2048);
  return { action: route, subject: subject.slice(0, 512), verdict: 'deny', reason, revision: null, times: 1 };
}
