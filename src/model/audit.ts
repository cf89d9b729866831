import { createHash } from 'node:crypto';
import { z } from 'zod';
import { timestamp } from './records.ts';

/**
 * The audit log: one entry for each decision about who may do what, and for each change of what such decisions rest on. Each entry holds the digest of the
 * one before, so that none can be changed, taken out or put in without all that follow showing it; signed checkpoints (`pki/checkpoint.ts`) hold the end.
 */
export const auditDecision = z.strictObject({
  time: timestamp.describe('When it was decided, by the clock of whoever decided.'),
  actor: z.string().max(512).describe('Who wanted it: an application, a user, a host, the operator, or "unknown".'),
  action: z.string().max(128).describe('For example container.create, grant.created, moveVolume.'),
  subject: z.string().max(512).describe('What it was about; a name.'),
  verdict: z.enum(['allow', 'deny', 'change']).describe('change: not asked, but done by somebody who may.'),
  reason: z.string().max(2048),
  revision: z.int().nonnegative().nullable().describe('Of the records that it was decided by, where they were a copy.'),
  times: z.int().positive().default(1).describe('How often it was decided so in a row, where that is told once only.'),
});
export type AuditDecision = z.infer<typeof auditDecision>;

const digest = z.string().regex(/^[0-9a-f]{64}$/);

export const auditEntry = auditDecision.extend({
  sequence: z.int().positive(),
  host: z.string().nullable().describe('Identifier of the host whose agent decided; null is the name server.'),
  previous: digest.describe('Digest of the entry before.'),
  digest: digest.describe('SHA-256 of this entry, the digest of the one before included.'),
});
export type AuditEntry = z.infer<typeof auditEntry>;

/** The end of the log: what the next entry is chained to. */
export const auditHead = z.object({ sequence: z.int().nonnegative(), digest });
export type AuditHead = z.infer<typeof auditHead>;

export const emptyLog: AuditHead = { sequence: 0, digest: '0'.repeat(64) };

/** Chains a decision to the log. */
export function sealDecision(decision: AuditDecision, host: string | null, head: AuditHead): AuditEntry {
  const open = { ...decision, host, sequence: head.sequence + 1, previous: head.digest };
  return { ...open, digest: digestOf(open) };
}

/**
 * Follows the chain from a known end.
 * @returns the new end, or the first entry that does not fit
 */
export function followChain(entries: readonly AuditEntry[], from: AuditHead): { head: AuditHead } | { broken: AuditEntry } {
  let head = from;
  for (const entry of entries) {
    const { digest: claimed, ...open } = entry;
    if (entry.sequence !== head.sequence + 1 || entry.previous !== head.digest || claimed !== digestOf(open)) return { broken: entry };
    head = { sequence: entry.sequence, digest: claimed };
  }
  return { head };
}

/** Members in a fixed order: a document that was stored and read again has the same digest. */
function digestOf(entry: Omit<AuditEntry, 'digest'>): string {
  const { sequence, previous, time, actor, action, subject, verdict, reason, revision, times, host } = entry;
  const members = [sequence, previous, time, actor, action, subject, verdict, reason, revision, times, host];
  return createHash('sha256').update(JSON.stringify(members)).digest('hex');
}

const auditedPrefixes = ['project.', 'application.', 'grant.', 'pass.', 'user.', 'denial.', 'certificate.', 'authority.', 'key.'];
const auditedTypes = new Set([
  'cluster.created',
  'host.invited',
  'host.joined',
  'host.rejoined',
  'host.removed',
  'host.quarantined',
  'host.readmitted',
  'volume.created',
  'volume.removed',
  'volume.abandoned',
  'volume.failed-over',
]);

/** Whether an event of the cluster tells of a change that decisions rest on, or of a decision. */
export function isAudited(eventType: string): boolean {
  return auditedTypes.has(eventType) || auditedPrefixes.some((prefix) => eventType.startsWith(prefix));
}
