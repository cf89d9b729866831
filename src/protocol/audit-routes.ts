import { z } from 'zod';
import { auditDecision, auditEntry } from '../model/audit.ts';
import { identifier, timestamp } from '../model/records.ts';
import { defineRoutes } from './route.ts';

/** Entries that a call carries at most, either way. */
export const auditPageSize = 500;

const page = z.object({
  after: z.coerce.number().int().min(0).default(0).describe('The sequence number of the last one that is known.'),
  limit: z.coerce.number().int().min(1).max(auditPageSize).default(auditPageSize),
});

const checkpointView = z.object({
  sequence: z.int(),
  at: timestamp,
  statement: z.string().describe('Signed by the name server: the digest of the entry of this number, at this time.'),
});
export type CheckpointView = z.infer<typeof checkpointView>;

/** The audit log. Whoever keeps a checkpoint elsewhere can prove what stood before it. */
export const auditRoutes = defineRoutes({
  recordDecisions: {
    method: 'POST',
    path: '/v1/audit',
    summary: 'What the calling host’s agent decided, in the order of its spool; those that are known already are left out.',
    callers: ['host'],
    body: z.strictObject({
      spool: identifier.describe('Of the host’s spool; one that lost its disk begins a new one.'),
      first: z.int().positive().describe('Number of the first of them in the spool of this host, counted from 1.'),
      decisions: z.array(auditDecision).min(1).max(auditPageSize),
    }),
    response: z.object({ known: z.int().describe('All of the spool up to this number is in the log, or is told there to be lost.') }),
  },
  listAudit: {
    method: 'GET',
    path: '/v1/audit',
    summary: 'The audit log, oldest first.',
    callers: ['operator'],
    query: page,
    response: z.object({ items: z.array(auditEntry) }),
  },
  listCheckpoints: {
    method: 'GET',
    path: '/v1/audit/checkpoints',
    summary: 'Signed checkpoints of the audit log, oldest first, and the authorities by which they can be checked.',
    callers: ['operator'],
    query: page,
    response: z.object({ items: z.array(checkpointView), authorities: z.array(z.string()) }),
  },
});
