import { z } from 'zod';
import { denialRecord } from '../model/access.ts';
import { timestamp } from '../model/records.ts';
import { defineRoutes } from './route.ts';

/** Routes about certificates: who is denied, and the authority that signs. */
const operator = ['operator'] as const;
const reason = z.string().min(1).max(1024).describe('Recorded with the change, for those who ask later.');
const hostParameters = z.object({ host: z.string().min(1).max(256) });
const serial = z.string().regex(/^[0-9a-fA-F:]{2,64}$/);

const fingerprint = z.string().regex(/^sha256:[0-9a-f]{64}$/);

/** What a host says of its credentials, by the fingerprints of authorities. */
export const trustReport = z.strictObject({
  authorities: z.array(fingerprint).max(8).describe('Those that it trusts; it takes the first for the one that signs.'),
  issuer: fingerprint.nullable().describe('The one that signed its certificate; null if it trusts that one no more.'),
});
export type TrustReport = z.infer<typeof trustReport>;

const authorityView = z.object({
  phase: z
    .enum(['none', 'introducing', 'retiring'])
    .describe(
      'introducing: all hosts are to trust the next one before it signs; retiring: all are to have certificates of the new one before the last one goes.',
    ),
  authorities: z.array(z.object({ fingerprint, expiresAt: timestamp })).describe('The one that signs first.'),
  hosts: z.array(
    z.object({
      host: z.string(),
      trust: trustReport.nullable().describe('As it last said; null if it never did.'),
      isReady: z.boolean().describe('Whether the next step would leave it in the cluster.'),
    }),
  ),
});
export type AuthorityView = z.infer<typeof authorityView>;

export const certificateRoutes = defineRoutes({
  getAuthority: {
    method: 'GET',
    path: '/v1/authority',
    summary: 'The authorities of the cluster, and which hosts trust which.',
    callers: ['operator', 'host'],
    response: authorityView,
  },
  rotateAuthority: {
    method: 'POST',
    path: '/v1/authority/rotate',
    summary: 'Begins to replace the authority; the steps follow by themselves as soon as every host is ready for them.',
    callers: operator,
    body: z.strictObject({
      cut: z
        .array(z.string())
        .optional()
        .describe('Takes the next step at once: these hosts, and no others, are not ready for it and must join again.'),
    }),
    response: authorityView,
  },
  listDenials: {
    method: 'GET',
    path: '/v1/denials',
    summary: 'Hosts, users and certificates that are refused although their certificates have not run out.',
    callers: ['operator', 'host'],
    response: z.object({ items: z.array(denialRecord) }),
  },
  denyHost: {
    method: 'POST',
    path: '/v1/hosts/:host/deny',
    summary: 'Refuses a host from now on, cuts its connections and ends its moves. It stays in the records.',
    callers: operator,
    parameters: hostParameters,
    body: z.strictObject({ reason }),
    response: denialRecord,
  },
  denyCertificate: {
    method: 'POST',
    path: '/v1/certificates/:serial/deny',
    summary: 'Refuses one certificate from now on, and cuts its connections.',
    callers: operator,
    parameters: z.object({ serial }),
    body: z.strictObject({ reason }),
    response: denialRecord,
  },
  readmitHost: {
    method: 'POST',
    path: '/v1/hosts/:host/readmit',
    summary: 'Ends the denial of a host. Of its certificates only the latest counts from now on.',
    callers: operator,
    parameters: hostParameters,
    body: z.strictObject({ reason }),
    response: z.object({ serial: z.string(), expiresAt: timestamp, denied: z.array(z.string()).describe('Serial numbers of those that do not.') }),
  },
});
