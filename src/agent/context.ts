import type { RandomBytes } from '../model/identifiers.ts';
import type { Host } from '../model/records.ts';
import type { Clock } from '../ports/clock.ts';
import type { ContainerEngine } from '../ports/container-engine.ts';
import type { VolumeDriver } from '../ports/driver.ts';
import type { Fence } from '../ports/fence.ts';
import type { Guardian } from '../ports/guardian.ts';
import type { HostSystem } from '../ports/host-system.ts';
import type { Client } from '../protocol/client.ts';
import type { PeerRoutes } from '../protocol/peer-routes.ts';
import type { Routes } from '../protocol/routes.ts';
import type { Transport } from '../protocol/transport.ts';
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
  move: string;
  volume: string;
  epoch: number;
  source: string;
  destination: string;
}

export interface AgentOptions {
  self: { id: string; name: string };
  /** host:port under which other agents reach this one. */
  address: string;
  version: string;
  clock: Clock;
  random: RandomBytes;
  log: Log;
  driver: VolumeDriver;
  /** Lets the newest key of a volume open its live copy, and none before it. */
  rekeyLive: (volume: string) => Promise<void>;
  system: HostSystem;
  engine: ContainerEngine;
  state: LocalState;
  nameServer: Client<Routes>;
  /** The connection to another agent, kept open; nothing is sent unless it proves to be that host. */
  connectToPeer(host: Host): { transport: Transport; client: Client<PeerRoutes> };
  /** The claims of a ticket that is for this host as the source and that destination. @throws forbidden */
  verifyTicket(ticket: string, destination: string): Promise<TransferTicket>;
  /** Directory with one mount point a volume; its parents can be traversed by anyone. */
  mountDirectory: string;
  /** How long a mount call is held before it is answered with "still moving", in milliseconds. */
  mountDeadlineMilliseconds: number;
  /** Stops what uses a volume, without the engine's help. */
  fence: Fence;
  /** Those that stop users of volumes whose lease has ended. */
  guardians: readonly Guardian[];
  /** Fault injection for tests: a place in the code at which the process can be made to die. */
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
  | 'snapshot-recorded';

/** What every part of the agent has at hand. */
export interface AgentContext extends AgentOptions {
  view: ClusterView;
  leases: Leases;
  nameServerTime: NameServerTime;
}

export function mountPointOf(context: Pick<AgentOptions, 'mountDirectory'>, volume: string): string {
  return `${context.mountDirectory}/${volume}`;
}
