import { createHash } from 'node:crypto';
import type { VolumeDriver } from '../ports/driver.ts';
import type { Seal } from '../ports/fence.ts';

/** Both fence at the same deadline, and neither waits for the other. */
export type Fencer = 'agent' | 'guard';
const fencers: readonly Fencer[] = ['agent', 'guard'];

/**
 * Closes a live copy in the pool. Its snapshot has a name that follows from what it is of and who made it: a second attempt finds it, and two processes
 * never make one of the same name at once. Should both make theirs, the copies are of the same data and share all of it.
 */
export function createSeal(driver: Pick<VolumeDriver, 'inspect' | 'setLiveReadOnly' | 'createSnapshot'>, fencer: Fencer): Seal {
  return {
    async setReadOnly(volume) {
      if ((await driver.inspect(volume)).live === 'writable') await driver.setLiveReadOnly(volume, true);
    },
    async snapshot(volume, epoch, ranOut) {
      const { live, snapshots } = await driver.inspect(volume);
      const isThere = fencers.some((each) => snapshots.includes(snapshotName(volume, epoch, ranOut, each)));
      if (live !== 'absent' && !isThere) await driver.createSnapshot(volume, snapshotName(volume, epoch, ranOut, fencer));
    },
  };
}

function snapshotName(volume: string, epoch: number, ranOut: number, fencer: Fencer): string {
  const digest = createHash('sha256')
    .update(JSON.stringify([volume, epoch, ranOut, fencer]))
    .digest('hex');
  return `snp_${digest.slice(0, 24)}`;
}
