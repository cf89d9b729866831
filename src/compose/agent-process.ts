import { randomBytes, X509Certificate } from 'node:crypto';
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { Agent } from '../agent/agent.ts';
import type { AgentOptions, Log } from '../agent/context.ts';
import { LocalState } from '../agent/local-state.ts';
import { createDockerPlugin } from '../docker-plugin/server.ts';
import { listenOnPluginSocket } from '../docker-plugin/socket.ts';
import { createBtrfsDriver } from '../drivers/btrfs/driver.ts';
import { EncryptedDriver } from '../drivers/encrypted/driver.ts';
import { SupercargoError } from '../model/errors.ts';
import type { Host } from '../model/records.ts';
import { loadCredentials, saveCredentials } from '../pki/credentials-file.ts';
import { CredentialsHolder } from '../pki/credentials.ts';
import type { Credentials } from '../pki/credentials.ts';
import type { Identity } from '../pki/identity.ts';
import { createKeyAndRequest } from '../pki/request.ts';
import { verifyTicket } from '../pki/ticket.ts';
import { clientTlsOptions } from '../pki/tls.ts';
import type { Clock } from '../ports/clock.ts';
import type { ContainerEngine } from '../ports/container-engine.ts';
import type { VolumeDriver } from '../ports/driver.ts';
import { createClient } from '../protocol/client.ts';
import type { Client } from '../protocol/client.ts';
import { peerRoutes } from '../protocol/peer-routes.ts';
import { routes } from '../protocol/routes.ts';
import type { Routes } from '../protocol/routes.ts';
import { splitAddress, tlsTransport } from '../protocol/transport.ts';
import type { Transport } from '../protocol/transport.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { createDockerEngine } from '../system/docker-engine.ts';
import { createHostSystem } from '../system/host-system.ts';
import { keepDiscovered } from './engine-discovery.ts';
import { createCrashPoint, createStreamCorruption } from './fault-injection.ts';
import { createHostCipher } from './guard-process.ts';
import { startGuardians } from './guardians.ts';
import type { Guardians } from './guardians.ts';
import { closeServer, listenOnPort } from './listeners.ts';
import { listenForOperator } from './local-api.ts';
import { createPeerServer } from './peer-server.ts';
import { keepRenewed } from './renewal.ts';
import type { Settings } from './settings.ts';
import type { HostFile, StateDirectory } from './state-directory.ts';
import { volumeSecrets } from './volume-secrets.ts';

export interface AgentProcessOptions {
  directory: StateDirectory;
  host: HostFile;
  poolSizeBytes: number | null;
  pluginSocket: string;
  socketPath: string;
  runDirectory: string;
  version: string;
  clock: Clock;
  log: Log;
  settings: Settings;
}

export interface AgentProcess {
  stop(): Promise<void>;
}

/** Brings the agent up: pool, port for other agents, Docker's plugin socket, root's socket. */
export async function startAgent(options: AgentProcessOptions): Promise<AgentProcess> {
  const { directory, host, clock, log, version, settings } = options;
  const holder = new CredentialsHolder(await requireCredentials(directory));
  const nameServer = connect(host.nameServer, holder, { kind: 'name-server', cluster: host.cluster.id }, 'The name server');
  const client = createClient(routes, nameServer);
  const peers = new Peers(holder, host.cluster.id);
  const state = await LocalState.open(openSqliteStore({ path: join(directory.agent, 'agent.db'), clock }), clock);
  const engine = createDockerEngine();
  if (settings.acceptOlderNameServer) await state.acceptOlderRevision();
  const pool = createDriver(options);
  const cipher = createHostCipher(options);
  const driver = new EncryptedDriver(pool, cipher, volumeSecrets(state, client));
  const guardians = startGuardians({ directory, runDirectory: options.runDirectory, driver: pool, cipher, clock, log });
  const agent = new Agent(agentOptions(options, { state, client, holder, peers, engine, driver, guardians }));
  await agent.start();
  await chmod(directory.pool, 0o700);
  const peerServer = await createPeerServer({
    transfers: agent.transfers,
    onStream: createStreamCorruption(settings.corruptStreams),
    holder,
    cluster: host.cluster.id,
    clock,
    version,
    log,
  });
  await listenOnPort(peerServer.server, splitAddress(host.address).port);
  const status = async (): Promise<StatusAnswer> => ({
    cluster: host.cluster.name,
    host: { id: host.id, name: host.name, address: host.address },
    version,
    nameServer: { address: host.nameServer, connected: agent.connected, problem: agent.problem },
    certificateExpiresAt: new X509Certificate(holder.current.certificatePem).validToDate.toISOString(),
    ...(await agent.status()),
  });
  const local = await listenForOperator({ socketPath: options.socketPath, handlers: { getStatus: status }, nameServer, version });
  const plugin = await listenOnPluginSocket(createDockerPlugin({ verbs: agent.verbs, log }), options.pluginSocket);
  const stopping = new AbortController();
  const renewing = keepRenewed({
    holder,
    clock,
    jitter: Math.random(),
    log,
    renew: () => renew(client, directory),
    signal: stopping.signal,
  });
  const discovering = keepDiscovered({ engine, clock, log, signal: stopping.signal });
  log.info({ host: host.name, address: host.address, settings: settings.mountDeadlineMilliseconds }, 'agent is up');
  return {
    stop: async () => {
      stopping.abort();
      await plugin.close(AbortSignal.timeout(5000));
      await Promise.all([peerServer.close(), closeServer(local)]);
      await agent.stop();
      await guardians.stop();
      peers.close();
      nameServer.close();
      await Promise.all([renewing, discovering]);
    },
  };
}

