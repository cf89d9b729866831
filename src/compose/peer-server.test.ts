import { once } from 'node:events';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import tls from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { TransferServer } from '../agent/transfer-server.ts';
import type { Denial } from '../model/access.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { CredentialsHolder } from '../pki/credentials.ts';
import type { Credentials } from '../pki/credentials.ts';
import type { Identity } from '../pki/identity.ts';
import type { LiveConnections } from '../pki/live-connections.ts';
import { createTestCluster } from '../pki/test-cluster.ts';
import type { TestCluster } from '../pki/test-cluster.ts';
import { framedProtocol } from '../protocol/framing.ts';
import { snapshotStreamPath } from '../protocol/peer-routes.ts';
import { systemClock } from '../system/clock.ts';
import { X509Certificate } from 'node:crypto';
import { clientTlsOptions } from '../pki/tls.ts';
import { createConnections, listenOnPort } from './listeners.ts';
import { createPeerServer } from './peer-server.ts';
import type { PeerServer } from './peer-server.ts';
import { Peers } from './peers.ts';

type Host = Identity & { kind: 'host' };
let cluster: TestCluster;
let source: Host;
let destination: Host;
let credentials: Credentials;
let denied: Denial[];
let connections: LiveConnections;
let holder: CredentialsHolder;
let peer: PeerServer;
let port: number;
const sockets: Socket[] = [];

beforeEach(async () => {
  cluster = await createTestCluster(systemClock);
  [source, destination] = [cluster.newHost(), cluster.newHost()];
  credentials = await cluster.credentialsFor(destination);
  denied = [];
  holder = new CredentialsHolder(await cluster.credentialsFor(source));
  connections = createConnections({ holder, clock: systemClock, denials: () => denied });
  // A stream that begins and never ends, as one over a slow network.
  const transfers = {
    handlers: () => ({ health: async () => ({ host: source.id }), prepareRound: () => Promise.reject(new Error('not asked for')) }),
    stream: async (_: unknown, sink: { flushHeaders(): void }) => sink.flushHeaders(),
  } as unknown as TransferServer;
  const silent = () => undefined;
  peer = await createPeerServer({
    transfers,
    onStream: silent,
    holder,
    cluster: cluster.id,
    connections,
    denials: () => denied,
    clock: systemClock,
    version: '1',
    log: { debug: silent, info: silent, warn: silent, error: silent },
  });
  await listenOnPort(peer.server, 0);
  ({ port } = peer.server.address() as AddressInfo);
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await peer.close();
});

const denial = (subject: Denial['subject'], value: string): Denial => {
  const at = '2026-01-01T00:00:00Z';
  return { id: newIdentifier('dny'), subject, value, reason: 'stolen', actor: 'operator', at, until: at };
};
const serialOf = ({ certificatePem }: Credentials): string => new X509Certificate(certificatePem).serialNumber;

/** One request on a connection of its own. @returns the status */
async function ask(by = credentials): Promise<number | undefined> {
  const options = clientTlsOptions({ credentials: by, expectedIdentity: source });
  const request = https.get({ ...options, agent: false, host: '127.0.0.1', port, path: '/v1/peer/health' });
  const [response] = (await once(request, 'response')) as [{ statusCode?: number; destroy(): void }];
  response.destroy();
  return response.statusCode;
}

/** Begins a stream. @returns its connection */
async function stream(by = credentials): Promise<Socket> {
  const path = snapshotStreamPath(newIdentifier('snp'), null, 0);
  const headers = { connection: 'upgrade', upgrade: framedProtocol };
  const options = clientTlsOptions({ credentials: by, expectedIdentity: source });
  const request = https.get({ ...options, agent: false, host: '127.0.0.1', port, path, headers });
  const [, socket] = (await once(request, 'upgrade')) as [unknown, Socket];
  socket.on('error', () => undefined);
  socket.resume();
  sockets.push(socket);
  return socket;
}

describe.each(['host', 'certificate'] as const)('a %s that is denied', (subject) => {
  const deny = (): void => void (denied = [denial(subject, subject === 'host' ? destination.id : serialOf(credentials))]);

  it('is refused by its request, and its stream is cut at once; others go on', async () => {
    const other = await stream(await cluster.credentialsFor(cluster.newHost()));
    const cut = await stream();
    expect(await ask()).toBe(200);
    const closed = once(cut, 'close');
    deny();
    connections.recheck();
    await closed;
    expect(await ask()).toBe(403);
    expect([other.destroyed, other.readyState]).toEqual([false, 'open']);
  });
});

