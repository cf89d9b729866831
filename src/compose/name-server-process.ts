import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { z } from 'zod';
import { newIdentifier } from '../model/identifiers.ts';
import { clusterRecord } from '../model/records.ts';
import type { Cluster } from '../model/records.ts';
import type { Clock } from '../ports/clock.ts';
import { enrolLocalHost, ensureCluster } from '../nameserver/enrolment.ts';
import type { HostApplication } from '../nameserver/enrolment.ts';
import { createNameServer } from '../nameserver/name-server.ts';
import type { CertificateIssuer } from '../nameserver/name-server.ts';
import { createAuthority, openAuthority } from '../pki/authority.ts';
import type { Authority } from '../pki/authority.ts';
import { CredentialsHolder } from '../pki/credentials.ts';
import type { Credentials } from '../pki/credentials.ts';
import { hostUri, nameServerUri } from '../pki/identity.ts';
import { issueTicket } from '../pki/ticket.ts';
import { joinServerTlsOptions } from '../pki/tls.ts';
import type { JoinAnswer } from '../protocol/routes.ts';
import { routes } from '../protocol/routes.ts';
import { createServer } from '../protocol/server.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import type { Log } from '../agent/context.ts';
import { closeServer, createTlsServer, endExpiredConnections, identifyCaller, listenLocally, listenOnPort } from './listeners.ts';
import { createMasterKeySource } from './master-key.ts';
import { keepRenewed } from './renewal.ts';
import type { Settings } from './settings.ts';
import { loadJson, saveJson } from './state-directory.ts';

const ticketMilliseconds = 10 * 60_000;

/** The authority of the cluster: made once, before anything else of it exists. Its key never leaves this file. */
const authorityFile = z.object({ cluster: clusterRecord, certificatePem: z.string(), privateKeyPem: z.string() });

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
  const { cluster, authority } = await openClusterAuthority(options);
  const issueOwn = (): Promise<Credentials> => issueOwnCredentials(authority, cluster, settings);
  const holder = new CredentialsHolder(await issueOwn());
  const address = `${options.host}:${options.port}`;
  const onDefect = (error: unknown): void => log.error({ error: inspect(error) }, 'defect in the name server');
  const nameServer = await createNameServer({
    store,
    clock,
    random: randomBytes,
    issuer: createIssuer(authority, cluster, holder, clock, settings),
    masterKeys: createMasterKeySource(options),
    address,
    joinAddress: `${options.host}:${options.joinPort}`,
    sessionMilliseconds: settings.sessionMilliseconds,
    takeoverMarginMilliseconds: settings.takeoverMarginMilliseconds,
    replicaGraceMilliseconds: settings.replicaGraceMilliseconds,
    onDefect,
  });
  await ensureCluster(nameServer.context, cluster);
  const application = await createServer({
    routes,
    handlers: nameServer.handlers,
    identify: (request) => identifyCaller(request, { cluster: cluster.id, clock }),
    serverFactory: (handler) => {
      const server = createTlsServer(handler, holder);
      endExpiredConnections(server, clock);
      return server;
    },
    onDefect,
    version,
  });
  const joining = await createServer({
    routes: { join: routes.join },
    handlers: { join: nameServer.handlers.join },
    identify: () => ({ caller: 'guest', host: null }),
    serverFactory: (handler) => createJoinServer(handler, holder),
    onDefect,
    version,
  });
  await listenOnPort(application.server, options.port);
  await listenOnPort(joining.server, options.joinPort);
  const local = await listenLocally((request, response) => application.routing(request, response), options.socketPath);
  const stopping = new AbortController();
  const running = Promise.all([
    nameServer.run(stopping.signal),
    keepRenewed({ holder, clock, jitter: Math.random(), log, renew: issueOwn, signal: stopping.signal }),
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

function createJoinServer(handler: Parameters<typeof createTlsServer>[0], holder: CredentialsHolder): ReturnType<typeof createTlsServer> {
  const server = createTlsServer(handler, holder, joinServerTlsOptions);
  // Anybody may connect here: few at once, and not for long.
  server.maxConnections = 64;
  server.headersTimeout = 10_000;
  server.requestTimeout = 20_000;
  server.keepAliveTimeout = 1000;
  return server;
}

async function openClusterAuthority(options: NameServerProcessOptions): Promise<{ cluster: Cluster; authority: Authority }> {
  const path = join(options.directory, 'authority.json');
  let file = await loadJson(path, authorityFile);
  if (file === undefined) {
    const cluster: Cluster = {
      id: newIdentifier('clu'),
      name: options.clusterName,
      createdAt: new Date(options.clock.wallMilliseconds()).toISOString(),
    };
    file = { cluster, ...(await createAuthority({ clusterId: cluster.id, clusterName: cluster.name, clock: options.clock })) };
    await saveJson(path, file);
    options.log.info({ cluster: cluster.name, id: cluster.id }, 'made a new cluster and its authority');
  }
  return { cluster: file.cluster, authority: openAuthority(file, options.clock) };
}

/** The name server's own key lives in memory only: the authority is beside it, so a new one a start costs nothing. */
async function issueOwnCredentials(authority: Authority, cluster: Cluster, settings: Settings): Promise<Credentials> {
  const { publicKey, privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  const certificatePem = await authority.issueForKey(publicKey, {
    subjectUri: nameServerUri(cluster.id),
    lifetimeMilliseconds: settings.certificateLifetimeMilliseconds,
  });
  return { certificatePem, privateKeyPem: privateKey, authorities: [authority.certificatePem] };
}

function createIssuer(authority: Authority, cluster: Cluster, holder: CredentialsHolder, clock: Clock, settings: Settings): CertificateIssuer {
  return {
    issueHostCertificate: (host, request) =>
      authority.issueForRequest(request, { subjectUri: hostUri(cluster.id, host), lifetimeMilliseconds: settings.certificateLifetimeMilliseconds }),
    authorities: () => [authority.certificatePem],
    fingerprint: () => authority.fingerprint,
    signTicket: (claims) => issueTicket(holder.current, { ...claims, expires: clock.wallMilliseconds() + ticketMilliseconds }),
  };
}
