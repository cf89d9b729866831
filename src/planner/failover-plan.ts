import { failsOverByItself, newestOn } from '../model/failover.ts';
import { currentHost } from '../model/holder.ts';
import { isOver } from '../model/placement.ts';
import type { Host, LineageEntry, Move, Volume } from '../model/records.ts';
import { pinnedSnapshots } from '../model/snapshots.ts';

/** A host as the name server knows it now. */
export interface KnownHost extends Host {
  /** How long it has had no session, as far as this name server has seen, in milliseconds; null while it has one. */
  downMilliseconds: number | null;
}

export interface Candidate {
  host: KnownHost;
  /** The newest snapshot of the volume's history that it has. */
  newest: LineageEntry;
}

/**
 * Hosts that could take the volume over, the best first. Only the place in the volume's history counts; between equals, the host that wants the volume, then one that
 * stays, then the one with more room.
 * @param wanting the host that a move of the volume leads to
 */
export function candidatesOf(volume: Volume, hosts: readonly KnownHost[], wanting: string | null = null): Candidate[] {
  const holder = volume.placement.state === 'held' ? volume.placement.host : null;
  const candidates = hosts.flatMap((host): Candidate[] => {
    const newest = host.id === holder || host.downMilliseconds !== null ? null : newestOn(volume, host.id);
    return newest === null ? [] : [{ host, newest }];
  });
  const preference = ({ host, newest }: Candidate): (number | string)[] => [
    -volume.lineage.indexOf(newest),
    host.id === wanting ? 0 : 1,
    host.state === 'draining' ? 1 : 0,
    -freeBytes(host),
    host.name,
  ];
  return candidates.sort((a, b) => compareInTurn(preference(a), preference(b)));
}

export function freeBytes({ pool }: Pick<Host, 'pool'>): number {
  return pool === null ? 0 : pool.capacityBytes - pool.usedBytes;
}

/** Compares by the first member that differs; less comes first. */
export function compareInTurn(a: readonly (number | string)[], b: readonly (number | string)[]): number {
  for (const [index, left] of a.entries()) {
    const right = b[index];
    if (right === undefined || left === right) continue;
    return left < right ? -1 : 1;
  }
  return 0;
}

export type FailoverAction =
  | { do: 'abort-move'; move: string; volume: string }
  | { do: 'fail-over'; volume: string; epoch: number; from: string; to: string }
  | { do: 'wait'; volume: string; reason: string };

export interface FailoverFacts {
  volume: Volume;
  hosts: readonly KnownHost[];
  /** The open move of the volume. */
  move: Move | null;
  /** The host that its last move was to bring it to: it is preferred among equals. */
  wanting?: string | null;
  /** A holder that was not heard for its whole session is given this much more. Milliseconds. */
  marginMilliseconds: number;
}

/** What is to be done about a volume whose holder is lost; null if it is not. */
export function planFailover({ volume, hosts, move, wanting = null, marginMilliseconds }: FailoverFacts): FailoverAction | null {
  const { placement } = volume;
  if (!failsOverByItself(volume) || (placement.state !== 'held' && placement.state !== 'moving')) return null;
  const holder = hosts.find(({ id }) => id === currentHost(placement));
  // Its lease is over when it has no session any more; the margin is counted from then.
  if (holder === undefined || holder.downMilliseconds === null || holder.downMilliseconds < marginMilliseconds) return null;
  // Without its source a move can only come to an end: the last delta is on a host that does not answer.
  if (placement.state === 'moving') return move === null || isOver(move) ? null : { do: 'abort-move', move: move.id, volume: volume.id };
  const best = candidatesOf(volume, hosts, wanting).find((candidate) => mayBeTakenFrom(volume, candidate));
  if (best !== undefined) return { do: 'fail-over', volume: volume.id, epoch: volume.epoch, from: holder.id, to: best.host.id };
  return { do: 'wait', volume: volume.id, reason: `no other host that is up has a copy of it; it comes back with ${holder.name}` };
}

/** What has a name stays on a host for ever: that a host which is to keep no replica still has one is no reason for a machine to go back to it. */
function mayBeTakenFrom(volume: Volume, { host, newest }: Candidate): boolean {
  return volume.replicas.includes(host.id) || !pinnedSnapshots(volume).includes(newest.snapshot);
}
