import { chmod, mkdir, rm, rmdir, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { SupercargoError } from '../../model/errors.ts';
import { identifierPattern } from '../../model/identifiers.ts';
import { formatSize } from '../../model/size.ts';
import { differenceOf } from './difference.ts';
import type { DriverInfo, PathChange, SnapshotReceiver, VolumeCopy, VolumeDriver } from '../../ports/driver.ts';
import { execute } from '../../system/execute.ts';
import { syncDirectory } from '../../system/files.ts';
import { BtrfsCommands, poolFull } from './commands.ts';
import type { Execute } from './commands.ts';
import { PoolLayout, isSubvolume, namesIn, subvolumeName } from './layout.ts';
import { openPool } from './pool.ts';
import type { PoolSource } from './pool.ts';
import { BtrfsReceiver, removeStaging } from './receiver.ts';
import { sendStream } from './sender.ts';

export interface BtrfsDriverOptions {
  /** Where the pool is mounted; only root may enter. */
  directory: string;
  source: PoolSource;
  /** Runs programs; a parameter for tests that stop in the middle. */
  execute?: Execute;
  /** Told what is out of the ordinary and no error. */
  log?: (message: string) => void;
}

/** New volumes are refused below this share of the pool, or this many bytes, whichever is more: btrfs needs room even to delete. */
const reservedShare = 0.02;
const reservedBytes = 64 * 1024 ** 2;

/** A driver on the given pool; `open` makes or mounts it. */
export function createBtrfsDriver(options: BtrfsDriverOptions): VolumeDriver {
  return new BtrfsDriver(options);
}

/**
 * Volumes as subvolumes of a btrfs on a disk or a file. Snapshots are instant and hold no copy of the data. A volume in
 * which its users made subvolumes (Docker in Docker with its btrfs driver, systemd-nspawn) cannot be snapshotted, because they would be missing.
 */
class BtrfsDriver implements VolumeDriver {
  readonly info: DriverInfo = { name: 'btrfs', transfer: 'stream', sizeLimit: true };
  readonly #directory: string;
  readonly #source: PoolSource;
  readonly #execute: Execute;
  readonly #log: (message: string) => void;
  readonly #layout: PoolLayout;
  readonly #commands: BtrfsCommands;
  #mountedHere = false;

  constructor(options: BtrfsDriverOptions) {
    this.#directory = options.directory;
    this.#source = options.source;
    this.#execute = options.execute ?? execute;
    this.#log = options.log ?? (() => {});
    this.#layout = new PoolLayout(options.directory);
    this.#commands = new BtrfsCommands(this.#execute);
  }

  async open(): Promise<void> {
    this.#mountedHere = (await openPool(this.#source, this.#directory, this.#execute, this.#log)) || this.#mountedHere;
    await mkdir(this.#layout.volumes, { recursive: true, mode: 0o711 });
    await mkdir(this.#layout.incoming, { recursive: true, mode: 0o700 });
    for (const name of await namesIn(this.#layout.incoming)) {
      this.#log(`Removing ${name}, which was never received completely.`);
      await removeStaging(this.#layout, this.#commands, join(this.#layout.incoming, name));
    }
  }

  async close(): Promise<void> {
    if (this.#mountedHere) await this.#execute('umount', [this.#directory]);
    this.#mountedHere = false;
  }

  async usage(): Promise<{ capacityBytes: number; usedBytes: number; location: string }> {
    const { blocks, bfree, bsize } = await statfs(this.#directory);
    return { capacityBytes: blocks * bsize, usedBytes: (blocks - bfree) * bsize, location: this.#source.path };
  }

  async list(): Promise<VolumeCopy[]> {
    const names = (await namesIn(this.#layout.volumes)).filter((name) => identifierPattern.test(name));
    const copies = await Promise.all(names.map((name) => this.inspect(name)));
    return copies.filter((copy) => copy.live !== 'absent' || copy.snapshots.length > 0);
  }

  async inspect(volume: string): Promise<VolumeCopy> {
    const [live, snapshots] = await Promise.all([this.#layout.liveState(volume), this.#layout.completeSnapshots(volume)]);
    return { volume, live, snapshots: snapshots.map(({ snapshot }) => snapshot) };
  }

  async createLive(volume: string): Promise<void> {
    const path = this.#layout.live(volume);
    if (!(await isSubvolume(path))) {
      await refuseWhenFull(this.#directory);
      await mkdir(this.#layout.volume(volume), { recursive: true });
      await this.#commands.createSubvolume(path);
      await chmod(path, 0o755);
    }
    // In a subvolume that is younger than the last commit this commits, and writes out nothing of other volumes.
    await syncDirectory(path);
  }

  async createLiveFrom(volume: string, snapshot: string): Promise<void> {
    const origin = await this.#snapshotPath(volume, snapshot);
    if ((await this.#layout.liveState(volume)) !== 'absent') {
      throw new SupercargoError('wrong-state', `Volume ${volume} has a live copy already.`);
    }
    await this.#commands.snapshotSubvolume(origin, this.#layout.live(volume), 'writable');
  }

  livePath(volume: string): string {
    return this.#layout.live(volume);
  }

  async openLive(): Promise<boolean> {
    return false;
  }

  async setLiveReadOnly(volume: string, readOnly: boolean): Promise<void> {
    await this.#commands.setReadOnly(await this.#requireLive(volume), readOnly);
  }

  async deleteLive(volume: string): Promise<void> {
    if (await isSubvolume(this.#layout.live(volume))) await this.#commands.deleteSubvolume(this.#layout.live(volume));
  }

  async setSizeLimit(volume: string, sizeBytes: number | null): Promise<void> {
    await this.#commands.limit(this.#directory, await this.#requireLive(volume), sizeBytes);
  }

  async volumeUsage(volume: string): Promise<{ referencedBytes: number }> {
    const path = this.#layout.live(volume);
    return { referencedBytes: (await isSubvolume(path)) ? await this.#commands.extentBytes(path, 0) : 0 };
  }

  async createSnapshot(volume: string, snapshot: string): Promise<void> {
    if ((await this.#layout.findSnapshot(volume, snapshot)) !== undefined) return;
    const live = await this.#requireLive(volume);
    await this.#refuseNested(live);
    await this.#copySnapshot(live, volume, snapshot);
  }

  async #copySnapshot(origin: string, volume: string, snapshot: string): Promise<void> {
    const target = this.#layout.reserveSnapshot(volume, snapshot);
    if (target === undefined) return;
    try {
      await this.#commands.snapshotSubvolume(origin, join(target, subvolumeName), 'readonly');
    } catch (error) {
      await rmdir(target);
      throw error;
    }
  }

  async deleteSnapshot(volume: string, snapshot: string): Promise<void> {
    const path = await this.#layout.findSnapshot(volume, snapshot);
    if (path === undefined) return;
    await this.#commands.deleteSubvolume(path);
    await rmdir(dirname(path));
  }

  async hasChangedSince(volume: string, snapshot: string): Promise<boolean> {
    const [live, base] = [await this.#requireLive(volume), await this.#snapshotPath(volume, snapshot)];
    // What was written but not yet committed does not show in the generation.
    await this.#commands.sync(this.#directory);
    return (await this.#commands.generation(live)) > (await this.#commands.generation(base));
  }

  async shareSnapshot(fromVolume: string, snapshot: string, toVolume: string): Promise<void> {
    if ((await this.#layout.findSnapshot(toVolume, snapshot)) !== undefined) return;
    const origin = await this.#snapshotPath(fromVolume, snapshot);
    await mkdir(this.#layout.volume(toVolume), { recursive: true });
    await this.#copySnapshot(origin, toVolume, snapshot);
  }

  async changesBetween(volume: string, from: string, to: string): Promise<PathChange[]> {
    return differenceOf(await this.#snapshotPath(volume, from), await this.#snapshotPath(volume, to));
  }

  async estimateDelta(volume: string, snapshot: string, base: string | null): Promise<number> {
    const path = await this.#snapshotPath(volume, snapshot);
    const after = base === null ? 0 : await this.#commands.generation(await this.#snapshotPath(volume, base));
    return this.#commands.extentBytes(path, after);
  }

  send(volume: string, snapshot: string, base: string | null): Readable {
    return sendStream(async () => ({
      snapshot: await this.#snapshotPath(volume, snapshot),
      base: base === null ? null : await this.#snapshotPath(volume, base),
    }));
  }

  async receive(volume: string, snapshot: string, base: string | null): Promise<SnapshotReceiver> {
    if (base !== null) await this.#snapshotPath(volume, base);
    this.#layout.live(volume);
    return BtrfsReceiver.start(this.#layout, this.#commands, volume, snapshot);
  }

  async deleteVolume(volume: string): Promise<void> {
    const snapshots = await this.#layout.completeSnapshots(volume);
    const live = this.#layout.live(volume);
    const paths = [...((await isSubvolume(live)) ? [live] : []), ...snapshots.map(({ path }) => path)];
    await this.#commands.deleteSubvolumes(this.#directory, paths);
    await rm(this.#layout.volume(volume), { recursive: true, force: true });
  }

  async #snapshotPath(volume: string, snapshot: string): Promise<string> {
    const path = await this.#layout.findSnapshot(volume, snapshot);
    if (path !== undefined) return path;
    throw new SupercargoError('not-found', `There is no snapshot ${snapshot} of volume ${volume} in the pool.`);
  }

  /** A snapshot has an empty directory where a subvolume inside the volume is: better no snapshot than one that lacks data. */
  async #refuseNested(live: string): Promise<void> {
    const [first, ...others] = await this.#commands.subvolumesInside(live);
    if (first === undefined) return;
    const more = others.length === 0 ? '' : ` and ${others.length} more`;
    throw new SupercargoError(
      'not-supported',
      `The volume has btrfs subvolumes inside (${first.slice(first.indexOf('/live/') + 6)}${more}), which no snapshot holds.`,
      {
        hint: 'Turn them into plain directories: a program that runs on btrfs made them, for example Docker with its btrfs storage driver.',
      },
    );
  }

  async #requireLive(volume: string): Promise<string> {
    if ((await this.#layout.liveState(volume)) !== 'absent') return this.#layout.live(volume);
    throw new SupercargoError('not-found', `There is no live copy of volume ${volume} in the pool.`);
  }
}

async function refuseWhenFull(directory: string): Promise<void> {
  const { bavail, blocks, bsize } = await statfs(directory);
  const free = bavail * bsize;
  const reserve = Math.max(blocks * bsize * reservedShare, reservedBytes);
  if (free >= reserve) return;
  throw poolFull(`The pool is full: ${formatSize(free)} of ${formatSize(blocks * bsize)} are free, and ${formatSize(reserve)} are kept back.`);
}
