import { randomBytes, X509Certificate } from 'node:crypto';
import { chmod } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Agent } from '../agent/agent.ts';
import { AuditSpool } from '../agent/audit-spool.ts';
import type { AgentOptions, GuardedPlaces, Log } from '../agent/context.ts';
import { LocalState } from '../agent/local-state.ts';
import { createDockerPlugin } from '../docker-plugin/server.ts';
import { listenOnPluginSocket } from '../docker-plugin/socket.ts';
import { createBtrfsDriver } from '../drivers/btrfs/driver.ts';
import { EncryptedDriver } from '../drivers/encrypted/driver.ts';
import type { VolumeSecrets } from '../drivers/encrypted/driver.ts';
import type { Denial } from '../model/access.ts';
import { verifyPass } from '../pki/pass.ts';
import { verifyTicket } from '../pki/ticket.ts';
import type { Clock } from '../ports/clock.ts';
import type { ContainerEngine } from '../ports/container-engine.ts';
import type { VolumeDriver } from '../ports/driver.ts';
import { createClient } from '../protocol/client.ts';
import type { Client } from '../protocol/client.ts';
import { routes } from '../protocol/routes.ts';
import type { Routes } from '../protocol/routes.ts';
import { splitAddress } from '../protocol/transport.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { bootIdentifier } from '../system/boot.ts';
import { createDockerEngine } from '../system/docker-engine.ts';
import { createHostSystem } from '../system/host-system.ts';
import { keepDiscovered } from './engine-discovery.ts';
import { createStandStill, createStreamCorruption } from './fault-injection.ts';
import { createGuardedPlaces } from './guarded-places.ts';
import { createHostCipher } from './guard-process.ts';
import { startGuardians } from './guardians.ts';
import type { Guardians } from './guardians.ts';
import { HostCredentials } from './host-credentials.ts';
import { closeServer, createConnections, listenOnPort } from './listeners.ts';
import { listenForOperator } from './local-api.ts';
import { createPeerServer } from './peer-server.ts';
import { Peers } from './peers.ts';
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
  const credentials = await HostCredentials.open(directory, host.cluster.id);
  const { holder } = credentials;
  const store = openSqliteStore({ path: join(directory.agent, 'agent.db'), clock });
  const state = await LocalState.open(store, clock);
  const audit = await AuditSpool.open(store, randomBytes, (error) => log.error({ error: String(error) }, 'a decision could not be put down'));
  const denials = (): Iterable<Denial> => state.access.denials();
  const connections = createConnections({ holder, clock, denials });
  state.access.onDenials(() => connections.recheck());
  const peers = new Peers({ holder, cluster: host.cluster.id, connections, denials });
  const nameServer = peers.connectToNameServer(host.nameServer);
  const client = createClient(routes, nameServer);
  const engine = createDockerEngine();
  if (settings.acceptOlderNameServer) await state.acceptOlderRevision();
  const { driver, guardians } = createStorage(options, volumeSecrets(state, client));
  const guardedPlaces = await createGuardedPlaces(options);
  const agent = new Agent(agentOptions(options, { state, audit, client, credentials, peers, engine, driver, guardians, guardedPlaces }));
  await agent.start();
  await chmod(directory.pool, 0o700);
  const peerServer = await createPeerServer({
    transfers: agent.transfers,
    onStream: createStreamCorruption(settings.corruptStreams),
    holder,
    cluster: host.cluster.id,
    connections,
    denials,
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
  const handlers = { getStatus: status, diffSnapshots: agent.difference };
  const local = await listenForOperator({ socketPath: options.socketPath, handlers, nameServer, version });
  const plugin = await listenOnPluginSocket(
    createDockerPlugin({ verbs: agent.verbs, gate: agent.gate, engine, driver: pluginName(options), log }),
    options.pluginSocket,
  );
  const stopping = new AbortController();
  const renewing = keepRenewed({
    holder,
    clock,
    jitter: Math.random(),
    log,
    renew: () => credentials.renew(client),
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
    audit: AuditSpool;
    client: Client<Routes>;
    credentials: HostCredentials;
    peers: Peers;
    engine: ContainerEngine;
    driver: EncryptedDriver;
    guardians: Guardians;
    guardedPlaces: GuardedPlaces;
  },
): AgentOptions {
  const { directory, host, clock, log, settings, version } = options;
  const { state, audit, client, credentials, peers, engine, driver, guardians, guardedPlaces } = parts;
  const { holder } = credentials;
  const warn = (message: string): void => log.warn({}, message);
  return {
    self: { id: host.id, name: host.name },
    address: host.address,
    version,
    boot: bootIdentifier(),
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
    audit,
    nameServer: client,
    connectToPeer: (peer) => peers.connect(peer),
    verifyTicket: (ticket, destination) => verifyTicket(ticket, { authorities: holder.current.authorities, clock, source: host.id, destination }),
    trust: credentials,
    verifyPass: (pass, now) => verifyPass(pass, { authorities: holder.current.authorities, clock: { wallMilliseconds: () => now }, host: host.id }),
    guardedPlaces,
    pluginName: pluginName(options),
    mountDirectory: directory.mounts,
    mountDeadlineMilliseconds: settings.mountDeadlineMilliseconds,
    crashPoint: createStandStill(settings.standStillFile),
  };
}

/** Engines call a plugin by the name of its socket. */
function pluginName({ pluginSocket }: AgentProcessOptions): string {
  return basename(pluginSocket, '.sock');
}

/** The pool with the encryption over it, and the guardians, who go past it. */
function createStorage(options: AgentProcessOptions, secrets: VolumeSecrets): { driver: EncryptedDriver; guardians: Guardians } {
  const { directory, runDirectory, clock, log } = options;
  const pool = createDriver(options);
  const cipher = createHostCipher(options);
  return {
    driver: new EncryptedDriver(pool, cipher, secrets),
    guardians: startGuardians({ directory, runDirectory, driver: pool, cipher, clock, log }),
  };
}

function createDriver({ directory, host, poolSizeBytes, log }: AgentProcessOptions): VolumeDriver {
  const source =
    host.poolDevice === null
      ? { kind: 'file' as const, path: directory.poolFile, sizeBytes: poolSizeBytes }
      : { kind: 'device' as const, path: host.poolDevice };
  return createBtrfsDriver({ directory: directory.pool, source, log: (message) => log.warn({}, message) });
}
