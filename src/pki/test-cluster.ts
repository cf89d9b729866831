import { createPublicKey } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import tls from 'node:tls';
import { newIdentifier } from '../model/identifiers.ts';
import type { Clock } from '../ports/clock.ts';
import { createAuthority, openAuthority, type Authority } from './authority.ts';
import type { Credentials } from './credentials.ts';
import { identityUri, type Identity } from './identity.ts';
import { createKeyAndRequest } from './request.ts';

/** A cluster for tests: an authority, and credentials for whomever a test needs. */
export interface TestCluster {
  id: string;
  authority: Authority;
  authorityPrivateKeyPem: string;
  nameServer: Identity;
  newHost(): Identity & { kind: 'host' };
  credentialsFor(identity: Identity, options?: { lifetimeMilliseconds?: number; clock?: Clock }): Promise<Credentials>;
}

export async function createTestCluster(clock: Clock, id: string = newIdentifier('clu')): Promise<TestCluster> {
  const material = await createAuthority({ clusterId: id, clusterName: 'test', clock });
  return {
    id,
    authority: openAuthority(material, clock),
    authorityPrivateKeyPem: material.privateKeyPem,
    nameServer: { kind: 'name-server', cluster: id },
    newHost: () => ({ kind: 'host', cluster: id, id: newIdentifier('hst') }),
    async credentialsFor(identity, options = {}) {
      const { privateKeyPem } = await createKeyAndRequest();
      const publicKeyPem = createPublicKey(privateKeyPem).export({ format: 'pem', type: 'spki' }).toString();
      const certificatePem = await openAuthority(material, options.clock ?? clock).issueForKey(publicKeyPem, {
        subjectUri: identityUri(identity),
        lifetimeMilliseconds: options.lifetimeMilliseconds ?? 3_600_000,
      });
      return { certificatePem, privateKeyPem, authorities: [material.certificatePem] };
    },
  };
}

/** A TLS server that greets whoever gets in. */
export async function listen(options: tls.TlsOptions): Promise<{ server: tls.Server; port: number }> {
  const server = tls.createServer(options, (socket) => {
    socket.on('error', () => undefined); // a client that goes away is no concern of a test
    socket.write('hello');
  });
  server.on('tlsClientError', () => undefined); // tests look at the client's side
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, port: (server.address() as AddressInfo).port };
}

/** Connects and reads the greeting. In TLS 1.3 a refused client learns of it only when it reads. */
export async function greet(port: number, options: tls.ConnectionOptions): Promise<tls.TLSSocket> {
  const socket = tls.connect({ ...options, host: '127.0.0.1', port });
  await new Promise<void>((resolve, reject) => {
    socket.once('data', () => resolve());
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('closed without a greeting')));
  });
  socket.on('error', () => undefined); // what follows is the test's business
  return socket;
}

export function systemClock(): Clock {
  return {
    wallMilliseconds: () => Date.now(),
    monotonicMilliseconds: () => performance.now(),
    sleep: () => Promise.reject(new Error('not for waiting')),
  };
}
