import { formatDuration } from '../model/duration.ts';
import { newestInLineage } from '../model/failover.ts';
import { currentHost } from '../model/holder.ts';
import type { Protection, Volume } from '../model/records.ts';
import type { HostView } from '../protocol/routes.ts';

/** "2 replicas, shipped every 10 s; failover auto". */
export function describeProtection({ replicas, intervalMilliseconds, failover }: Protection): string {
  const copies = replicas === 0 ? 'no replicas' : `${plural(replicas, 'replica')}, shipped every ${formatDuration(intervalMilliseconds)}`;
  return `${copies}; failover ${failover}`;
}

/** "luks, key 2; the live copy still opens with key 1". */
export function describeEncryption({ encryption }: Pick<Volume, 'encryption'>): string {
  if (encryption === null) return 'none';
  const { engine, key, keyInUse } = encryption;
  return `${engine}, key ${key}${keyInUse < key ? `; the live copy still opens with key ${keyInUse}` : ''}`;
}

/** "1 volume", "2 volumes". */
export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** "2/2": the replicas that could take over, of those that are wanted; empty if none are. */
export function countReplicas(volume: Volume, hosts: readonly HostView[]): string {
  const { replicas } = volume.protection;
  return replicas === 0 ? '' : `${readyReplicas(volume, hosts)}/${replicas}`;
}

/** Those that have something of the volume's history, on a host that is up. */
function readyReplicas(volume: Volume, hosts: readonly HostView[]): number {
  const up = new Set(hosts.filter(({ status }) => status === 'up').map(({ id }) => id));
  return volume.copies.filter((copy) => volume.replicas.includes(copy.host) && up.has(copy.host) && newestInLineage(volume, copy) !== null).length;
}

/**
 * What can be seen to be amiss from the records alone, in a few words; null if nothing can. The name server's own view of one volume (`volume inspect`)
 * knows more, and is too much to ask for each volume of a list.
 */
export function visibleProblem(volume: Volume, hosts: readonly HostView[]): string | null {
  const { placement, protection, diverged } = volume;
  if (placement.state !== 'held' && placement.state !== 'moving') return null;
  const host = hosts.find(({ id }) => id === currentHost(placement));
  if (host?.status !== 'up') return host === undefined ? 'its host is gone' : `${host.name} is down`;
  if (readyReplicas(volume, hosts) < protection.replicas) return 'replicas are missing';
  return diverged.length > 0 ? 'has kept copies' : null;
}

/** What a host has, each volume in one of the lists. */
export interface HostContent {
  /** Its present data is there. */
  held: Volume[];
  /** It is moving there. */
  arriving: Volume[];
  /** It is to have a replica there. */
  replicas: Volume[];
  /** What was written there as a holder that was replaced waits for an operator. */
  kept: Volume[];
  /** Other copies, which go by themselves when the host is drained. */
  leftovers: Volume[];
}

export function contentOf(host: string, volumes: Iterable<Volume>): HostContent {
  const content: HostContent = { held: [], arriving: [], replicas: [], kept: [], leftovers: [] };
  for (const volume of volumes) {
    const { placement } = volume;
    if (currentHost(placement) === host) content.held.push(volume);
    else if (placement.state === 'moving' && placement.to === host) content.arriving.push(volume);
    else if (volume.replicas.includes(host)) content.replicas.push(volume);
    else if (volume.diverged.some((each) => each.host === host)) content.kept.push(volume);
    else if (volume.copies.some((copy) => copy.host === host)) content.leftovers.push(volume);
  }
  return content;
}

/** "pgdata, photos" */
export function listNames(volumes: readonly Volume[]): string {
  return volumes.map(({ name }) => name).join(', ');
}
