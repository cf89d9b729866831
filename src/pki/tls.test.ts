import { once } from 'node:events';
import type tls from 'node:tls';
import { X509Certificate } from 'node:crypto';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import { CredentialsHolder, type Credentials } from './credentials.ts';
import { nameServerUri, type Identity } from './identity.ts';
import { endAtExpiry, peerIdentity } from './peer.ts';
import { createTestCluster, greet, listen, systemClock, type TestCluster } from './test-cluster.ts';
import { clientTlsOptions, fetchAuthority, followCredentials, joinServerTlsOptions, serverTlsOptions } from './tls.ts';
import { generateKeys, importPrivateKey, exportPrivateKey, loadX509, signingAlgorithm } from './x509.ts';

let cluster: TestCluster;
let nameServer: Credentials;
let host: Identity & { kind: 'host' };
let hostCredentials: Credentials;
const servers: tls.Server[] = [];
const sockets: tls.TLSSocket[] = [];

beforeAll(async () => {
  cluster = await createTestCluster(systemClock());
  nameServer = await cluster.credentialsFor(cluster.nameServer);
  host = cluster.newHost();
  hostCredentials = await cluster.credentialsFor(host);
});

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const server of servers.splice(0)) server.close();
});

async function serve(options: tls.TlsOptions): Promise<{ server: tls.Server; port: number }> {
  const listening = await listen(options);
  listening.server.on('secureConnection', (socket) => sockets.push(socket));
  servers.push(listening.server);
  return listening;
}

async function enter(port: number, options: tls.ConnectionOptions): Promise<tls.TLSSocket> {
  const socket = await greet(port, options);
  sockets.push(socket);
  return socket;
}

/** Opens a connection and gives both of its ends. */
async function connectBoth(client: Credentials): Promise<{ serverSide: tls.TLSSocket; clientSide: tls.TLSSocket }> {
  const { server, port } = await serve(serverTlsOptions(nameServer));
  const accepted = once(server, 'secureConnection') as Promise<[tls.TLSSocket]>;
  const clientSide = await enter(port, clientTlsOptions({ credentials: client, expectedIdentity: cluster.nameServer }));
  return { serverSide: (await accepted)[0], clientSide };
}

/** Tries to get in with these credentials; returns why the server's side of TLS did not let them. */
async function whyRefused(credentials: Credentials): Promise<unknown> {
  const { server, port } = await serve(serverTlsOptions(nameServer));
  const refused = once(server, 'tlsClientError') as Promise<[Error, tls.TLSSocket]>;
  await expect(enter(port, clientTlsOptions({ credentials, expectedIdentity: cluster.nameServer }))).rejects.toThrow();
  return (await refused)[1].authorizationError;
}

