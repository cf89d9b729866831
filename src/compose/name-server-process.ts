import { randomBytes, X509Certificate } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import type { Denial } from '../model/access.ts';
import { newIdentifier } from '../model/identifiers.ts';
import type { Cluster } from '../model/records.ts';
import type { Clock } from '../ports/clock.ts';
import { enrolLocalHost, ensureCluster } from '../nameserver/enrolment.ts';
import type { HostApplication } from '../nameserver/enrolment.ts';
import { createNameServer } from '../nameserver/name-server.ts';
import type { CertificateIssuer, NameServer } from '../nameserver/name-server.ts';
import { issueCheckpoint } from '../pki/checkpoint.ts';
import { hostUri, userUri } from '../pki/identity.ts';
import type { CredentialsHolder } from '../pki/credentials.ts';
import { issuePass } from '../pki/pass.ts';
import { issueTicket } from '../pki/ticket.ts';
import { joinServerTlsOptions } from '../pki/tls.ts';
import type { JoinAnswer, Routes } from '../protocol/routes.ts';
import { routes } from '../protocol/routes.ts';
import { createServer } from '../protocol/server.ts';
import type { Refusal, ServerOptions } from '../protocol/server.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import type { Log } from '../agent/context.ts';
import { openClusterAuthority } from './cluster-authority.ts';
import type { ClusterAuthority } from './cluster-authority.ts';
import { createStandStill, withPlaces } from './fault-injection.ts';
import { closeServer, createConnections, createTlsServer, identifyCaller, listenLocally, listenOnPort, watchConnections } from './listeners.ts';
import { createMasterKeySource } from './master-key.ts';
import { keepRenewed } from './renewal.ts';
import type { Settings } from './settings.ts';

const ticketMilliseconds = 10 * 60_000;

export interface NameServerProcessOptions {
  directory: string;
  socketPath: string;
  clusterName: string;
  host: string;
  port: number;
  joinPort: number;
  version: string;
  clock: Clock;
  log: Log;
  settings: Settings;
}

export interface NameServerProcess {
  cluster: Cluster;
  /** host:port of the API. */
  address: string;
  /** For this host itself; with its identifier if it has one. */
  enrolLocalHost(application: HostApplication, id: string | null): Promise<JoinAnswer>;
  stop(): Promise<void>;
}

/** Brings the name server up on its ports: the API (certificates on both sides), joining (a token), and the local socket (root). */
export async function startNameServer(options: NameServerProcessOptions): Promise<NameServerProcess> {
  const { clock, log, settings, version } = options;
  await mkdir(options.directory, { recursive: true, mode: 0o700 });
  const store = openSqliteStore({ path: join(options.directory, 'store.db'), clock });
  const { certificateLifetimeMilliseconds } = settings;
  const authority = await openClusterAuthority({ ...options, certificateLifetimeMilliseconds });
  const { cluster, holder } = authority;
  const address = `${options.host}:${options.port}`;
  const onDefect = (error: unknown): void => log.error({ error: inspect(error) }, 'defect in the name server');
  const nameServer = await createNameServer({
    store,
    clock,
    random: randomBytes,
    issuer: createIssuer(authority, clock, certificateLifetimeMilliseconds),
    masterKeys: createMasterKeySource(options),
    address,
    joinAddress: `${options.host}:${options.joinPort}`,
    sessionMilliseconds: settings.sessionMilliseconds,
    takeoverMarginMilliseconds: settings.takeoverMarginMilliseconds,
    replicaGraceMilliseconds: settings.replicaGraceMilliseconds,
    onDefect,
  });
  await ensureCluster(nameServer.context, cluster);
  const onRefusal = (refusal: Refusal): void => nameServer.context.refusals.note(refusal, nameServer.context.repository.now());
  let denied: Denial[] = [];
  const connections = createConnections({ holder, clock, denials: () => denied });
  const application = await createServer({
    routes,
    handlers: withPlaces(nameServer.handlers, createStandStill(settings.standStillFile)),
    identify: (request) => identifyCaller(request, { cluster: cluster.id, clock }),
    serverFactory: (handler) => {
      const server = createTlsServer(handler, holder);
      watchConnections(server, clock, connections);
      return server;
    },
    onDefect,
    onRefusal,
    version,
  });
  const joining = await createJoiningServer(nameServer, holder, { onDefect, onRefusal, version });
  await listenOnPort(application.server, options.port);
  await listenOnPort(joining.server, options.joinPort);
  const local = await listenLocally((request, response) => application.routing(request, response), options.socketPath);
  const stopping = new AbortController();
  const running = Promise.all([
    nameServer.run(stopping.signal),
    keepRenewed({ holder, clock, jitter: Math.random(), log, renew: () => authority.renew(), signal: stopping.signal }),
    nameServer.followDenials(stopping.signal, (denials) => {
      denied = denials;
      connections.recheck();
    }),
  ]);
  log.info({ address, cluster: cluster.name }, 'name server is up');
  return {
    cluster,
    address,
    enrolLocalHost: (applicant, id) => enrolLocalHost(nameServer.context, applicant, id),
    stop: async () => {
      stopping.abort();
      await Promise.all([closeServer(application.server), closeServer(joining.server), closeServer(local)]);
      await running;
      await store.close();
    },
  };
}

/** The port for those who have no certificate yet, and prove themselves by a token. */
function createJoiningServer(
  { handlers }: NameServer,
  holder: CredentialsHolder,
  telling: Pick<ServerOptions<Routes>, 'onDefect' | 'onRefusal' | 'version'>,
): ReturnType<typeof createServer> {
  return createServer({
    routes: { join: routes.join, login: routes.login },
    handlers: { join: handlers.join, login: handlers.login },
    identify: () => ({ caller: 'guest', host: null, certificate: null }),
    serverFactory: (handler) => {
      const server = createTlsServer(handler, holder, joinServerTlsOptions);
      // Anybody may connect here: few at once, and not for long.
      server.maxConnections = 64;
      server.headersTimeout = 10_000;
      server.requestTimeout = 20_000;
      server.keepAliveTimeout = 1000;
      return server;
    },
    ...telling,
  });
}

function createIssuer({ cluster, keeper, holder }: ClusterAuthority, clock: Clock, lifetimeMilliseconds: number): CertificateIssuer {
  return {
    issueHostCertificate: async (host, request) => {
      const certificate = await keeper.signing.issueForRequest(request, { subjectUri: hostUri(cluster.id, host), lifetimeMilliseconds });
      const { serialNumber, validToDate } = new X509Certificate(certificate);
      return { certificate, serial: serialNumber, expiresAt: validToDate.toISOString() };
    },
    issueUserCertificate: (user, request, milliseconds) =>
      keeper.signing.issueForRequest(request, { subjectUri: userUri(cluster.id, user), lifetimeMilliseconds: milliseconds }),
    lifetimeMilliseconds,
    authorities: () => keeper.certificates,
    fingerprint: () => keeper.signing.fingerprint,
    phase: () => keeper.phase,
    rotation: { introduce: () => keeper.introduce(), promote: () => keeper.promote(), retire: () => keeper.retire() },
    signTicket: (claims) =>
      issueTicket(holder.current, { ...claims, id: newIdentifier('tkt'), expires: clock.wallMilliseconds() + ticketMilliseconds }),
    signCheckpoint: (claims) => issueCheckpoint(holder.current, claims),
    signPass: (claims) => issuePass(holder.current, claims),
  };
}
