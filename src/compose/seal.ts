import { createHash } from 'node:crypto';
import type { Clock } from '../ports/clock.ts';
import type { VolumeDriver } from '../ports/driver.ts';
import type { Seal } from '../ports/fence.ts';
import type { VolumeCipher } from '../ports/volume-cipher.ts';

/** Both fence at the same deadline, and neither waits for the other. */
export type Fencer = 'agent' | 'guard';
const fencers: readonly Fencer[] = ['agent', 'guard'];

/**
 * Closes a live copy in the pool. Its snapshot has a name that follows from what it is of and who made it: a second attempt finds it, and two processes
 * never make one of the same name at once. Should both make theirs, the copies are of the same data and share all of it.
 * @param shut closes what lies over the live copy
 */
export function createSeal(
  driver: Pick<VolumeDriver, 'inspect' | 'setLiveReadOnly' | 'createSnapshot'>,
  fencer: Fencer,
  shut: (volume: string) => Promise<void> = async () => undefined,
): Seal {
  return {
    async setReadOnly(volume) {
      await shut(volume);
      if ((await driver.inspect(volume)).live === 'writable') await driver.setLiveReadOnly(volume, true);
    },
    async snapshot(volume, epoch, ranOut) {
      const { live, snapshots } = await driver.inspect(volume);
      const isThere = fencers.some((each) => snapshots.includes(snapshotName(volume, epoch, ranOut, each)));
      if (live !== 'absent' && !isThere) await driver.createSnapshot(volume, snapshotName(volume, epoch, ranOut, fencer));
    },
  };
}

/** A volume whose users are being killed closes in this time, or is cut off: its lease is over. Milliseconds. */
const shutMilliseconds = 1000;
const pollMilliseconds = 25;

/** Closes an encrypted volume at the end of its lease, while what uses it is being ended. What was flushed is in its image in any case. */
export function createShutter(cipher: Pick<VolumeCipher, 'close' | 'cutOff'>, clock: Clock): (volume: string) => Promise<void> {
  return async (volume) => {
    const end = clock.monotonicMilliseconds() + shutMilliseconds;
    const closed = closeWhenIdle(cipher, volume, () => clock.monotonicMilliseconds() < end, clock);
    const enough = new AbortController();
    const late = clock.sleep(shutMilliseconds, enough.signal).then(
      () => false,
      () => false,
    );
    const isClosed = await Promise.race([closed, late]);
    enough.abort();
    if (isClosed) return;
    // It may hang on the disk: without its engine that ends as well.
    await cipher.cutOff(volume);
    await closed;
  };
}

/** @returns whether it is closed */
async function closeWhenIdle(cipher: Pick<VolumeCipher, 'close'>, volume: string, goesOn: () => boolean, clock: Clock): Promise<boolean> {
  while (goesOn()) {
    try {
      await cipher.close(volume);
      return true;
    } catch {
      // Whatever it is, it is cut off in the end.
      await clock.sleep(pollMilliseconds);
    }
  }
  return false;
}

function snapshotName(volume: string, epoch: number, ranOut: number, fencer: Fencer): string {
  const digest = createHash('sha256')
    .update(JSON.stringify([volume, epoch, ranOut, fencer]))
    .digest('hex');
  return `snp_${digest.slice(0, 24)}`;
}
