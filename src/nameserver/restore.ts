import { SupercargoError } from '../model/errors.ts';
import { volumeRecord } from '../model/records.ts';
import type { Volume } from '../model/records.ts';
import { keys } from './keys.ts';
import type { Repository } from './repository.ts';

/**
 * A volume that is made from what was kept of another must have its own hold on it before that may go. Call it in the transaction that read the source: whoever
 * makes a volume from it writes the source's record as well.
 * @param snapshot what is to go; null is all that there is of the source
 * @throws wrong-state
 */
export async function requireRestored(repository: Repository, source: Volume, snapshot: string | null): Promise<void> {
  const volumes = await repository.list(keys.volumes, volumeRecord);
  const waiting = volumes.find(
    (volume) => isWaiting(volume) && volume.origin?.volume === source.id && (snapshot ?? volume.origin.snapshot) === volume.origin.snapshot,
  );
  if (waiting === undefined) return;
  throw new SupercargoError('wrong-state', `Volume "${waiting.name}" is still being made from what was kept of volume "${source.name}".`, {
    hint: `Wait until its host has done that: supercargo volume inspect ${waiting.name}`,
  });
}

/** Whether its first live copy has never been there. */
function isWaiting(volume: Volume): boolean {
  return volume.epoch === 1 && volume.placement.state !== 'removing' && !volume.copies.some((copy) => copy.kind === 'live');
}
