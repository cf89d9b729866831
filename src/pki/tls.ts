import { X509Certificate, constants } from 'node:crypto';
import tls from 'node:tls';
import { SupercargoError } from '../model/errors.ts';
import type { Credentials, CredentialsHolder } from './credentials.ts';
import { identityOf, identityUri, type Identity } from './identity.ts';
import { verifyFingerprint } from './verification.ts';

const handshakeTimeoutMilliseconds = 10_000;

/** AES-128 first: as safe as the others for what we send, and the fastest on every machine with AES instructions. */
const common = {
  minVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256',
  // Node accepts a resumed session after the peer's certificate has expired, so nobody resumes.
  secureOptions: constants.SSL_OP_NO_TICKET,
} as const satisfies tls.SecureContextOptions;

/** For servers of hosts and of the name server: a client without a certificate of this cluster does not get past the handshake. */
export function serverTlsOptions(credentials: Credentials): tls.TlsOptions {
  return {
    ...common,
    honorCipherOrder: true,
    handshakeTimeout: handshakeTimeoutMilliseconds,
    key: credentials.privateKeyPem,
    cert: credentials.certificatePem,
    ca: trusted(credentials.authorities),
    requestCert: true,
    rejectUnauthorized: true,
  };
}

/**
 * For the one port on which hosts join: they have no certificate yet and prove themselves by a token. The authority is sent along, for the
 * host to compare with the fingerprint it was given.
 */
export function joinServerTlsOptions(credentials: Credentials): tls.TlsOptions {
  const certificate = new X509Certificate(credentials.certificatePem);
  const issuer = trusted(credentials.authorities).find((pem) => certificate.checkIssued(new X509Certificate(pem)));
  if (issuer === undefined) throw new SupercargoError('wrong-state', 'The certificate in use was not issued by an authority of this cluster.');
  return { ...serverTlsOptions(credentials), cert: `${credentials.certificatePem}\n${issuer}`, requestCert: false, rejectUnauthorized: false };
}

export interface ClientTlsOptions {
  /** Without, the client shows no certificate: for joining only. */
  credentials?: Credentials;
  /** Default: those of the credentials. */
  authorities?: readonly string[];
  /** Who must be on the other side; host names and addresses count for nothing. */
  expectedIdentity: Identity;
  /** Throws if the certificate of the other side does not count, for another reason than whose it is. */
  check?: (certificate: X509Certificate) => void;
}

/**
 * For connections to somebody of this cluster, with tls.connect, https.request or an https.Agent. An agent shares connections by address
 * only: use one agent for one expected identity.
 */
export function clientTlsOptions(options: ClientTlsOptions): tls.ConnectionOptions & { maxCachedSessions: 0 } {
  const { credentials } = options;
  return {
    ...common,
    ...(credentials && { key: credentials.privateKeyPem, cert: credentials.certificatePem }),
    ca: trusted(options.authorities ?? credentials?.authorities ?? []),
    rejectUnauthorized: true,
    maxCachedSessions: 0,
    checkServerIdentity: (_hostname, certificate) => identityError(certificate.raw, options),
  };
}

/** Makes a server use the credentials of the holder, now and after each renewal; connections that exist go on. */
export function followCredentials(server: tls.Server, holder: CredentialsHolder, toOptions: (credentials: Credentials) => tls.TlsOptions): void {
  const stop = holder.onChange((credentials) => server.setSecureContext(toOptions(credentials)));
  server.once('close', stop);
}

/**
 * Asks a join port for the cluster's authority and believes it by its fingerprint alone. Nothing is sent on this connection; the caller opens
 * a second one with clientTlsOptions, trusting this authority only, so that TLS itself verifies the server.
 * @returns the certificate of the authority, PEM
 * @throws unauthenticated if the other side shows no certificate with the fingerprint
 * @throws name-server-unreachable
 */
export function fetchAuthority(target: { host: string; port: number; fingerprint: string }): Promise<string> {
  const address = `${target.host}:${target.port}`;
  return new Promise((resolve, reject) => {
    // Whoever answers is heard: what counts is the comparison below.
    const socket = tls.connect({ ...common, host: target.host, port: target.port, rejectUnauthorized: false });
    const fail = (error: SupercargoError) => {
      socket.destroy();
      reject(error);
    };
    socket.setTimeout(handshakeTimeoutMilliseconds, () => socket.destroy(new Error('no answer in time')));
    socket.once('close', () => fail(unreachable(address)));
    socket.on('error', (error) => fail(unreachable(address, error)));
    socket.once('secureConnect', () => {
      const authority = shownCertificates(socket).find((certificate) => certificate.ca && verifyFingerprint(certificate, target.fingerprint));
      if (authority === undefined) return fail(wrongFingerprint(address));
      resolve(authority.toString());
      socket.destroy();
    });
  });
}

function shownCertificates(socket: tls.TLSSocket): X509Certificate[] {
  const shown: X509Certificate[] = [];
  let next: tls.DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  while (next?.raw !== undefined) {
    shown.push(new X509Certificate(next.raw));
    next = next.issuerCertificate === next ? undefined : next.issuerCertificate; // the last is its own issuer
  }
  return shown;
}

/** An empty list would not mean "nobody" everywhere in Node, and no list would mean the system's authorities. */
function trusted(authorities: readonly string[]): string[] {
  if (authorities.length === 0)
    throw new SupercargoError('wrong-state', 'No authority of the cluster is known.', { hint: 'Join the cluster again.' });
  return [...authorities];
}

function identityError(der: Buffer, { expectedIdentity: expected, check }: ClientTlsOptions): Error | undefined {
  try {
    const certificate = new X509Certificate(der);
    const shown = identityUri(identityOf(certificate));
    check?.(certificate);
    if (shown === identityUri(expected)) return undefined;
    return new SupercargoError('unauthenticated', `Expected ${identityUri(expected)}, but ${shown} answered.`, {
      hint: 'An address has been given to another host, or somebody is in between.',
    });
  } catch (error) {
    return error as Error;
  }
}

function unreachable(address: string, cause?: Error): SupercargoError {
  return new SupercargoError(
    'name-server-unreachable',
    `${address} did not complete a TLS handshake: ${cause?.message ?? 'it closed the connection'}.`,
    {
      hint: 'Check the address, and that the name server runs there.',
      cause,
    },
  );
}

function wrongFingerprint(address: string): SupercargoError {
  return new SupercargoError('unauthenticated', `${address} does not belong to the cluster with the given fingerprint.`, {
    hint: 'Copy the whole join command again. If it is right, somebody is in between.',
  });
}
