import { z } from 'zod';
import { auditEntry, auditHead } from '../model/audit.ts';
import type { AuditDecision, AuditEntry } from '../model/audit.ts';
import { identifier, timestamp } from '../model/records.ts';
import type { Handlers } from '../protocol/server.ts';
import type { Routes } from '../protocol/routes.ts';
import { callingHost } from './hosts.ts';
import { keptAuditEntries } from './journal.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import type { Repository } from './repository.ts';

/** How often the end of the log is signed, if it has grown. */
export const checkpointMilliseconds = 10 * 60_000;
const keptCheckpoints = 5000;

/** How far the spool of a host has been taken over. */
const spoolRecord = z.object({ spool: identifier, known: z.int().nonnegative() });
const checkpointRecord = z.object({ sequence: z.int(), at: timestamp, statement: z.string() });

export function auditHandlers(context: NameServerContext): Pick<Handlers<Routes>, 'recordDecisions' | 'listAudit' | 'listCheckpoints'> {
  const { repository, issuer } = context;
  return {
    recordDecisions: ({ body }, request) => takeOver(repository, callingHost(request), body),
    listAudit: async ({ query }) => ({ items: await readEntries(repository, query) }),
    listCheckpoints: async ({ query }) => ({
      items: (await repository.list(keys.auditCheckpoints, checkpointRecord)).filter(({ sequence }) => sequence > query.after).slice(0, query.limit),
      authorities: issuer.authorities(),
    }),
  };
}

type Told = Parameters<Handlers<Routes>['recordDecisions']>[0]['body'];

/** Takes over what a host had not told yet: an answer that was lost, and so asked for again, makes no second entry. */
async function takeOver(repository: Repository, host: string, { spool, first, decisions }: Told): Promise<{ known: number }> {
  return repository.transact(async (transaction) => {
    const record = await transaction.get(keys.auditSpool(host), spoolRecord);
    const known = record?.spool === spool ? record.known : 0;
    const last = first + decisions.length - 1;
    const fresh = decisions.slice(Math.max(0, known + 1 - first));
    if (fresh.length === 0) return { known };
    if (first > known + 1) transaction.audit(gap(known + 1, first - 1, repository.now()), host);
    for (const decision of fresh) transaction.audit(decision, host);
    transaction.put(keys.auditSpool(host), { spool, known: last });
    return { known: last };
  });
}

function gap(from: number, to: number, time: string): AuditDecision {
  const reason = `Decisions ${from} to ${to} of this host were lost: there were more than it keeps while the name server is away.`;
  return { time, actor: 'unknown', action: 'audit.gap', subject: 'audit log', verdict: 'change', reason, revision: null, times: 1 };
}

/** By their numbers, which have no gaps: nothing lists a hundred thousand entries for a page of them. */
async function readEntries(repository: Repository, { after, limit }: { after: number; limit: number }): Promise<AuditEntry[]> {
  const head = await repository.get(keys.auditHead, auditHead);
  if (head === undefined) return [];
  const from = Math.max(after + 1, head.sequence + 1 - keptAuditEntries);
  const count = Math.max(0, Math.min(limit, head.sequence + 1 - from));
  const entries = await Promise.all(Array.from({ length: count }, (_, index) => repository.get(keys.auditEntry(from + index), auditEntry)));
  return entries.filter((entry) => entry !== undefined);
}

/** Signs the end of the log, if that was not done yet. */
export async function makeCheckpoint({ store, repository, issuer }: NameServerContext): Promise<void> {
  const head = await repository.get(keys.auditHead, auditHead);
  if (head === undefined || (await store.get(keys.auditCheckpoint(head.sequence))) !== undefined) return;
  const at = repository.now();
  const statement = await issuer.signCheckpoint({ ...head, at });
  const { entries } = await store.list(keys.auditCheckpoints);
  const surplus = entries.slice(0, Math.max(0, entries.length + 1 - keptCheckpoints)).map(({ key }) => ({ delete: key }));
  await store.transact([], [{ put: keys.auditCheckpoint(head.sequence), value: { sequence: head.sequence, at, statement } }, ...surplus]);
}
