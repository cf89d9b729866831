import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer as createTcpServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import tls from 'node:tls';
import type { Log } from '../agent/context.ts';
import type { TransferServer } from '../agent/transfer-server.ts';
import { createDockerPlugin } from '../docker-plugin/server.ts';
import { listenOnPluginSocket } from '../docker-plugin/socket.ts';
import { FakeVerbs, openToAll } from '../docker-plugin/test-verbs.ts';
import { serveGuard } from '../guard/guard-server.ts';
import { SupercargoError } from '../model/errors.ts';
import { CredentialsHolder } from '../pki/credentials.ts';
import type { Credentials } from '../pki/credentials.ts';
import type { Identity } from '../pki/identity.ts';
import { createKeyAndRequest } from '../pki/request.ts';
import { clientTlsOptions } from '../pki/tls.ts';
import { unixTransport } from '../protocol/transport.ts';
import { systemClock } from '../system/clock.ts';
import { createConnections, listenOnPort } from './listeners.ts';
import { listenForOperator } from './local-api.ts';
import { startNameServer } from './name-server-process.ts';
import { createPeerServer } from './peer-server.ts';
import { readSettings } from './settings.ts';

/** A place where bytes come in from outside. */
export interface Door {
  speaks: 'http' | 'lines';
  /** Calls that it takes, so that hostile ones get further than to "there is no such call". */
  paths: string[];
  /** A bare connection, before anything is said. */
  dial(): Socket;
  /** Resolves with a connection that is through whatever comes before the bytes. */
  connect(): Promise<Socket>;
  /** @throws unless a call as it should be is answered as it should be */
  works(): Promise<void>;
}

export const doorNames = [
  'the socket of the volume plugin',
  'the socket of the authorization plugin',
  'the socket of an agent',
  'the socket of the name server',
  'the socket of the guard',
  'the port of the name server',
  'the port of the name server, for a host',
  'the port for newcomers',
  'the port for newcomers, for a guest',
  'the port of an agent',
  'the port of an agent, for another',
] as const;
export type DoorName = (typeof doorNames)[number];

interface HowToEnter {
  speaks?: 'lines';
  paths: string[];
  /** How its TLS is passed; none: the bytes go to the connection itself. */
  inside?: tls.ConnectionOptions;
  /** A call as it should be, and its answer. */
  call: Buffer;
  answer: RegExp;
}

/** For tests: every server of ours that listens anywhere, as the program makes it, over what is behind it in the smallest form that answers. */
export class DoorSet {
  /** What was logged as an error of ours. */
  readonly defects: unknown[] = [];
  readonly #doors = new Map<DoorName, Door>();
  readonly #closers: (() => unknown)[] = [];
  readonly #directory = mkdtempSync(join(tmpdir(), 'supercargo-doors-'));

  static async open(): Promise<DoorSet> {
    const set = new DoorSet();
    await set.#openPlugins();
    await set.#openNameServerAndAgent();
    await set.#openGuard();
    return set;
  }

  door(name: DoorName): Door {
    const door = this.#doors.get(name);
    if (door === undefined) throw new Error(`there is no door ${name}`);
    return door;
  }

  async close(): Promise<void> {
    for (const close of this.#closers.toReversed()) await close();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  get #log(): Log {
    const silent = (): void => undefined;
    return { debug: silent, info: silent, warn: silent, error: (details, message) => void this.defects.push([message, details]) };
  }

  #add(name: DoorName, connectTo: () => Socket, door: HowToEnter): void {
    const dial = (): Socket => connectTo().on('error', () => undefined);
    const open = async (): Promise<Socket> => {
      const socket = door.inside === undefined ? dial() : tls.connect({ ...door.inside, socket: dial() });
      socket.on('error', () => undefined);
      await once(socket, door.inside === undefined ? 'connect' : 'secureConnect');
      return socket;
    };
    const works = async (): Promise<void> => {
      const socket = await open();
      socket.end(door.call);
      const answer = await text(socket);
      if (!door.answer.test(answer)) throw new Error(`${name} answered: ${answer.slice(0, 1000)}`);
    };
    this.#doors.set(name, { speaks: door.speaks ?? 'http', paths: door.paths, dial, connect: open, works });
  }

