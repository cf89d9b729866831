import { SupercargoError } from './errors.ts';
import type { Copy, Volume } from './records.ts';

/**
 * What the record says of the copies of a volume, as pure functions. Each change of what it says of a host's copy is counted: a report names the count that its
 * host had seen, so that one which was sent before another change and arrives after it is known to be older.
 */

/** Records what a host has of the volume; null takes the host off the list. Whatever its agent had reported and is still on its way does not count any more. */
export function recordCopy(volume: Volume, host: string, copy: Copy | null): Volume {
  const others = volume.copies.filter((each) => each.host !== host);
  return {
    ...volume,
    copies: copy === null ? others : [...others, copy],
    copyChanges: { ...volume.copyChanges, [host]: changesSeen(volume, host) + 1 },
  };
}

/**
 * The same by the host's own word. What is known already changes nothing, so a report may come twice.
 * @param seen the count that the host had seen when it looked at what it has @throws wrong-state if there was another change since
 */
export function reportCopy(volume: Volume, host: string, copy: Copy | null, seen: number): Volume {
  const recorded = volume.copies.find((each) => each.host === host) ?? null;
  if (recorded === null ? copy === null : copy !== null && isSameCopy(recorded, copy)) return volume;
  if (seen !== changesSeen(volume, host)) {
    throw new SupercargoError('wrong-state', `The record of this host's copy of volume "${volume.name}" has changed since the report was made.`, {
      hint: 'Look at the volume again, and report what is there now.',
    });
  }
  return recordCopy(volume, host, copy);
}

/** How often the record of the host's copy has changed, as far as this record tells. */
export function changesSeen({ copyChanges }: Pick<Volume, 'copyChanges'>, host: string): number {
  return copyChanges[host] ?? 0;
}

export function isSameCopy(one: Pick<Copy, 'kind' | 'snapshots'>, other: Pick<Copy, 'kind' | 'snapshots'>): boolean {
  return one.kind === other.kind && one.snapshots.join() === other.snapshots.join();
}
