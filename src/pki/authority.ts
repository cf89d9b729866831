import { randomBytes, X509Certificate, type webcrypto } from 'node:crypto';
import { SupercargoError } from '../model/errors.ts';
import type { Clock } from '../ports/clock.ts';
import { clusterOf, clusterUri, parseIdentity } from './identity.ts';
import { fingerprintOf } from './verification.ts';
import {
  exportPrivateKey,
  generateKeys,
  importPrivateKey,
  importPublicKey,
  keyAlgorithm,
  loadX509,
  signingAlgorithm,
  type X509Library,
} from './x509.ts';

/** What the name server keeps of the cluster's authority. The private key is a secret. */
export interface AuthorityMaterial {
  certificatePem: string;
  privateKeyPem: string;
}

export interface IssueOptions {
  /** Whose key it is; see hostUri and nameServerUri. */
  subjectUri: string;
  lifetimeMilliseconds: number;
}

export interface Authority {
  readonly certificatePem: string;
  /** As people compare it when a host joins. */
  readonly fingerprint: string;
  /**
   * A certificate for the key of a request, good for both ends of a connection. Nothing else is taken from the request.
   * @throws invalid-request if the request is malformed, its key is not P-256, or its signature does not prove possession of the key
   */
  issueForRequest(requestPem: string, options: IssueOptions): Promise<string>;
  /** A certificate for a key of the authority's own process, whose possession needs no proof. */
  issueForKey(publicKeyPem: string, options: IssueOptions): Promise<string>;
}

/** How far back certificates are dated, for hosts whose clock is behind. */
export const notBeforeSkewMilliseconds = 5 * 60_000;

const authorityLifetimeMilliseconds = 3_652 * 86_400_000; // ten years
const maximumRequestLength = 8_192;
const nameConstraintsOid = '2.5.29.30';

/** Makes the authority of a new cluster. It can vouch for names of this cluster only, and not make further authorities. */
export async function createAuthority(options: { clusterId: string; clusterName: string; clock: Clock }): Promise<AuthorityMaterial> {
  const x509 = await loadX509();
  const keys = await generateKeys();
  const now = options.clock.wallMilliseconds();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerialNumber(),
    name: [{ O: [options.clusterName.slice(0, 64)] }, { CN: [`Supercargo ${options.clusterId}`] }],
    notBefore: new Date(now - notBeforeSkewMilliseconds),
    notAfter: new Date(now + authorityLifetimeMilliseconds),
    keys,
    signingAlgorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      new x509.SubjectAlternativeNameExtension([{ type: 'url', value: clusterUri(options.clusterId) }]),
      new x509.Extension(nameConstraintsOid, true, permittedUriHost(options.clusterId)),
    ],
  });
  return { certificatePem: certificate.toString('pem'), privateKeyPem: await exportPrivateKey(keys.privateKey) };
}

export function openAuthority(material: AuthorityMaterial, clock: Clock): Authority {
  const certificate = new X509Certificate(material.certificatePem);
  const sign = (x509: X509Library, publicKey: webcrypto.CryptoKey, options: IssueOptions) =>
    issue({ x509, certificate, material, clock }, publicKey, options);
  return {
    certificatePem: material.certificatePem,
    fingerprint: fingerprintOf(material.certificatePem),
    async issueForRequest(requestPem, options) {
      const x509 = await loadX509();
      return sign(x509, await keyOfRequest(x509, requestPem), options);
    },
    async issueForKey(publicKeyPem, options) {
      return sign(await loadX509(), await importPublicKey(publicKeyPem), options);
    },
  };
}

interface Issuer {
  x509: X509Library;
  certificate: X509Certificate;
  material: AuthorityMaterial;
  clock: Clock;
}

async function issue({ x509, certificate, material, clock }: Issuer, publicKey: webcrypto.CryptoKey, options: IssueOptions): Promise<string> {
  const identity = parseIdentity(options.subjectUri);
  if (identity.cluster !== clusterOf(certificate)) throw new SupercargoError('invalid-request', `${options.subjectUri} is not of this cluster.`);
  const authority = new x509.X509Certificate(material.certificatePem);
  const now = clock.wallMilliseconds();
  const issued = await x509.X509CertificateGenerator.create({
    serialNumber: newSerialNumber(),
    subject: [{ CN: [identity.kind === 'name-server' ? identity.kind : identity.id] }],
    issuer: authority.subjectName,
    notBefore: new Date(now - notBeforeSkewMilliseconds),
    notAfter: new Date(Math.min(now + options.lifetimeMilliseconds, authority.notAfter.getTime())),
    publicKey,
    signingKey: await importPrivateKey(material.privateKeyPem),
    signingAlgorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      await x509.AuthorityKeyIdentifierExtension.create(authority.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      new x509.SubjectAlternativeNameExtension([{ type: 'url', value: options.subjectUri }]),
    ],
  });
  return issued.toString('pem');
}

/** The key of a request that proves to have the private half of it. */
async function keyOfRequest(x509: X509Library, requestPem: string): Promise<webcrypto.CryptoKey> {
  try {
    if (requestPem.length > maximumRequestLength) throw new Error('it is too long');
    const request = new x509.Pkcs10CertificateRequest(requestPem);
    const key = await request.publicKey.export(keyAlgorithm, ['verify']);
    if (!(await request.verify())) throw new Error('its signature is not by its key');
    return key;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new SupercargoError('invalid-request', `The certificate request is not acceptable: ${reason}.`, {
      hint: 'Send a PKCS #10 request in PEM, signed with its own P-256 key.',
      cause: error,
    });
  }
}

/** 126 random bits; the leading ones are set so that it is positive and of one length. */
function newSerialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString('hex');
}

/** NameConstraints { permittedSubtrees { uniformResourceIdentifier host } } in DER (RFC 5280, section 4.2.1.10). */
function permittedUriHost(host: string): Uint8Array<ArrayBuffer> {
  const wrap = (tag: number, content: Uint8Array) => Uint8Array.of(tag, content.length, ...content); // all are shorter than 128 bytes
  const sequence = 0x30;
  const permittedSubtrees = 0xa0;
  const uniformResourceIdentifier = 0x86;
  return wrap(sequence, wrap(permittedSubtrees, wrap(sequence, wrap(uniformResourceIdentifier, Buffer.from(host, 'ascii')))));
}
