import { z } from 'zod';
import { identifier, timestamp } from './records.ts';

/**
 * Who may use what, as records and as the one decision over them. Times are compared with the name server's clock, as the agents estimate it.
 */

/** How what goes on is ended when a right is taken away: frozen and killed at once, or left until it stops by itself. */
export const revocationPolicy = z.enum(['now', 'graceful']);
export type RevocationPolicy = z.infer<typeof revocationPolicy>;

/** `admin` may do everything; `operator` what concerns volumes, applications and grants of its project; `viewer` looks at them. */
export const userRole = z.enum(['admin', 'operator', 'viewer']);
export type UserRole = z.infer<typeof userRole>;
const roleRanks: Readonly<Record<UserRole, number>> = { viewer: 0, operator: 1, admin: 2 };

/** Whether who has a role may do all that another may. */
export function reachesAsFar(role: UserRole, other: UserRole): boolean {
  return roleRanks[role] >= roleRanks[other];
}

const revocation = z.object({
  at: timestamp,
  actor: z.string(),
  reason: z.string(),
  policy: revocationPolicy,
  role: userRole.optional().describe('Of whoever revoked; root on the host of the name server counts as admin, and so does nobody known.'),
});
export type Revocation = z.infer<typeof revocation>;

const limit = z.int().nonnegative().nullable().describe('null is no limit.');

export const projectQuota = z.object({
  bytes: limit.describe('Sum of the size limits of its volumes; a volume without a limit then cannot be made.'),
  volumes: limit,
  snapshots: limit,
});
export type ProjectQuota = z.infer<typeof projectQuota>;
export const unlimitedQuota: ProjectQuota = { bytes: null, volumes: null, snapshots: null };

export const projectRecord = z.object({
  id: identifier,
  name: z.string(),
  requireGrants: z.boolean().describe('Without, every container on every host may use the volumes of the project.'),
  quota: projectQuota,
  createdAt: timestamp,
});
export type Project = z.infer<typeof projectRecord>;

export const applicationRecord = z.object({
  id: identifier,
  project: identifier,
  name: z.string().describe('Unique in its project; people write PROJECT/NAME.'),
  privileged: z.boolean().describe('Whether its containers may be privileged, and so reach more than their own volumes.'),
  createdAt: timestamp,
  revocation: revocation.nullable(),
});
export type Application = z.infer<typeof applicationRecord>;

export const accessMode = z.enum(['read-only', 'read-write']);
export type AccessMode = z.infer<typeof accessMode>;

export const grantRecord = z.object({
  id: identifier,
  application: identifier,
  volume: identifier.nullable().describe('null: every volume of the application’s project.'),
  mode: accessMode,
  from: timestamp,
  until: timestamp.nullable(),
  reason: z.string(),
  actor: z.string().describe('Who granted it.'),
  createdAt: timestamp,
  revocation: revocation.nullable(),
});
export type AccessGrant = z.infer<typeof grantRecord>;

export const userRecord = z.object({
  id: identifier,
  name: z.string(),
  role: userRole,
  project: identifier.nullable().describe('What the role counts for; null is the whole cluster.'),
  createdAt: timestamp,
});
export type User = z.infer<typeof userRecord>;

/** An entry of the deny list: certificates that count no more although they have not run out. */
export const denialRecord = z.object({
  id: identifier,
  subject: z.enum(['host', 'user', 'certificate']),
  value: z.string().describe('Identifier of the host or user; serial number of the certificate, hexadecimal.'),
  reason: z.string(),
  actor: z.string(),
  at: timestamp,
  until: timestamp.describe('When the last certificate that it concerns has run out by itself, and the entry may go.'),
});
export type Denial = z.infer<typeof denialRecord>;
