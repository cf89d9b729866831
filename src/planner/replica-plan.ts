import { newestInLineage } from '../model/failover.ts';
import { currentHost } from '../model/placement.ts';
import type { Volume } from '../model/records.ts';
import { compareInTurn, freeBytes } from './failover-plan.ts';
import type { KnownHost } from './failover-plan.ts';

export interface ReplicaFacts {
  volumes: readonly Volume[];
  hosts: readonly KnownHost[];
  /** A host that is away for less keeps its replicas. Milliseconds. */
  graceMilliseconds: number;
  /** So many replicas are built from nothing at a time, in the whole cluster. */
  maximumBuilds: number;
}

export interface ReplicaChange {
  volume: string;
  replicas: string[];
}

/** Share of a pool that replicas leave free. */
const keptFreeShare = 0.1;
/** If more than this share of the hosts is away at once, it is the network or the power, and copying everything anew would only make it worse. */
const stormShare = 1 / 3;

/** Whether so many hosts are away that nothing is rebuilt. */
export function isStorm(hosts: readonly KnownHost[]): boolean {
  const away = hosts.filter(({ downMilliseconds }) => downMilliseconds !== null).length;
  return away >= 2 && away > hosts.length * stormShare;
}

/** Which volumes get other hosts for their replicas. Planning again after the changes changes nothing. */
export function planReplicas(facts: ReplicaFacts): ReplicaChange[] {
  const changes: ReplicaChange[] = [];
  const assigned = new Map<string, number>();
  for (const host of facts.volumes.flatMap((volume) => volume.replicas)) assigned.set(host, (assigned.get(host) ?? 0) + 1);
  let builds = facts.volumes.reduce((sum, volume) => sum + buildsOf(volume, volume.replicas, facts.hosts), 0);
  for (const volume of facts.volumes) {
    const replicas = replicasOf(volume, facts, assigned, facts.maximumBuilds - builds);
    if (replicas.join() === volume.replicas.join()) continue;
    builds += buildsOf(volume, replicas, facts.hosts) - buildsOf(volume, volume.replicas, facts.hosts);
    for (const host of replicas) assigned.set(host, (assigned.get(host) ?? 0) + 1);
    changes.push({ volume: volume.id, replicas });
  }
  return changes;
}

/** Replicas that are being built: they have nothing of the volume's history yet, and their host is up. */
function buildsOf(volume: Volume, replicas: readonly string[], hosts: readonly KnownHost[]): number {
  if (volume.lineage.length === 0) return 0;
  const isUp = (id: string): boolean => hosts.some((host) => host.id === id && host.downMilliseconds === null);
  return replicas.filter((id) => id !== currentHost(volume.placement) && isUp(id) && !hasHistory(volume, id)).length;
}

function hasHistory(volume: Volume, host: string): boolean {
  const copy = volume.copies.find((each) => each.host === host);
  return copy !== undefined && newestInLineage(volume, copy) !== null;
}

function replicasOf(volume: Volume, facts: ReplicaFacts, assigned: ReadonlyMap<string, number>, buildsLeft: number): string[] {
  const { placement, protection } = volume;
  // While it moves or goes, its replicas stay as they are.
  if (placement.state !== 'held') return volume.replicas;
  const holder = placement.host;
  const kept = volume.replicas.filter((id) => id !== holder && staysReplica(id, facts));
  const missing = protection.replicas - kept.length;
  if (missing <= 0) return kept.slice(0, protection.replicas);
  // One that is away beyond its grace, or is being emptied, keeps its place until another has taken it.
  const leaving = volume.replicas.filter((id) => id !== holder && !kept.includes(id) && facts.hosts.some((host) => host.id === id));
  const storm = isStorm(facts.hosts);
  const chosen: string[] = [];
  let builds = buildsLeft;
  for (const host of rank(volume, facts, assigned, [...kept, ...leaving, holder])) {
    if (chosen.length === missing || storm) break;
    const build = volume.lineage.length > 0 && !hasHistory(volume, host.id);
    if (build && builds <= 0) continue;
    if (build) builds -= 1;
    chosen.push(host.id);
  }
  return [...kept, ...chosen, ...leaving.slice(0, missing - chosen.length)];
}

function staysReplica(id: string, { hosts, graceMilliseconds }: ReplicaFacts): boolean {
  const host = hosts.find((each) => each.id === id);
  return host !== undefined && host.state === 'active' && (host.downMilliseconds ?? 0) < graceMilliseconds;
}

/** Hosts that could keep one more replica, the best first; a zone that has a copy already comes last. */
function rank(volume: Volume, { hosts }: ReplicaFacts, assigned: ReadonlyMap<string, number>, taken: readonly string[]): KnownHost[] {
  const zoneOf = (id: string): string => hosts.find((host) => host.id === id)?.labels['zone'] ?? id;
  const usedZones = new Set(taken.map(zoneOf));
  const preference = (host: KnownHost): (number | string)[] => [
    usedZones.has(zoneOf(host.id)) ? 1 : 0,
    hasHistory(volume, host.id) ? 0 : 1,
    assigned.get(host.id) ?? 0,
    -freeShare(host),
    host.name,
  ];
  const suitable = hosts.filter((host) => {
    const free = host.state === 'active' && host.downMilliseconds === null && !taken.includes(host.id);
    return free && (hasHistory(volume, host.id) || hasRoom(volume, host));
  });
  return suitable.sort((a, b) => compareInTurn(preference(a), preference(b)));
}

function hasRoom(volume: Volume, host: KnownHost): boolean {
  if (host.pool === null) return false;
  return freeBytes(host) - (volume.sizeBytes ?? 0) >= keptFreeShare * host.pool.capacityBytes;
}

function freeShare(host: KnownHost): number {
  return host.pool === null ? 0 : freeBytes(host) / host.pool.capacityBytes;
}
