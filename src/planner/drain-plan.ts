import type { Move, Volume } from '../model/records.ts';
import { compareInTurn, freeBytes } from './failover-plan.ts';
import type { KnownHost } from './failover-plan.ts';

export interface DrainFacts {
  host: string;
  volumes: readonly Volume[];
  hosts: readonly KnownHost[];
}

export interface DrainMove {
  volume: Volume;
  to: string;
}

/** Volumes that the host holds. */
export function heldBy(volumes: readonly Volume[], host: string): Volume[] {
  return volumes.filter(({ placement }) => placement.state === 'held' && placement.host === host);
}

/**
 * Where each volume of a host goes that is being emptied: to a host that has a copy, or else to the one with the most room, counting what was already put there.
 * `homeless` are those that fit nowhere.
 */
export function planDrain({ host, volumes, hosts }: DrainFacts): { moves: DrainMove[]; homeless: Volume[] } {
  const free = new Map(hosts.map((each) => [each.id, freeBytes(each)]));
  const moves: DrainMove[] = [];
  const homeless: Volume[] = [];
  for (const volume of heldBy(volumes, host)) {
    const bytes = bytesOf(volume);
    const suitable = hosts.filter((each) => each.id !== host && each.state === 'active' && each.downMilliseconds === null);
    const roomy = suitable.filter((each) => hasCopy(volume, each.id) || (free.get(each.id) ?? 0) > bytes);
    const preference = (each: KnownHost): (number | string)[] => [hasCopy(volume, each.id) ? 0 : 1, -(free.get(each.id) ?? 0), each.name];
    const [best] = roomy.sort((a, b) => compareInTurn(preference(a), preference(b)));
    if (best === undefined) homeless.push(volume);
    else {
      free.set(best.id, (free.get(best.id) ?? 0) - (hasCopy(volume, best.id) ? 0 : bytes));
      moves.push({ volume, to: best.id });
    }
  }
  return { moves, homeless };
}

/** What the volume may take: its limit, or what is known of its history. Bytes. */
function bytesOf(volume: Volume): number {
  return volume.sizeBytes ?? volume.lineage.reduce((sum, { bytes }) => sum + bytes, 0);
}

function hasCopy(volume: Volume, host: string): boolean {
  return volume.copies.some((copy) => copy.host === host && copy.snapshots.length > 0);
}

/** How many more moves away from the host may be opened, so that so many at most are open. */
export function movesToOpen(moves: readonly Move[], host: string, atOnce: number): number {
  const open = moves.filter((move) => move.from === host && move.endedAt === null).length;
  return Math.max(0, atOnce - open);
}
