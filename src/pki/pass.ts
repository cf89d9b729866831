import { z } from 'zod';
import { SupercargoError } from '../model/errors.ts';
import { identifier } from '../model/records.ts';
import type { Clock } from '../ports/clock.ts';
import type { Credentials } from './credentials.ts';
import { readStatement, signStatement } from './statement.ts';
import type { StatementKind } from './statement.ts';

/** How often a pass counts: for one container, or for any number until it expires. */
const passUses = z.enum(['once', 'many']);

const passClaims = z.strictObject({
  pass: identifier.describe('Its own identifier, by which a host knows that it was spent.'),
  application: identifier,
  host: identifier.describe('The one host where it counts.'),
  uses: passUses,
  expires: z.int().describe('Wall-clock milliseconds since 1970.'),
});

/** What the name server says of a container that bears it: it is this application’s, on this host, if it is made until then. */
export type PassClaims = z.infer<typeof passClaims>;

const pass: StatementKind<typeof passClaims> = { type: 'supercargo-pass', claims: passClaims };

export function issuePass(credentials: Credentials, claims: PassClaims): Promise<string> {
  return signStatement(pass, credentials, claims);
}

export interface PassExpectations {
  authorities: readonly string[];
  clock: Pick<Clock, 'wallMilliseconds'>;
  /** The host on which the container is made. */
  host: string;
}

/**
 * The claims of a pass that a name server of this cluster signed, that has not expired, and that is for this host. Whether it was spent is for the caller
 * to know.
 * @throws forbidden
 */
export async function verifyPass(token: string, { authorities, clock, host }: PassExpectations): Promise<PassClaims> {
  const claims = await readStatement(pass, token, authorities, clock).catch((error: unknown) => {
    throw refused('it is not signed by the name server of this cluster', error);
  });
  if (claims.expires <= clock.wallMilliseconds()) throw refused('it has expired');
  if (claims.host !== host) throw refused('it is for another host');
  return claims;
}

/** The token itself stays out of the text: whoever reads it could use it. */
function refused(reason: string, cause?: unknown): SupercargoError {
  return new SupercargoError('forbidden', `The pass of the container is refused: ${reason}.`, {
    hint: 'Make a new one: supercargo app pass PROJECT/NAME, on the host of the name server or with --host.',
    cause,
  });
}
