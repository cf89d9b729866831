import { historyBytes, newestOn } from '../model/failover.ts';
import { currentHost } from '../model/holder.ts';
import type { Volume } from '../model/records.ts';
import { pinnedSnapshots } from '../model/snapshots.ts';
import { compareInTurn, freeBytes } from './failover-plan.ts';
import type { KnownHost } from './failover-plan.ts';

export interface ReplicaFacts {
  volumes: readonly Volume[];
  hosts: readonly KnownHost[];
  /** A host that is away for less keeps its replicas. Milliseconds. */
  graceMilliseconds: number;
  /** So many replicas are built from nothing at a time, in the whole cluster. */
  maximumBuilds: number;
  /** Builds, as `buildsOf` names them, that do not come to their end and so keep no other one waiting. */
  stalled?: ReadonlySet<string>;
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

/** What the plan has given out so far, together with what was given out before. */
interface Ledger {
  /** Replicas that each host has. */
  assigned: Map<string, number>;
  /** Bytes that have not arrived on each host yet. */
  promised: Map<string, number>;
  buildsLeft: number;
}

/** Which volumes get other hosts for their replicas: those with the fewest copies first. Planning again after the changes comes to rest. */
export function planReplicas(facts: ReplicaFacts): ReplicaChange[] {
  const changes: ReplicaChange[] = [];
  const ledger: Ledger = { assigned: new Map(), promised: new Map(), buildsLeft: facts.maximumBuilds };
  for (const volume of facts.volumes) {
    for (const host of volume.replicas) enter(ledger, volume, host);
    ledger.buildsLeft -= buildsOf(volume, volume.replicas, facts.hosts).filter((build) => facts.stalled?.has(build) !== true).length;
  }
  const copies = new Map(facts.volumes.map((volume) => [volume.id, volume.replicas.filter((host) => hasHistory(volume, host)).length]));
  const order = [...facts.volumes].sort((a, b) => (copies.get(a.id) ?? 0) - (copies.get(b.id) ?? 0));
  for (const volume of order) {
    const replicas = replicasOf(volume, facts, ledger);
    if (replicas.join() !== volume.replicas.join()) changes.push({ volume: volume.id, replicas });
  }
  return changes;
}

function enter({ assigned, promised }: Ledger, volume: Volume, host: string): void {
  assigned.set(host, (assigned.get(host) ?? 0) + 1);
  if (!hasHistory(volume, host)) promised.set(host, (promised.get(host) ?? 0) + bytesOf(volume));
}

/** Replicas that are being built, by name: they have nothing of the volume's history yet, and nothing is away that is needed for it. */
export function buildsOf(volume: Volume, replicas: readonly string[], hosts: readonly KnownHost[]): string[] {
  const source = currentHost(volume.placement);
  const isUp = (id: string | null): boolean => hosts.some((host) => host.id === id && host.downMilliseconds === null);
  if (!isUp(source)) return [];
  return replicas.filter((id) => id !== source && isUp(id) && !hasHistory(volume, id)).map((id) => `${volume.id} ${id}`);
}

/** What has a name stays on a host for ever, so alone it says nothing of how fresh a copy is. */
function hasHistory(volume: Volume, host: string): boolean {
  const newest = newestOn(volume, host);
  return newest !== null && (newest === volume.lineage.at(-1) || !pinnedSnapshots(volume).includes(newest.snapshot));
}

function replicasOf(volume: Volume, facts: ReplicaFacts, ledger: Ledger): string[] {
  const { placement, protection } = volume;
  // While it moves or goes, its replicas stay as they are.
  if (placement.state !== 'held') return volume.replicas;
  const others = volume.replicas.filter((id, index) => id !== placement.host && volume.replicas.indexOf(id) === index);
  const staying = others.filter((id) => staysReplica(id, facts));
  const kept = [...staying].sort((a, b) => Number(hasHistory(volume, b)) - Number(hasHistory(volume, a))).slice(0, protection.replicas);
  const leaving = others.filter((id) => !staying.includes(id) && facts.hosts.some((host) => host.id === id));
  const chosen = isStorm(facts.hosts) ? [] : choose(volume, facts, ledger, [...kept, ...leaving, placement.host], protection.replicas - kept.length);
  const next = [...kept, ...chosen];
  // One that is away beyond its grace keeps its place until another has it; one whose host is being emptied, until another has a copy as well.
  const whole = next.filter((id) => hasHistory(volume, id)).length;
  const isHere = (id: string): boolean => facts.hosts.some((host) => host.id === id && host.downMilliseconds === null) && hasHistory(volume, id);
  const guarding = leaving.filter(isHere).slice(0, Math.max(0, protection.replicas - whole));
  const rest = leaving.filter((id) => !guarding.includes(id)).slice(0, Math.max(0, protection.replicas - next.length - guarding.length));
  const wanted = new Set([...next, ...guarding, ...rest]);
  return [...volume.replicas.filter((id, index) => wanted.has(id) && volume.replicas.indexOf(id) === index), ...chosen];
}

function staysReplica(id: string, { hosts, graceMilliseconds }: ReplicaFacts): boolean {
  const host = hosts.find((each) => each.id === id);
  return host !== undefined && host.state === 'active' && (host.downMilliseconds ?? 0) < graceMilliseconds;
}

/** So many further hosts for replicas, or as many as there are. */
function choose(volume: Volume, facts: ReplicaFacts, ledger: Ledger, taken: readonly string[], missing: number): string[] {
  const chosen: string[] = [];
  const holder = facts.hosts.find(({ id }) => id === currentHost(volume.placement));
  while (chosen.length < missing) {
    const mayBuild = ledger.buildsLeft > 0 && holder?.downMilliseconds === null;
    const best = rank(volume, facts, ledger, [...taken, ...chosen]).find((host) => mayBuild || hasHistory(volume, host.id));
    if (best === undefined) break;
    if (!hasHistory(volume, best.id)) ledger.buildsLeft -= 1;
    enter(ledger, volume, best.id);
    chosen.push(best.id);
  }
  return chosen;
}

/**
 * Hosts that could keep one more replica, the best first; a zone that has a copy already comes last. One that is away, but not for long, counts if it has the history:
 * a holder that was replaced comes back as a replica by what has changed alone.
 */
function rank(volume: Volume, { hosts, graceMilliseconds }: ReplicaFacts, ledger: Ledger, taken: readonly string[]): KnownHost[] {
  const zoneOf = (id: string): string => hosts.find((host) => host.id === id)?.labels['zone'] ?? id;
  const usedZones = new Set(taken.map(zoneOf));
  const preference = (host: KnownHost): (number | string)[] => [
    usedZones.has(zoneOf(host.id)) ? 1 : 0,
    hasHistory(volume, host.id) ? 0 : 1,
    host.downMilliseconds === null ? 0 : 1,
    ledger.assigned.get(host.id) ?? 0,
    -freeShare(host),
    host.name,
  ];
  const suitable = hosts.filter((host) => {
    if (host.state !== 'active' || taken.includes(host.id)) return false;
    if (hasHistory(volume, host.id)) return (host.downMilliseconds ?? 0) < graceMilliseconds;
    return host.downMilliseconds === null && hasRoom(volume, host, ledger);
  });
  return suitable.sort((a, b) => compareInTurn(preference(a), preference(b)));
}

/** Volumes with a replica on a host that is to be emptied, which no other host can have in its place. */
export function strandedReplicas(volumes: readonly Volume[], hosts: readonly KnownHost[], leaving: string): Volume[] {
  const ledger: Ledger = { assigned: new Map(), promised: new Map(), buildsLeft: 0 };
  const facts: ReplicaFacts = { volumes, hosts, graceMilliseconds: 0, maximumBuilds: 0 };
  return volumes.filter((volume) => {
    if (!volume.replicas.includes(leaving) || volume.replicas.length > volume.protection.replicas) return false;
    const [best] = rank(volume, facts, ledger, [...volume.replicas, currentHost(volume.placement) ?? '']);
    if (best !== undefined) enter(ledger, volume, best.id);
    return best === undefined;
  });
}

function hasRoom(volume: Volume, host: KnownHost, { promised }: Ledger): boolean {
  if (host.pool === null) return false;
  return freeBytes(host) - (promised.get(host.id) ?? 0) - bytesOf(volume) >= keptFreeShare * host.pool.capacityBytes;
}

/** What a replica may take, in bytes: the volume's limit, or what is known of its history. */
function bytesOf(volume: Volume): number {
  return volume.sizeBytes ?? historyBytes(volume);
}

function freeShare(host: KnownHost): number {
  return host.pool === null ? 0 : freeBytes(host) / host.pool.capacityBytes;
}