type StatusAnswer = Awaited<ReturnType<Parameters<typeof listenForOperator>[0]['handlers']['getStatus']>>;

function agentOptions(
  options: AgentProcessOptions,
  parts: {
    state: LocalState;
    client: Client<Routes>;
    holder: CredentialsHolder;
    peers: Peers;
    engine: ContainerEngine;
    driver: EncryptedDriver;
    guardians: Guardians;
  },
): AgentOptions {
  const { directory, host, clock, log, settings, version } = options;
  const { state, client, holder, peers, engine, driver, guardians } = parts;
  const warn = (message: string): void => log.warn({}, message);
  return {
    self: { id: host.id, name: host.name },
    address: host.address,
    version,
    clock,
    random: randomBytes,
    log,
    driver,
    rekeyLive: (volume) => driver.rekeyLive(volume),
    fence: guardians.fence,
    guardians: guardians.all,
    system: createHostSystem({ log: warn }),
    engine,
    state,
    nameServer: client,
    connectToPeer: (peer) => peers.connect(peer),
    verifyTicket: (ticket, destination) => verifyTicket(ticket, { authorities: holder.current.authorities, clock, source: host.id, destination }),
    mountDirectory: directory.mounts,
    mountDeadlineMilliseconds: settings.mountDeadlineMilliseconds,
    crashPoint: createCrashPoint(settings.crashAt, directory.root),
  };
}

function createDriver({ directory, host, poolSizeBytes, log }: AgentProcessOptions): VolumeDriver {
  const source =
    host.poolDevice === null
      ? { kind: 'file' as const, path: directory.poolFile, sizeBytes: poolSizeBytes }
      : { kind: 'device' as const, path: host.poolDevice };
  return createBtrfsDriver({ directory: directory.pool, source, log: (message) => log.warn({}, message) });
}

/** Connections to other agents, one a host and address, kept open. */
class Peers {
  readonly #holder: CredentialsHolder;
  readonly #cluster: string;
  readonly #open = new Map<string, ReturnType<AgentOptions['connectToPeer']>>();

  constructor(holder: CredentialsHolder, cluster: string) {
    this.#holder = holder;
    this.#cluster = cluster;
  }

  connect(peer: Host): ReturnType<AgentOptions['connectToPeer']> {
    const key = `${peer.id} ${peer.address}`;
    let connection = this.#open.get(key);
    if (connection === undefined) {
      const transport = connect(peer.address, this.#holder, { kind: 'host', cluster: this.#cluster, id: peer.id }, peer.name, 'host-unreachable');
      connection = { transport, client: createClient(peerRoutes, transport) };
      this.#open.set(key, connection);
    }
    return connection;
  }

  close(): void {
    for (const { transport } of this.#open.values()) transport.close();
  }
}

function connect(
  address: string,
  holder: CredentialsHolder,
  expectedIdentity: Identity,
  title: string,
  unreachable: 'name-server-unreachable' | 'host-unreachable' = 'name-server-unreachable',
): Transport {
  return tlsTransport(address, () => clientTlsOptions({ credentials: holder.current, expectedIdentity }), {
    title: `${title} (${address})`,
    unreachable,
    hint: `Check that Supercargo runs there and that the network between the hosts works.`,
  });
}

async function requireCredentials(directory: StateDirectory): Promise<Credentials> {
  const credentials = await loadCredentials(directory.agent);
  if (credentials === undefined) {
    throw new SupercargoError('wrong-state', 'This host has no certificate.', {
      hint: 'Join the cluster again: supercargo invite on the first host prints how.',
    });
  }
  return credentials;
}

/** A new key each time: a key that leaked is worth little for long. */
async function renew(client: Client<Routes>, directory: StateDirectory): Promise<Credentials> {
  const { privateKeyPem, requestPem } = await createKeyAndRequest();
  const { certificate, authorities } = await client.renewCertificate({ body: { request: requestPem } });
  const credentials = { privateKeyPem, certificatePem: certificate, authorities };
  await saveCredentials(directory.agent, credentials);
  return credentials;
}
