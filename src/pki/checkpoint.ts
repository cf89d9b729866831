import { z } from 'zod';
import { SupercargoError } from '../model/errors.ts';
import { auditHead } from '../model/audit.ts';
import { timestamp } from '../model/records.ts';
import type { Clock } from '../ports/clock.ts';
import type { Credentials } from './credentials.ts';
import { readStatement, signStatement } from './statement.ts';
import type { StatementKind } from './statement.ts';

const checkpointClaims = z.strictObject({ ...auditHead.shape, at: timestamp });

/** What the name server says of its audit log: how far it went at that time, and the digest of its last entry. */
export type CheckpointClaims = z.infer<typeof checkpointClaims>;

const checkpoint: StatementKind<typeof checkpointClaims> = { type: 'supercargo-audit', claims: checkpointClaims };

export function issueCheckpoint(credentials: Credentials, claims: CheckpointClaims): Promise<string> {
  return signStatement(checkpoint, credentials, claims);
}

/**
 * The claims of a checkpoint that a name server of this cluster signed at the time it tells: its certificate lives for a day, the log for years.
 * @throws forbidden
 */
export async function readCheckpoint(statement: string, authorities: readonly string[], at: string): Promise<CheckpointClaims> {
  const clock: Pick<Clock, 'wallMilliseconds'> = { wallMilliseconds: () => Date.parse(at) };
  const claims = await readStatement(checkpoint, statement, authorities, clock as Clock).catch((cause: unknown) => {
    throw notSigned('a name server of this cluster did not sign it at that time', cause);
  });
  if (claims.at !== at) throw notSigned(`it was signed at ${claims.at}`);
  return claims;
}

function notSigned(reason: string, cause?: unknown): SupercargoError {
  return new SupercargoError('forbidden', `The checkpoint is not what it says: ${reason}.`, { cause });
}
