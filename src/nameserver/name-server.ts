import type { Handlers } from '../protocol/server.ts';
import type { Routes } from '../protocol/routes.ts';
import { clusterRecord } from '../model/records.ts';
import { SupercargoError } from '../model/errors.ts';
import type { RandomBytes } from '../model/identifiers.ts';
import type { Clock } from '../ports/clock.ts';
import type { Store } from '../ports/store.ts';
import { admitMembers } from './admission.ts';
import { classHandlers, ensureBuiltInClasses } from './classes.ts';
import { enrolmentHandlers } from './enrolment.ts';
import { eventHandlers } from './events.ts';
import { hostHandlers } from './hosts.ts';
import { hostLifeHandlers } from './host-life.ts';
import { moveHandlers } from './moves.ts';
import { keys, Repository } from './repository.ts';
import { protectionHandlers } from './protection.ts';
import { runHousekeeping } from './housekeeping.ts';
import { callOffRemovals } from './removal.ts';
import { keyHandlers } from './volume-keys.ts';
import type { MasterKeySource } from './volume-keys.ts';
import { volumeHandlers } from './volumes.ts';
import { watchHandlers } from './watch.ts';

/** What the name server needs of the cluster's authority; it sees no key. */
export interface CertificateIssuer {
  /** Certificate (PEM) for the key in the request, which must be signed by that key. @throws invalid-request */
  issueHostCertificate(host: string, requestPem: string): Promise<string>;
  /** Certificates (PEM) of the authorities that all parts trust. */
  authorities(): string[];
  fingerprint(): string;
  /** A compact signed ticket. */
  signTicket(claims: TicketClaims): Promise<string>;
}

export interface TicketClaims {
  move: string;
  volume: string;
  epoch: number;
  source: string;
  destination: string;
}

export interface NameServerOptions {
  store: Store;
  clock: Clock;
  random: RandomBytes;
  issuer: CertificateIssuer;
  /** What the keys of volumes are wrapped under. */
  masterKeys: MasterKeySource;
  /** host:port where hosts reach the API, and where they join. */
  address: string;
  joinAddress: string;
  /** Told of what should not happen and is survived. */
  onDefect: (error: unknown) => void;
  /** How long a host counts as up after its last heartbeat, in milliseconds. */
  sessionMilliseconds: number;
  /** How much longer a holder under automatic failover is waited for than its own count says, in milliseconds. */
  takeoverMarginMilliseconds: number;
  /** A host that is away for less than this keeps its replicas, in milliseconds. */
  replicaGraceMilliseconds: number;
}

/** What every handler has at hand. */
export interface NameServerContext extends NameServerOptions {
  repository: Repository;
  /** The host that the name server itself runs on, once it is known. */
  localHost: string | null;
}

export interface NameServer {
  handlers: Handlers<Routes>;
  context: NameServerContext;
  /** Watches sessions and prunes old records until the signal fires. */
  run(signal: AbortSignal): Promise<void>;
}

/** Assembles the name server over its store: decisions and records, no sockets. */
export async function createNameServer(options: NameServerOptions): Promise<NameServer> {
  const repository = new Repository(options.store, options.clock);
  const context: NameServerContext = { ...options, repository, localHost: null };
  await ensureBuiltInClasses(repository);
  await callOffRemovals(context);
  return {
    context,
    handlers: admitMembers(context, {
      getCluster: async () => {
        const cluster = await repository.get(keys.cluster, clusterRecord);
        if (cluster === undefined) throw new SupercargoError('not-found', 'The cluster has not been made yet.');
        return cluster;
      },
      ...enrolmentHandlers(context),
      ...hostHandlers(context),
      ...classHandlers(context),
      ...volumeHandlers(context),
      ...moveHandlers(context),
      ...eventHandlers(context),
      ...watchHandlers(context),
      ...protectionHandlers(context),
      ...hostLifeHandlers(context),
      ...keyHandlers(context),
    }),
    run: (signal) => runHousekeeping(context, signal),
  };
}
