import type { RandomBytes } from '../model/identifiers.ts';
import type { Host } from '../model/records.ts';
import type { GuardedPlace } from '../planner/admission-plan.ts';
import type { AuditSink } from '../ports/audit-sink.ts';
import type { Clock } from '../ports/clock.ts';
import type { ContainerEngine } from '../ports/container-engine.ts';
import type { VolumeDriver } from '../ports/driver.ts';
import type { Fence } from '../ports/fence.ts';
import type { Guardian } from '../ports/guardian.ts';
import type { HostSystem } from '../ports/host-system.ts';
import type { TrustReport } from '../protocol/certificate-routes.ts';
import type { Client } from '../protocol/client.ts';
import type { PeerRoutes } from '../protocol/peer-routes.ts';
import type { Routes } from '../protocol/routes.ts';
import type { Transport } from '../protocol/transport.ts';
import type { AccessEnforcement } from './access-enforcement.ts';
import type { ClusterView } from './cluster-view.ts';
import type { Leases } from './leases.ts';
import type { NameServerTime } from './name-server-time.ts';
import type { LocalState } from './local-state.ts';

export interface Log {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
  error(details: object, message: string): void;
  debug(details: object, message: string): void;
}

/** What a verified ticket allows its bearer. */
export interface TransferTicket {
  id: string;
  move: string;
  volume: string;
  epoch: number;
  source: string;
  destination: string;
  /** Wall-clock milliseconds since 1970. */
  expires: number;
}

/** What a verified pass says of the container that shows it. */
export interface ContainerPass {
  pass: string;
  application: string;
  uses: 'once' | 'many';
  /** By the clock of the name server, milliseconds since 1970. */
  expires: number;
}

/** Places on this host that containers keep away from; that of the engine's own data is known once the engine has been asked. */
export interface GuardedPlaces {
  all(): readonly GuardedPlace[];
  noteEngineDirectory(path: string): Promise<void>;
}

export interface AgentOptions {
  self: { id: string; name: string };
  /** host:port under which other agents reach this one. */
  address: string;
  version: string;
  /** Names the present run of the machine: another one after each time it was switched off. */
  boot: string;
  clock: Clock;
  random: RandomBytes;
  log: Log;
  driver: VolumeDriver;
  /** Lets the newest key of a volume open its live copy, and none before it. */
  rekeyLive: (volume: string) => Promise<void>;
  system: HostSystem;
  engine: ContainerEngine;
  state: LocalState;
  /** Decisions of this host about who may do what. */
  audit: AuditSink & { keepTold(from: Pick<AgentOptions, 'nameServer' | 'clock'>, signal: AbortSignal): Promise<void> };
  nameServer: Client<Routes>;
  /** The connection to another agent, kept open; nothing is sent unless it proves to be that host. */
  connectToPeer(host: Host): { transport: Transport; client: Client<PeerRoutes> };
  /** The claims of a ticket that is for this host as the source and that destination. @throws forbidden */
  verifyTicket(ticket: string, destination: string): Promise<TransferTicket>;
  /** Which authorities this host trusts, for the name server to know; and what the name server says that it is to trust, PEM. */
  trust: { report(): TrustReport; follow(authorities: readonly string[]): Promise<void> };
  /** What a pass says that counts on this host at this time of the name server (milliseconds since 1970). @throws forbidden */
  verifyPass(pass: string, now: number): Promise<ContainerPass>;
  guardedPlaces: GuardedPlaces;
  /** The name by which the container engine knows our plugins. */
  pluginName: string;
  /** Directory with one mount point a volume; its parents can be traversed by anyone. */
  mountDirectory: string;
  /** How long a mount call is held before it is answered with "still moving", in milliseconds. */
  mountDeadlineMilliseconds: number;
  /** Stops what uses a volume, without the engine's help. */
  fence: Fence;
  /** Those that stop users of volumes whose lease has ended. */
  guardians: readonly Guardian[];
  /** Fault injection for tests: a place in the code at which the process can be made to stand still, or to die. */
  crashPoint: (place: CrashPoint) => void;
}

/** Places between two durable effects, named after what was done last. */
export type CrashPoint =
  | 'live-created'
  | 'live-reported'
  | 'grant-taken'
  | 'reference-added'
  | 'mounted'
  | 'releasing-recorded'
  | 'unmounted'
  | 'made-read-only'
  | 'final-snapshot-made'
  | 'release-recorded'
  | 'release-reported'
  | 'snapshot-prepared'
  | 'stream-begun'
  | 'stream-received'
  | 'snapshot-published'
  | 'marked-ready'
  | 'committed'
  | 'removal-confirmed'
  | 'copy-deleted'
  | 'diverged-kept'
  | 'snapshot-recorded'
  | 'named-snapshot-made'
  | 'named-snapshot-recorded'
  | 'revert-reported';

/** What every part of the agent has at hand. */
export interface AgentContext extends AgentOptions {
  view: ClusterView;
  leases: Leases;
  nameServerTime: NameServerTime;
  enforcement: AccessEnforcement;
}

export function mountPointOf(context: Pick<AgentOptions, 'mountDirectory'>, volume: string): string {
  return `${context.mountDirectory}/${volume}`;
}
