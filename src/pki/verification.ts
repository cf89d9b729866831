import { createHash, X509Certificate } from 'node:crypto';
import { SupercargoError } from '../model/errors.ts';
import type { Clock } from '../ports/clock.ts';
import { clusterOf, identityOf, type Identity } from './identity.ts';

/** SHA-256 of the certificate's DER, as `sha256:` and 64 hexadecimal digits. */
export function fingerprintOf(certificate: string | X509Certificate): string {
  const { raw } = typeof certificate === 'string' ? new X509Certificate(certificate) : certificate;
  return `sha256:${createHash('sha256').update(raw).digest('hex')}`;
}

/** Whether the certificate is the one that people call by this fingerprint; letter case does not matter. */
export function verifyFingerprint(certificate: string | X509Certificate, fingerprint: string): boolean {
  return fingerprintOf(certificate) === fingerprint.trim().toLowerCase();
}

/** @throws unauthenticated if the wall clock is outside the certificate's validity */
export function checkValidity(certificate: X509Certificate, clock: Pick<Clock, 'wallMilliseconds'>): void {
  const now = clock.wallMilliseconds();
  if (now >= certificate.validFromDate.getTime() && now < certificate.validToDate.getTime()) return;
  throw new SupercargoError('unauthenticated', `The certificate is valid from ${certificate.validFrom} to ${certificate.validTo} only.`, {
    hint: 'Check the clocks of both hosts; a host that was away for long must join again.',
  });
}

/**
 * Who a certificate speaks for, if one of the authorities issued it and both are valid now.
 * For certificates that do not come from a TLS handshake, where TLS does this.
 * @throws unauthenticated
 */
export function verifyCertificate(certificate: X509Certificate, authorities: readonly string[], clock: Pick<Clock, 'wallMilliseconds'>): Identity {
  const authority = authorities
    .map((pem) => new X509Certificate(pem))
    .find((candidate) => candidate.ca && certificate.checkIssued(candidate) && certificate.verify(candidate.publicKey));
  if (authority === undefined || certificate.ca) throw new SupercargoError('unauthenticated', 'The certificate was not issued by this cluster.');
  checkValidity(authority, clock);
  checkValidity(certificate, clock);
  const identity = identityOf(certificate);
  if (identity.cluster !== clusterOf(authority)) throw new SupercargoError('unauthenticated', 'The certificate is of another cluster.');
  return identity;
}