  async #openPlugins(): Promise<void> {
    const refused = (): Promise<never> => Promise.reject(new SupercargoError('forbidden', 'It is not allowed.'));
    const gate = { guarding: true, create: refused, created: async () => undefined, start: refused, use: refused, isProtected: () => true };
    const nothing = async (): Promise<null> => null;
    const guarding = { gate, engine: { inspectContainer: nothing, inspectVolume: nothing }, driver: 'supercargo' };
    const [volume, authorization] = [join(this.#directory, 'volume.sock'), join(this.#directory, 'authorization.sock')];
    for (const [path, how] of [
      [volume, openToAll],
      [authorization, guarding],
    ] as const) {
      const socket = await listenOnPluginSocket(createDockerPlugin({ verbs: new FakeVerbs(), ...how, log: this.#log }), path);
      this.#closers.push(() => socket.close(AbortSignal.abort()));
    }
    this.#add('the socket of the volume plugin', () => connect(volume), {
      paths: ['/VolumeDriver.Create', '/VolumeDriver.Mount', '/VolumeDriver.Get'],
      call: request('POST /VolumeDriver.Capabilities', '{}'),
      answer: / 200 [^]*"Scope":"global"/,
    });
    this.#add('the socket of the authorization plugin', () => connect(authorization), {
      paths: ['/AuthZPlugin.AuthZReq', '/AuthZPlugin.AuthZRes'],
      call: request('POST /AuthZPlugin.AuthZReq', '{"RequestMethod":"GET","RequestUri":"/_ping"}'),
      answer: / 200 [^]*"Allow":true/,
    });
  }

  async #openNameServerAndAgent(): Promise<void> {
    const socketPath = join(this.#directory, 'name-server.sock');
    const [port, joinPort] = [await freePort(), await freePort()];
    const nameServer = await startNameServer({
      directory: join(this.#directory, 'name-server'),
      socketPath,
      clusterName: 'test',
      host: '127.0.0.1',
      port,
      joinPort,
      version: 'test',
      clock: systemClock,
      log: this.#log,
      settings: readSettings({}),
    });
    this.#closers.push(() => nameServer.stop());
    const { privateKeyPem, requestPem } = await createKeyAndRequest();
    const { host, certificate, authorities } = await nameServer.enrolLocalHost({ name: 'h1', address: '127.0.0.1:1', request: requestPem }, null);
    const credentials = { privateKeyPem, certificatePem: certificate, authorities };
    const cluster = nameServer.cluster.id;
    const expectedIdentity: Identity = { kind: 'name-server', cluster };
    const door = { paths: ['/v1/volumes', '/v1/heartbeat', '/v1/volumes/x/key'], call: request('GET /v1/volumes'), answer: / 200 [^]*"items":\[/ };
    this.#add('the socket of the name server', () => connect(socketPath), { ...door, paths: ['/v1/volumes', '/v1/projects', '/v1/grants'] });
    this.#addPort('the port of the name server', port, { ...door, inside: clientTlsOptions({ credentials, expectedIdentity }) });
    this.#addPort('the port for newcomers', joinPort, {
      paths: ['/v1/join', '/v1/login'],
      call: request('POST /v1/join', '{}'),
      answer: / 400 [^]*invalid-request/,
      inside: clientTlsOptions({ authorities, expectedIdentity }),
    });
    await this.#openAgent({ socketPath, cluster, host: host.id, credentials });
  }

