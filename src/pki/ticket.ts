import { z } from 'zod';
import { SupercargoError } from '../model/errors.ts';
import { identifier } from '../model/records.ts';
import type { Clock } from '../ports/clock.ts';
import type { Credentials } from './credentials.ts';
import { readStatement, signStatement } from './statement.ts';
import type { StatementKind } from './statement.ts';

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

const ticket: StatementKind<typeof ticketClaims> = { type: 'supercargo-transfer', claims: ticketClaims };

export function issueTicket(credentials: Credentials, claims: TicketClaims): Promise<string> {
  return signStatement(ticket, credentials, claims);
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
export async function verifyTicket(token: string, { authorities, clock, source, destination }: TicketExpectations): Promise<TicketClaims> {
  const claims = await readStatement(ticket, token, authorities, clock).catch((error: unknown) => {
    throw refused('it is not signed by the name server of this cluster', error);
  });
  if (claims.expires <= clock.wallMilliseconds()) throw refused('it has expired');
  if (claims.source !== source) throw refused('it is for another source');
  if (claims.destination !== destination) throw refused('it is for another destination');
  return claims;
}

function refused(reason: string, cause?: unknown): SupercargoError {
  return new SupercargoError('forbidden', `The ticket for the transfer is refused: ${reason}.`, {
    hint: 'Ask the name server for a new ticket; check that the clocks of the hosts agree.',
    cause,
  });
}
