import { formatDuration } from '../model/duration.ts';
import { newestInLineage } from '../model/failover.ts';
import { currentHost } from '../model/placement.ts';
import type { Protection, Volume } from '../model/records.ts';
import type { HostView } from '../protocol/routes.ts';

/** "2 replicas, shipped every 10 s; failover auto". */
export function describeProtection({ replicas, intervalMilliseconds, failover }: Protection): string {
  const copies = replicas === 0 ? 'no replicas' : `${plural(replicas, 'replica')}, shipped every ${formatDuration(intervalMilliseconds)}`;
  return `${copies}; failover ${failover}`;
}

/** "1 volume", "2 volumes". */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** "2/2": the replicas that have data that could take over, of those that are wanted; empty if none are. */
export function countReplicas(volume: Volume): string {
  const { replicas } = volume.protection;
  return replicas === 0 ? '' : `${filledReplicas(volume)}/${replicas}`;
}

function filledReplicas(volume: Volume): number {
  return volume.copies.filter((copy) => volume.replicas.includes(copy.host) && newestInLineage(volume, copy) !== null).length;
}

/**
 * What can be seen to be amiss from the records alone, in a few words; null if nothing can. The name server's own view of one volume (`volume inspect`)
 * knows more, and is too much to ask for each volume of a list.
 */
export function visibleProblem(volume: Volume, hosts: readonly HostView[]): string | null {
  const { placement, protection, diverged } = volume;
  if (placement.state !== 'held' && placement.state !== 'moving') return null;
  const host = hosts.find(({ id }) => id === (placement.state === 'held' ? placement.host : placement.from));
  if (host?.status !== 'up') return host === undefined ? 'its host is gone' : `${host.name} is down`;
  if (filledReplicas(volume) < protection.replicas) return 'replicas are missing';
  return diverged.length > 0 ? 'has kept copies' : null;
}

/** The volumes whose present data is on a host. */
export function heldBy(host: string, volumes: readonly Volume[]): Volume[] {
  return volumes.filter(({ placement }) => currentHost(placement) === host);
}
