import { X509Certificate } from 'node:crypto';
import type { Clock } from '../ports/clock.ts';
import { notBeforeSkewMilliseconds } from './authority.ts';
import type { Credentials } from './credentials.ts';

const renewAfterFraction = 1 / 3;
const jitterFraction = 1 / 12;

/**
 * When a certificate should be renewed: after a third of its life, so that two thirds are left for a name server that is away.
 * @param jitter 0 to 1, drawn once for each certificate: hosts that joined together do not renew together
 * @returns wall-clock milliseconds
 */
export function renewalTime(certificatePem: string, jitter: number): number {
  const certificate = new X509Certificate(certificatePem);
  const issued = certificate.validFromDate.getTime() + notBeforeSkewMilliseconds;
  const lifetime = certificate.validToDate.getTime() - issued;
  return issued + lifetime * (renewAfterFraction + jitter * jitterFraction);
}

/** As `renewalTime`; at once if another authority signs by now. @param credentials whose first authority is the one that signs */
export function nextRenewal({ certificatePem, authorities }: Credentials, jitter: number): number {
  const [signing = ''] = authorities;
  const isOfSigning = new X509Certificate(certificatePem).verify(new X509Certificate(signing).publicKey);
  return isOfSigning ? renewalTime(certificatePem, jitter) : -Infinity;
}

export function renewalDue(certificatePem: string, clock: Clock, jitter: number): boolean {
  return clock.wallMilliseconds() >= renewalTime(certificatePem, jitter);
}