describe('a client that had a good connection, and kept its TLS session', () => {
  /** What a server offers for going on later without a certificate. */
  async function keepSessions(by: Credentials): Promise<Buffer[]> {
    const socket = await enter(by);
    const sessions: Buffer[] = [];
    socket.on('session', (offered: Buffer) => sessions.push(offered));
    const own = socket.getSession();
    if (own !== undefined) sessions.push(own);
    socket.write('GET /v1/peer/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
    expect(await text(socket)).toContain(' 200 ');
    expect(sessions.length).toBeGreaterThan(0);
    return sessions;
  }

  async function enter(by: Credentials, session?: Buffer): Promise<TLSSocket> {
    const socket = tls.connect({ ...clientTlsOptions({ credentials: by, expectedIdentity: source }), host: '127.0.0.1', port, session });
    sockets.push(socket);
    socket.on('error', () => undefined);
    await new Promise((resolve) => socket.once('secureConnect', resolve).once('close', resolve));
    return socket;
  }

  /** @returns what it is answered with the session; nothing if it does not get past the handshake */
  async function answerTo(by: Credentials, session: Buffer): Promise<string> {
    const socket = await enter(by, session);
    expect(socket.isSessionReused()).toBe(false);
    socket.write('GET /v1/peer/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n');
    return text(socket).catch(() => '');
  }

  it('does not get past the handshake once its certificate has expired', async () => {
    const brief = await cluster.credentialsFor(destination, { lifetimeMilliseconds: 2000 });
    const sessions = await keepSessions(brief);
    const { validToDate } = new X509Certificate(brief.certificatePem);
    while (validToDate.getTime() >= Date.now()) await systemClock.sleep(50);
    for (const session of sessions) expect(await answerTo(brief, session)).toBe('');
  });

  it.each(['host', 'certificate'] as const)('is refused once its %s is denied', async (subject) => {
    const sessions = await keepSessions(credentials);
    denied = [denial(subject, subject === 'host' ? destination.id : serialOf(credentials))];
    for (const session of sessions) expect(await answerTo(credentials, session)).toContain(' 403 ');
  });
});

it('a host whose certificate alone is denied goes on with another one', async () => {
  denied = [denial('certificate', serialOf(credentials))];
  expect(await ask()).toBe(403);
  expect(await ask(await cluster.credentialsFor(destination))).toBe(200);
});

it('connections by certificates of an authority that is gone are cut', async () => {
  const closed = once(await stream(), 'close');
  const next = await createTestCluster(systemClock, cluster.id);
  holder.replace(await next.credentialsFor(source));
  await closed;
});

describe('whoever calls', () => {
  const call = (id: string) => {
    const caller = new CredentialsHolder(credentials);
    const outgoing = createConnections({ holder: caller, clock: systemClock, denials: () => denied });
    const peers = new Peers({ holder: caller, cluster: cluster.id, connections: outgoing, denials: () => denied });
    const host = { id, name: 'h', address: `127.0.0.1:${port}`, version: '1', pool: null, joinedAt: '', state: 'active' as const, labels: {} };
    return { peers, outgoing, connect: () => peers.connect(host) };
  };

  it('does not call a host that is denied, nor talks to a certificate that is', async () => {
    const { peers, connect } = call(source.id);
    expect(await connect().client.health({})).toEqual({ host: source.id });
    denied = [denial('host', source.id)];
    expect(connect).toThrow('denied');
    denied = [denial('certificate', serialOf(holder.current))];
    peers.close();
    await expect(connect().client.health({})).rejects.toMatchObject({ code: 'host-unreachable', message: expect.stringContaining('denied') });
  });

  it('cuts what goes on with a host that is denied', async () => {
    const { connect, outgoing } = call(source.id);
    const path = snapshotStreamPath(newIdentifier('snp'), null, 0);
    const answer = await connect().transport.stream({ method: 'GET', path });
    const ended = once(answer, 'close').catch(() => undefined);
    answer.on('error', () => undefined);
    answer.resume();
    denied = [denial('host', source.id)];
    outgoing.recheck();
    await ended;
    expect(answer.destroyed).toBe(true);
  });

  it('takes the certificate of a host for that host alone, whatever its address', async () => {
    await expect(call(cluster.newHost().id).connect().client.health({})).rejects.toMatchObject({ code: 'host-unreachable' });
  });
});
