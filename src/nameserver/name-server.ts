import type { Handlers } from '../protocol/server.ts';
import type { Routes } from '../protocol/routes.ts';
import type { AuditHead } from '../model/audit.ts';
import type { Denial } from '../model/access.ts';
import { clusterRecord } from '../model/records.ts';
import { SupercargoError } from '../model/errors.ts';
import type { RandomBytes } from '../model/identifiers.ts';
import type { RotationPhase } from '../pki/authority-keeper.ts';
import type { Clock } from '../ports/clock.ts';
import type { Store } from '../ports/store.ts';
import { admitMembers } from './admission.ts';
import { auditHandlers } from './audit.ts';
import { authorityHandlers } from './authority.ts';
import type { PassClaims } from '../pki/pass.ts';
import { applicationHandlers } from './applications.ts';
import { classHandlers, ensureBuiltInClasses } from './classes.ts';
import { enrolmentHandlers } from './enrolment.ts';
import { followDenials } from './deny-list.ts';
import { denialHandlers } from './denials.ts';
import { eventHandlers } from './events.ts';
import { grantHandlers } from './grants.ts';
import { hostHandlers } from './hosts.ts';
import { hostLifeHandlers } from './host-life.ts';
import { moveHandlers } from './moves.ts';
import { ensureDefaultProject, projectHandlers } from './projects.ts';
import { keys } from './keys.ts';
import { Repository } from './repository.ts';
import { protectionHandlers } from './protection.ts';
import { callOffReverts, revertHandlers } from './revert.ts';
import { revocationHandlers } from './revocation.ts';
import { persistently, runHousekeeping } from './housekeeping.ts';
import { Refusals } from './refusals.ts';
import { callOffRemovals } from './removal.ts';
import { snapshotHandlers } from './snapshots.ts';
import { userHandlers } from './users.ts';
import { keyHandlers } from './volume-keys.ts';
import type { MasterKeySource } from './volume-keys.ts';
import { volumeHandlers } from './volumes.ts';
import { watchHandlers } from './watch.ts';

/** What the name server needs of the cluster's authority; it sees no key. */
export interface CertificateIssuer {
  /** A certificate for the key in the request, which must be signed by that key. @throws invalid-request */
  issueHostCertificate(host: string, requestPem: string): Promise<IssuedCertificate>;
  /** As for a host, for a user, with its life in milliseconds. @throws invalid-request */
  issueUserCertificate(user: string, requestPem: string, lifetimeMilliseconds: number): Promise<string>;
  /** Life of what it issues. */
  lifetimeMilliseconds: number;
  /** Certificates (PEM) of the authorities that all parts trust; the first one signs. */
  authorities(): string[];
  /** Of the one that signs. */
  fingerprint(): string;
  /** How far one authority has taken the place of another. */
  phase(): RotationPhase;
  /** The steps of a rotation, each durable when its promise resolves; one that was taken already changes nothing. */
  rotation: { introduce(): Promise<void>; promote(): Promise<void>; retire(): Promise<void> };
  /** A compact signed ticket. */
  signTicket(claims: TicketClaims): Promise<string>;
  /** The end of the audit log, signed. */
  signCheckpoint(claims: AuditHead & { at: string }): Promise<string>;
  /** A compact signed pass. */
  signPass(claims: PassClaims): Promise<string>;
}

export interface IssuedCertificate {
  /** PEM. */
  certificate: string;
  /** Hexadecimal in capital letters. */
  serial: string;
  expiresAt: string;
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
  /** Refused calls, on their way to the audit log. */
  refusals: Refusals;
}

export interface NameServer {
  handlers: Handlers<Routes>;
  context: NameServerContext;
  /** Watches sessions and prunes old records until the signal fires. */
  run(signal: AbortSignal): Promise<void>;
  /** Tells the deny list, now and after each change, until the signal fires: for whoever holds connections. */
  followDenials(signal: AbortSignal, listener: (denials: Denial[]) => void): Promise<void>;
}

/** Assembles the name server over its store: decisions and records, no sockets. */
export async function createNameServer(options: NameServerOptions): Promise<NameServer> {
  const repository = new Repository(options.store, options.clock);
  const context: NameServerContext = { ...options, repository, localHost: null, refusals: new Refusals() };
  await ensureBuiltInClasses(repository);
  await ensureDefaultProject(repository);
  await callOffRemovals(context);
  await callOffReverts(context);
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
      ...snapshotHandlers(context),
      ...revertHandlers(context),
      ...hostLifeHandlers(context),
      ...auditHandlers(context),
      ...userHandlers(context),
      ...denialHandlers(context),
      ...authorityHandlers(context),
      ...projectHandlers(context),
      ...applicationHandlers(context),
      ...grantHandlers(context),
      ...revocationHandlers(context),
      ...keyHandlers(context),
    }),
    run: (signal) => runHousekeeping(context, signal),
    followDenials: (signal, listener) => persistently(context, signal, () => followDenials(context, signal, listener)),
  };
}
