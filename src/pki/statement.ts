import { X509Certificate, createPrivateKey } from 'node:crypto';
import { z } from 'zod';
import type { Clock } from '../ports/clock.ts';
import type { Credentials } from './credentials.ts';
import { verifyCertificate } from './verification.ts';

/** A kind of thing that the name server says in writing. What is signed as one kind never counts as another. */
export interface StatementKind<Schema extends z.ZodType> {
  type: `supercargo-${string}`;
  claims: Schema;
}

const signatureAlgorithm = 'ES256';
const maximumLength = 8_192;

/** Signs with the name server's own key; its certificate travels along, so that hosts need know the authorities only. */
export async function signStatement<Schema extends z.ZodType>(
  kind: StatementKind<Schema>,
  credentials: Credentials,
  claims: z.output<Schema>,
): Promise<string> {
  const { CompactSign } = await import('jose');
  const certificate = new X509Certificate(credentials.certificatePem).raw.toString('base64');
  return new CompactSign(Buffer.from(JSON.stringify(kind.claims.parse(claims))))
    .setProtectedHeader({ alg: signatureAlgorithm, typ: kind.type, x5c: [certificate] })
    .sign(createPrivateKey(credentials.privateKeyPem));
}

/** The claims of a statement of this kind. @throws if a name server of this cluster, whose certificate is valid now, did not sign it as such */
export async function readStatement<Schema extends z.ZodType>(
  kind: StatementKind<Schema>,
  token: string,
  authorities: readonly string[],
  clock: Pick<Clock, 'wallMilliseconds'>,
): Promise<z.output<Schema>> {
  if (token.length > maximumLength) throw new Error('too long');
  const { compactVerify } = await import('jose');
  const keyOf = (header: { typ?: unknown; x5c?: unknown }) => {
    const [certificateText] = z.tuple([z.string()]).parse(header.x5c);
    const certificate = new X509Certificate(Buffer.from(certificateText, 'base64'));
    const signer = verifyCertificate(certificate, authorities, clock);
    if (header.typ !== kind.type || signer.kind !== 'name-server') throw new Error(`not a statement "${kind.type}" of a name server`);
    return certificate.publicKey;
  };
  const { payload } = await compactVerify(token, keyOf, { algorithms: [signatureAlgorithm] });
  return kind.claims.parse(JSON.parse(Buffer.from(payload).toString()));
}
