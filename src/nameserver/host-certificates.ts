import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Denial } from '../model/access.ts';
import { SupercargoError } from '../model/errors.ts';
import { timestamp } from '../model/records.ts';
import type { Host } from '../model/records.ts';
import { deny, endDenials } from './deny-list.ts';
import { findHost } from './lookup.ts';
import { endMovesOfDenied } from './moves.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import type { Transaction } from './repository.ts';

const issuedCertificate = z.object({ serial: z.string(), expiresAt: timestamp });
type IssuedCertificate = z.infer<typeof issuedCertificate>;

/**
 * What was issued to a host. Each certificate may be renewed once, by its successor's request: who holds the latest is the host, and a renewal from an
 * earlier one shows that two hold its keys.
 */
const hostCertificates = z.object({
  latest: issuedCertificate.extend({
    certificate: z.string().describe('PEM: answered again to whoever lost the answer.'),
    requestHash: z.string().describe('SHA-256 of the request, hexadecimal.'),
  }),
  earlier: z.array(issuedCertificate).describe('Those that have not run out.'),
  isDenied: z.boolean().describe('Whether nothing more is issued. Written with each denial of the host, so that no renewal goes past one.'),
});
export type HostCertificates = z.infer<typeof hostCertificates>;

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

export function certificatesOf(transaction: Pick<Transaction, 'get'>, host: string): Promise<HostCertificates | undefined> {
  return transaction.get(keys.certificate(host), hostCertificates);
}

/** When the last certificate of the host runs out. */
export function lastExpiry({ latest, earlier }: HostCertificates): string {
  return new Date(Math.max(...[latest, ...earlier].map(({ expiresAt }) => Date.parse(expiresAt)))).toISOString();
}

async function issue({ issuer }: NameServerContext, host: string, request: string): Promise<HostCertificates['latest']> {
  return { ...(await issuer.issueHostCertificate(host, request)), requestHash: sha256(request) };
}

/** What of it has not run out. */
function validOf({ clock }: NameServerContext, { latest, earlier }: HostCertificates): IssuedCertificate[] {
  const now = clock.wallMilliseconds();
  return [latest, ...earlier].map(({ serial, expiresAt }) => ({ serial, expiresAt })).filter(({ expiresAt }) => Date.parse(expiresAt) > now);
}

/**
 * Issues the next certificate of a host, together with what else the transaction does; the earlier ones count until they run out.
 * @returns the certificate, PEM
 * @throws invalid-request if the request is malformed
 */
export async function issueNext(context: NameServerContext, transaction: Transaction, host: string, request: string): Promise<string> {
  const known = await certificatesOf(transaction, host);
  const latest = await issue(context, host, request);
  const record: HostCertificates = { latest, earlier: known === undefined ? [] : validOf(context, known), isDenied: known?.isDenied ?? false };
  transaction.put(keys.certificate(host), record);
  return latest.certificate;
}

/** As `issueNext`, for a host that joins, for the first time or again: what was issued to it before counts no more, and no denial of it either. */
export async function issueAnew(context: NameServerContext, transaction: Transaction, host: string, request: string): Promise<string> {
  const latest = await issue(context, host, request);
  await trustOnly(context, transaction, host, latest, 'The host got new keys.');
  return latest.certificate;
}

/**
 * Ends the denials of a host, and denies its certificates but one.
 * @returns serial numbers of those that it denies
 */
export async function trustOnly(
  context: NameServerContext,
  transaction: Transaction,
  host: string,
  latest: HostCertificates['latest'],
  reason: string,
): Promise<string[]> {
  const known = await certificatesOf(transaction, host);
  const others = known === undefined ? [] : validOf(context, known).filter(({ serial }) => serial !== latest.serial);
  for (const { serial, expiresAt } of others) {
    deny(context, transaction, { subject: 'certificate', value: serial, reason, actor: 'operator', until: expiresAt });
  }
  await endDenials(context, transaction, host);
  transaction.put(keys.certificate(host), { latest, earlier: [], isDenied: false } satisfies HostCertificates);
  return others.map(({ serial }) => serial);
}

/** What was issued last, if it was for this very request and still counts: the host lost the answer. */
export function answerAgain({ clock }: NameServerContext, known: HostCertificates | undefined, request: string): string | undefined {
  if (known === undefined || known.isDenied || known.latest.requestHash !== sha256(request)) return undefined;
  return Date.parse(known.latest.expiresAt) > clock.wallMilliseconds() ? known.latest.certificate : undefined;
}

/** Denies a host until its last certificate has run out, and lets it have no more. */
export async function denyHost(context: NameServerContext, transaction: Transaction, host: string, reason: string): Promise<Denial> {
  const known = await certificatesOf(transaction, host);
  // Hosts that joined before certificates were recorded have one all the same.
  const latest = new Date(context.clock.wallMilliseconds() + context.issuer.lifetimeMilliseconds).toISOString();
  if (known !== undefined) transaction.put(keys.certificate(host), { ...known, isDenied: true });
  const until = known === undefined ? latest : lastExpiry(known);
  return deny(context, transaction, { subject: 'host', value: host, reason, actor: 'operator', until });
}

/**
 * The successor of the certificate that the host shows.
 * @param presented its serial number
 * @returns the certificate, PEM
 * @throws forbidden, and puts the host into quarantine, if that certificate has a successor already: then two hold its keys
 */
export async function renewCertificate(context: NameServerContext, id: string, presented: string | null, request: string): Promise<string> {
  const certificate = await context.repository.transact(async (transaction) => {
    const host = await findHost(transaction, id);
    const known = await certificatesOf(transaction, id);
    if (known?.isDenied === true) throw new SupercargoError('forbidden', `Host "${host.name}" is denied.`);
    const again = answerAgain(context, known, request);
    if (again !== undefined) return again;
    // One that the records do not know at all is newer than they are: they were put back from a backup.
    if (known?.earlier.some(({ serial }) => serial === presented) === true) {
      quarantine(context, transaction, host, known);
      return null;
    }
    return issueNext(context, transaction, id, request);
  });
  if (certificate !== null) return certificate;
  await endMovesOfDenied(context, id);
  throw new SupercargoError('forbidden', 'This certificate was renewed already, so two hold its keys: the host is in quarantine.', {
    hint: 'Look at the host; then, on the host of the name server: supercargo invite --host, or supercargo host readmit.',
  });
}

function quarantine(context: NameServerContext, transaction: Transaction, host: Host, known: HostCertificates): void {
  const reason = 'Two hold its keys: a certificate that had been renewed was to be renewed again.';
  deny(context, transaction, { subject: 'host', value: host.id, reason, actor: 'name server', until: lastExpiry(known) });
  transaction.put(keys.certificate(host.id), { ...known, isDenied: true } satisfies HostCertificates);
  transaction.record(
    'host.quarantined',
    host.name,
    'name server',
    `ALARM: host "${host.name}" is in quarantine. ${reason} Look at the host. Then give it new keys (supercargo invite --host ${host.name}), or, if ` +
      `nobody else has them, trust the latest of its certificates (supercargo host readmit ${host.name}).`,
  );
}
