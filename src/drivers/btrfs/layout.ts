import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { access, constants, lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { SupercargoError } from '../../model/errors.ts';
import { identifierPattern } from '../../model/identifiers.ts';

/**
 * Where things are in the pool:
 *
 *   volumes/VOLUME/live                             subvolume
 *   volumes/VOLUME/snapshots/00000001-SNAPSHOT/data read-only subvolume
 *   incoming/SNAPSHOT.XXXXXX/data                   what a receive has so far
 *
 * A read-only subvolume cannot be renamed into another directory, but the plain directory around it can: that rename is what publishes a
 * received snapshot. The subvolume has the same name everywhere, because streams carry it. The number gives the order of arrival, which no
 * time stamp does (a snapshot inherits the times of its root directory).
 */
export class PoolLayout {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  get volumes(): string {
    return join(this.root, 'volumes');
  }

  get incoming(): string {
    return join(this.root, 'incoming');
  }

  volume(volume: string): string {
    return join(this.volumes, checked(volume));
  }

  live(volume: string): string {
    return join(this.volume(volume), 'live');
  }

  snapshots(volume: string): string {
    return join(this.volume(volume), 'snapshots');
  }

  /** Prefix of the staging directories of a snapshot. */
  staging(snapshot: string): string {
    return join(this.incoming, `${checked(snapshot)}.`);
  }

  /** Path of a complete snapshot's subvolume, or undefined. */
  async findSnapshot(volume: string, snapshot: string): Promise<string | undefined> {
    checked(snapshot);
    return (await this.completeSnapshots(volume)).find((entry) => entry.snapshot === snapshot)?.path;
  }

  /** Complete snapshots in the order of their arrival. */
  async completeSnapshots(volume: string): Promise<{ snapshot: string; path: string }[]> {
    const names = (await namesIn(this.snapshots(volume))).filter((name) => entryPattern.test(name)).toSorted();
    const entries = names.map((name) => ({
      snapshot: name.slice(sequenceDigits + 1),
      path: join(this.snapshots(volume), name, subvolumeName),
    }));
    const present = await Promise.all(entries.map((entry) => isSubvolume(entry.path)));
    return entries.filter((_, index) => present[index]);
  }

  /**
   * Makes the directory that a new snapshot goes to, behind all there are. Synchronous, so that no two get the same number within this process.
   * @returns undefined if the snapshot is there already
   */
  reserveSnapshot(volume: string, snapshot: string): string | undefined {
    const directory = this.snapshots(volume);
    mkdirSync(directory, { recursive: true });
    const names = readdirSync(directory);
    const same = names.filter((name) => name.endsWith(`-${checked(snapshot)}`));
    if (same.some((name) => existsSync(join(directory, name, subvolumeName)))) return undefined;
    const numbers = names.map((name) => Number.parseInt(name, 10) || 0);
    const sequence = String(Math.max(0, ...numbers) + 1).padStart(sequenceDigits, '0');
    const reserved = join(directory, `${sequence}-${snapshot}`);
    mkdirSync(reserved);
    return reserved;
  }

  async liveState(volume: string): Promise<'absent' | 'writable' | 'readonly'> {
    const path = this.live(volume);
    if (!(await isSubvolume(path))) return 'absent';
    try {
      return (await isReadOnly(path)) ? 'readonly' : 'writable';
    } catch (error) {
      // Deleted between the two looks, by whoever tidies up.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'absent';
      throw error;
    }
  }
}

/** Name of every snapshot's subvolume. */
export const subvolumeName = 'data';

const sequenceDigits = 8;
const entryPattern = /^\d{8}-[a-z]{3}_[0-9a-f]{24}$/;

/** Inode number of the root directory of every btrfs subvolume. */
const subvolumeRootInode = 256;

export async function isSubvolume(path: string): Promise<boolean> {
  try {
    const status = await lstat(path);
    return status.isDirectory() && status.ino === subvolumeRootInode;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}

/** Whether a subvolume refuses writers. Even root gets EROFS then: cheaper than starting a program to ask. */
export async function isReadOnly(path: string): Promise<boolean> {
  try {
    await access(path, constants.W_OK);
    return false;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EROFS') return true;
    throw error;
  }
}

/** Names in a directory; none if it does not exist. */
export async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function checked(identifier: string): string {
  if (identifierPattern.test(identifier)) return identifier;
  throw new SupercargoError('invalid-request', `${JSON.stringify(identifier)} is not an identifier.`);
}
