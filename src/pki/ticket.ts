import { X509Certificate, createPrivateKey } from 'node:crypto';
import { z } from 'zod';
import { SupercargoError } from '../model/errors.ts';
import { identifier } from '../model/records.ts';
import type { Clock } from '../ports/clock.ts';
import type { Credentials } from './credentials.ts';
import { verifyCertificate } from './verification.ts';

const ticketClaims = z.strictObject({
  id: identifier.describe('Each ticket begins one transfer.'),
  move: identifier,
  volume: identifier,
  epoch: z.int().nonnegative(),
  source: identifier.describe('The host that may send.'),
  destination: identifier.describe('The host that may receive.'),
  expires: z.int().describe('Wall-clock milliseconds since 1970.'),
});

/** What the name server allows: this data, between these two hosts, until then. */
export type TicketClaims = z.infer<typeof ticketClaims>;

const ticketType = 'supercargo-transfer';
const signatureAlgorithm = 'ES256';
const maximumTicketLength = 8_192;

/** Signs a ticket with the name server's own key; its certificate travels along, so that hosts need know the authorities only. */
export async function issueTicket(credentials: Credentials, claims: TicketClaims): Promise<string> {
  const { CompactSign } = await import('jose');
  const certificate = new X509Certificate(credentials.certificatePem).raw.toString('base64');
  return new CompactSign(Buffer.from(JSON.stringify(ticketClaims.parse(claims))))
    .setProtectedHeader({ alg: signatureAlgorithm, typ: ticketType, x5c: [certificate] })
    .sign(createPrivateKey(credentials.privateKeyPem));
}

export interface TicketExpectations {
  authorities: readonly string[];
  clock: Clock;
  /** The host that serves the data. */
  source: string;
  /** The host that asks for it, as its certificate says. */
  destination: string;
}

/**
 * The claims of a ticket that a name server of this cluster signed, that has not expired, and that is for these two hosts. What is sent is decided
 * by the claims, not by the request.
 * @throws forbidden
 */
export async function verifyTicket(token: string, expectations: TicketExpectations): Promise<TicketClaims> {
  const claims = await signedClaims(token, expectations).catch((error: unknown) => {
    throw refused('it is not signed by the name server of this cluster', error);
  });
  if (claims.expires <= expectations.clock.wallMilliseconds()) throw refused('it has expired');
  if (claims.source !== expectations.source) throw refused('it is for another source');
  if (claims.destination !== expectations.destination) throw refused('it is for another destination');
  return claims;
}

async function signedClaims(token: string, { authorities, clock }: TicketExpectations): Promise<TicketClaims> {
  if (token.length > maximumTicketLength) throw new Error('too long');
  const { compactVerify } = await import('jose');
  const keyOf = (header: { typ?: unknown; x5c?: unknown }) => {
    const [certificateText] = z.tuple([z.string()]).parse(header.x5c);
    const certificate = new X509Certificate(Buffer.from(certificateText, 'base64'));
    const signer = verifyCertificate(certificate, authorities, clock);
    if (header.typ !== ticketType || signer.kind !== 'name-server') throw new Error('not a ticket of a name server');
    return certificate.publicKey;
  };
  const { payload } = await compactVerify(token, keyOf, { algorithms: [signatureAlgorithm] });
  return ticketClaims.parse(JSON.parse(Buffer.from(payload).toString()));
}

function refused(reason: string, cause?: unknown): SupercargoError {
  return new SupercargoError('forbidden', `The ticket for the transfer is refused: ${reason}.`, {
    hint: 'Ask the name server for a new ticket; check that the clocks of the hosts agree.',
    cause,
  });
}
