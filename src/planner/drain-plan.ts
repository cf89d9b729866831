import { historyBytes } from '../model/failover.ts';
import { isOver } from '../model/placement.ts';
import type { Move, Volume } from '../model/records.ts';
import { compareInTurn, freeBytes } from './failover-plan.ts';
import type { KnownHost } from './failover-plan.ts';

export interface DrainFacts {
  host: string;
  volumes: readonly Volume[];
  hosts: readonly KnownHost[];
  /** What is on its way somewhere takes room there. */
  moves?: readonly Move[];
}

export interface DrainMove {
  volume: Volume;
  to: string;
}

/** Of the moves away from a host, so many may wait for their users at the same time: each keeps its copy fresh meanwhile. */
const maximumOpen = 20;

/** Volumes that the host holds. */
export function heldBy(volumes: readonly Volume[], host: string): Volume[] {
  return volumes.filter(({ placement }) => placement.state === 'held' && placement.host === host);
}

/**
 * Where each volume of a host goes that is being emptied: to a host that has a copy, or else to the one with the most room, counting what was already put there.
 * `homeless` are those that fit nowhere, and what each may take.
 */
export function planDrain({ host, volumes, hosts, moves: open = [] }: DrainFacts): {
  moves: DrainMove[];
  homeless: { volume: Volume; bytes: number }[];
} {
  const sizeOf = sizesOn(host, volumes, hosts);
  const free = new Map(hosts.map((each) => [each.id, freeBytes(each)]));
  const take = (volume: Volume, to: string): void => {
    if (!hasCopy(volume, to)) free.set(to, (free.get(to) ?? 0) - sizeOf(volume));
  };
  for (const volume of volumes) {
    const { placement } = volume;
    if (placement.state === 'moving' && open.some((move) => move.id === placement.move)) take(volume, placement.to);
  }
  const moves: DrainMove[] = [];
  const homeless: { volume: Volume; bytes: number }[] = [];
  for (const volume of heldBy(volumes, host)) {
    const suitable = hosts.filter((each) => each.id !== host && each.state === 'active' && each.downMilliseconds === null);
    const roomy = suitable.filter((each) => hasCopy(volume, each.id) || (free.get(each.id) ?? 0) > sizeOf(volume));
    const preference = (each: KnownHost): (number | string)[] => [hasCopy(volume, each.id) ? 0 : 1, -(free.get(each.id) ?? 0), each.name];
    const [best] = roomy.sort((a, b) => compareInTurn(preference(a), preference(b)));
    if (best === undefined) homeless.push({ volume, bytes: sizeOf(volume) });
    else {
      take(volume, best.id);
      moves.push({ volume, to: best.id });
    }
  }
  return { moves, homeless };
}

/**
 * What volumes on a host may take, in bytes: their limit, or what is known of their history. Those of which nothing is known share evenly what else the pool
 * of that host holds.
 */
function sizesOn(host: string, volumes: readonly Volume[], hosts: readonly KnownHost[]): (volume: Volume) => number {
  const known = (volume: Volume): number | null => volume.sizeBytes ?? (volume.lineage.length === 0 ? null : historyBytes(volume));
  const present = volumes.filter(({ copies }) => copies.some((copy) => copy.host === host));
  const unknown = present.filter((volume) => known(volume) === null).length;
  const used = hosts.find(({ id }) => id === host)?.pool?.usedBytes ?? 0;
  // A limit is no measure of what is used: of the pool, only what histories tell is taken off.
  const told = present.reduce((sum, volume) => sum + historyBytes(volume), 0);
  const share = Math.max(0, used - told) / Math.max(1, unknown);
  return (volume) => known(volume) ?? share;
}

function hasCopy(volume: Volume, host: string): boolean {
  return volume.copies.some((copy) => copy.host === host && copy.snapshots.length > 0);
}

/** How many more moves away from the host may be opened, so that so many at most go on. One that waits for users on the source holds no other up. */
export function movesToOpen(moves: readonly Move[], host: string, atOnce: number): number {
  const open = moves.filter((move) => move.from === host && !isOver(move));
  const going = open.filter(({ blockedBy }) => blockedBy.length === 0).length;
  return Math.max(0, Math.min(atOnce - going, maximumOpen - open.length));
}