  /** The two doors of one port: to its TLS, and through it. */
  #addPort(name: 'the port of the name server' | 'the port for newcomers' | 'the port of an agent', port: number, door: HowToEnter): void {
    const within = {
      'the port of the name server': ', for a host',
      'the port for newcomers': ', for a guest',
      'the port of an agent': ', for another',
    } as const;
    const through = `${name}${within[name]}` as DoorName;
    this.#add(through, () => connect(port, '127.0.0.1'), door);
    const { inside: _, ...bare } = door;
    this.#add(name, () => connect(port, '127.0.0.1'), bare);
    // Whether it works still shows behind its TLS.
    this.#doors.set(name, { ...this.door(name), works: () => this.door(through).works() });
  }

  async #openAgent(own: { socketPath: string; cluster: string; host: string; credentials: Credentials }): Promise<void> {
    const path = join(this.#directory, 'agent.sock');
    const status = { cluster: 'test', version: 'test', certificateExpiresAt: '', pool: null, volumes: [] };
    const server = await listenForOperator({
      socketPath: path,
      handlers: {
        diffSnapshots: async () => ({ changes: [], total: 0, bytes: 0 }),
        getStatus: async () => ({
          ...status,
          host: { id: '', name: 'h1', address: '' },
          nameServer: { address: '', connected: true, problem: null },
        }),
      },
      nameServer: unixTransport(own.socketPath, { title: 'the name server', unreachable: 'name-server-unreachable', hint: '' }),
      version: 'test',
    });
    this.#closers.push(
      () => server.closeAllConnections(),
      () => server.close(),
    );
    this.#add('the socket of an agent', () => connect(path), {
      paths: ['/v1/local/status', '/v1/volumes', '/v1/projects'],
      call: request('GET /v1/local/status'),
      answer: / 200 [^]*"name":"h1"/,
    });
    const holder = new CredentialsHolder(own.credentials);
    const peer = await createPeerServer({
      transfers: {
        handlers: () => ({ health: async () => ({ host: own.host }), prepareRound: () => Promise.reject(new SupercargoError('not-found', 'none')) }),
        stream: () => Promise.reject(new SupercargoError('not-found', 'There is no such snapshot.')),
      } as unknown as TransferServer,
      onStream: () => undefined,
      holder,
      cluster: own.cluster,
      connections: createConnections({ holder, clock: systemClock, denials: () => [] }),
      denials: () => [],
      clock: systemClock,
      version: 'test',
      log: this.#log,
    });
    this.#closers.push(() => peer.close());
    await listenOnPort(peer.server, 0);
    const expectedIdentity: Identity = { kind: 'host', cluster: own.cluster, id: own.host };
    this.#addPort('the port of an agent', (peer.server.address() as AddressInfo).port, {
      paths: ['/v1/peer/health', '/v1/peer/rounds'],
      call: request('GET /v1/peer/health'),
      answer: new RegExp(` 200 [^]*${own.host}`),
      inside: clientTlsOptions({ credentials: own.credentials, expectedIdentity }),
    });
  }

  async #openGuard(): Promise<void> {
    const socketPath = join(this.#directory, 'guard.sock');
    const guard = { hold: async () => undefined, drop: async () => undefined, states: () => [] };
    const server = await serveGuard({ guard, socketPath, version: 'test', log: this.#log, onEnd: () => undefined });
    this.#closers.push(() => server.close());
    this.#add('the socket of the guard', () => connect(socketPath), {
      paths: [],
      call: Buffer.from('{"id":7,"request":"states"}\n'),
      answer: /^\{"id":7,"states":\[\]\}\n$/,
      speaks: 'lines',
    });
  }
}

function request(line: string, body = ''): Buffer {
  const headers = ['host: x', 'connection: close', ...(body === '' ? [] : ['content-type: application/json', `content-length: ${body.length}`])];
  return Buffer.from(`${[`${line} HTTP/1.1`, ...headers].join('\r\n')}\r\n\r\n${body}`);
}

async function freePort(): Promise<number> {
  const server = createTcpServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