describe('a server', () => {
  it('admits a host of its cluster over TLS 1.3 and knows who it is', async () => {
    const { serverSide, clientSide } = await connectBoth(hostCredentials);
    expect([clientSide.getProtocol(), clientSide.getCipher().name]).toEqual(['TLSv1.3', 'TLS_AES_128_GCM_SHA256']);
    expect(peerIdentity(serverSide, { cluster: cluster.id, clock: systemClock() })).toEqual(host);
    expect(peerIdentity(clientSide, { cluster: cluster.id, clock: systemClock() })).toEqual(cluster.nameServer);
  });

  it('refuses a client without a certificate', async () => {
    const { port } = await serve(serverTlsOptions(nameServer));
    const options = clientTlsOptions({ authorities: nameServer.authorities, expectedIdentity: cluster.nameServer });
    await expect(enter(port, options)).rejects.toThrow(/certificate.required/i);
  });

  it('refuses a certificate of another cluster', async () => {
    const foreign = await createTestCluster(systemClock());
    const credentials = { ...(await foreign.credentialsFor(foreign.newHost())), authorities: nameServer.authorities };
    expect(await whyRefused(credentials)).toBe('UNABLE_TO_VERIFY_LEAF_SIGNATURE');
  });

  it('refuses a certificate of an authority that only calls itself ours', async () => {
    const twin = await createTestCluster(systemClock(), cluster.id);
    const credentials = { ...(await twin.credentialsFor(host)), authorities: nameServer.authorities };
    expect(await whyRefused(credentials)).toBe('UNABLE_TO_VERIFY_LEAF_SIGNATURE');
  });

  it('refuses an expired certificate', async () => {
    const credentials = await cluster.credentialsFor(host, { clock: new ManualClock(Date.now() - 60_000), lifetimeMilliseconds: 30_000 });
    expect(await whyRefused(credentials)).toBe('CERT_HAS_EXPIRED');
  });

  it('refuses TLS 1.2 by its version, whatever the ciphers', async () => {
    const { ciphers: _ciphers, ...serverOptions } = serverTlsOptions(nameServer);
    const { port } = await serve(serverOptions);
    const { ciphers: _, ...options } = clientTlsOptions({ credentials: hostCredentials, expectedIdentity: cluster.nameServer });
    await expect(enter(port, { ...options, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' })).rejects.toThrow(/protocol version/i);
  });

  it('refuses a name that its authority may not vouch for, even signed by it', async () => {
    const credentials = await signedByAuthority(nameServerUri(newIdentifier('clu')));
    expect(await whyRefused(credentials)).toBe('UNSPECIFIED'); // Node has no word for a violated name constraint
    const { port } = await serve(serverTlsOptions(nameServer));
    const own = await signedByAuthority(nameServerUri(cluster.id));
    await enter(port, clientTlsOptions({ credentials: own, expectedIdentity: cluster.nameServer })); // so it was the name
  });

  it('resumes no session, also not with a client that keeps them', async () => {
    const { port } = await serve(serverTlsOptions(nameServer));
    const options = clientTlsOptions({ credentials: hostCredentials, expectedIdentity: cluster.nameServer });
    const first = await enter(port, options);
    const session = first.getSession();
    const sessions: Buffer[] = session === undefined ? [] : [session];
    first.on('session', (offered: Buffer) => sessions.push(offered));
    first.destroy();
    const { key: _key, cert: _cert, ...withoutCertificate } = options;
    for (const offered of sessions) {
      const again = await enter(port, { ...options, session: offered });
      expect(again.isSessionReused()).toBe(false);
      await expect(enter(port, { ...withoutCertificate, session: offered })).rejects.toThrow(/certificate.required/i);
    }
    expect(sessions.length).toBeGreaterThan(0);
  });

  it('changes its certificate without a restart, and keeps all its rules', async () => {
    const holder = new CredentialsHolder(nameServer);
    const { server, port } = await serve(serverTlsOptions(holder.current));
    followCredentials(server, holder, serverTlsOptions);
    const options = clientTlsOptions({ credentials: hostCredentials, expectedIdentity: cluster.nameServer });
    const old = await enter(port, options);
    const renewed = await cluster.credentialsFor(cluster.nameServer);
    holder.replace(renewed);
    const serial = (socket: tls.TLSSocket) => socket.getPeerX509Certificate()?.serialNumber;
    expect(serial(await enter(port, options))).toBe(new X509Certificate(renewed.certificatePem).serialNumber);
    expect(old.destroyed).toBe(false);
    const { key: _key, cert: _cert, ...withoutCertificate } = options;
    await expect(enter(port, withoutCertificate)).rejects.toThrow(/certificate.required/i);
    const { ciphers: _, ...older } = options;
    await expect(enter(port, { ...older, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' })).rejects.toThrow(/protocol version/i);
  });
});

describe('a client', () => {
  it('refuses a host in the place of the name server, and another host in the place of one', async () => {
    const { port } = await serve(serverTlsOptions(hostCredentials));
    for (const expectedIdentity of [cluster.nameServer, cluster.newHost()]) {
      await expect(enter(port, clientTlsOptions({ credentials: nameServer, expectedIdentity }))).rejects.toMatchObject({ code: 'unauthenticated' });
    }
    await enter(port, clientTlsOptions({ credentials: nameServer, expectedIdentity: host }));
  });

  it('refuses a server of another authority, and one whose certificate has expired', async () => {
    const foreign = await createTestCluster(systemClock(), cluster.id);
    const { port } = await serve(serverTlsOptions(await foreign.credentialsFor(foreign.nameServer)));
    await expect(enter(port, clientTlsOptions({ credentials: hostCredentials, expectedIdentity: cluster.nameServer }))).rejects.toThrow(
      /verify|signature|self-signed|issuer/i,
    );
    const expired = await cluster.credentialsFor(cluster.nameServer, { clock: new ManualClock(Date.now() - 60_000), lifetimeMilliseconds: 30_000 });
    const other = await serve(serverTlsOptions(expired));
    await expect(enter(other.port, clientTlsOptions({ credentials: hostCredentials, expectedIdentity: cluster.nameServer }))).rejects.toThrow(
      /expired/,
    );
  });

  it('never falls back to the authorities of the system', () => {
    expect(() => clientTlsOptions({ authorities: [], expectedIdentity: cluster.nameServer })).toThrow(/No authority/);
  });
});

describe('joining', () => {
  it('learns the authority by its fingerprint, and then who answers by the authority', async () => {
    const { port } = await serve(joinServerTlsOptions(nameServer));
    const authority = await fetchAuthority({ host: '127.0.0.1', port, fingerprint: cluster.authority.fingerprint });
    expect(new X509Certificate(authority).raw).toEqual(new X509Certificate(cluster.authority.certificatePem).raw);
    await enter(port, clientTlsOptions({ authorities: [authority], expectedIdentity: cluster.nameServer }));
  });

  it('refuses a cluster with another fingerprint', async () => {
    const foreign = await createTestCluster(systemClock());
    const { port } = await serve(joinServerTlsOptions(await foreign.credentialsFor(foreign.nameServer)));
    const join = fetchAuthority({ host: '127.0.0.1', port, fingerprint: cluster.authority.fingerprint });
    await expect(join).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  it('is not fooled by somebody who shows the right authority beside a certificate of his own', async () => {
    const foreign = await createTestCluster(systemClock(), cluster.id);
    const own = await foreign.credentialsFor(foreign.nameServer);
    const cert = `${own.certificatePem}\n${cluster.authority.certificatePem}`;
    const { port } = await serve({ ...joinServerTlsOptions(own), cert });
    const steps = async () => {
      const authority = await fetchAuthority({ host: '127.0.0.1', port, fingerprint: cluster.authority.fingerprint });
      await enter(port, clientTlsOptions({ authorities: [authority], expectedIdentity: cluster.nameServer }));
    };
    await expect(steps()).rejects.toThrow();
  });

  it('says so when nobody answers', async () => {
    const { server, port } = await serve(joinServerTlsOptions(nameServer));
    server.close();
    await once(server, 'close');
    const join = fetchAuthority({ host: '127.0.0.1', port, fingerprint: cluster.authority.fingerprint });
    await expect(join).rejects.toMatchObject({ code: 'name-server-unreachable' });
  });
});

describe('an open connection', () => {
  it('is worth nothing once its certificate has expired, or in another cluster', async () => {
    const { serverSide } = await connectBoth(hostCredentials);
    const later = new ManualClock(Date.now() + 2 * 3_600_000);
    expect(() => peerIdentity(serverSide, { cluster: cluster.id, clock: later })).toThrow(/valid from/);
    expect(() => peerIdentity(serverSide, { cluster: newIdentifier('clu'), clock: systemClock() })).toThrow(/another cluster/);
  });

  it('has no identity where no certificate was asked for', async () => {
    const { server, port } = await serve(joinServerTlsOptions(nameServer));
    const accepted = once(server, 'secureConnection') as Promise<[tls.TLSSocket]>;
    await enter(port, clientTlsOptions({ credentials: hostCredentials, expectedIdentity: cluster.nameServer }));
    const [serverSide] = await accepted;
    expect(() => peerIdentity(serverSide, { cluster: cluster.id, clock: systemClock() })).toThrow(/no certificate/);
  });

  it('ends when the certificate of its peer expires, not before', async () => {
    const { serverSide, clientSide } = await connectBoth(hostCredentials);
    const clock = new ManualClock(Date.now());
    const expiry = new X509Certificate(hostCredentials.certificatePem).validToDate.getTime();
    const closed = once(clientSide, 'close');
    endAtExpiry(serverSide, clock);
    await clock.advance(expiry - clock.wallMilliseconds() - 1);
    expect(serverSide.destroyed).toBe(false);
    await clock.advance(1);
    expect(serverSide.destroyed).toBe(true);
    await closed;
  });

  it('ends soon after the wall clock was set beyond the expiry', async () => {
    const { serverSide } = await connectBoth(hostCredentials);
    const clock = new ManualClock(Date.now());
    endAtExpiry(serverSide, clock);
    clock.setWall(Date.now() + 2 * 3_600_000);
    await clock.advance(60_000);
    expect(serverSide.destroyed).toBe(true);
  });
});

/** What somebody with the authority's key, but not our code, could make. */
async function signedByAuthority(uri: string): Promise<Credentials> {
  const x509 = await loadX509();
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    subject: 'CN=forged',
    issuer: new x509.X509Certificate(cluster.authority.certificatePem).subjectName,
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 60_000),
    publicKey: keys.publicKey,
    signingKey: await importPrivateKey(cluster.authorityPrivateKeyPem),
    signingAlgorithm,
    extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'url', value: uri }])],
  });
  return { certificatePem: certificate.toString('pem'), privateKeyPem: await exportPrivateKey(keys.privateKey), authorities: nameServer.authorities };
}
