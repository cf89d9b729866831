import { statSync } from 'node:fs';
import { mkdir, readlink, realpath, rmdir, stat, utimes } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { SupercargoError, isSupercargoError } from '../model/errors.ts';
import type { HostSystem } from '../ports/host-system.ts';
import { execute } from './execute.ts';
import { canonical, readMounts } from './mounts.ts';
import { findUses } from './uses.ts';

export interface HostSystemOptions {
  /** Told what could not be done and is not essential. */
  log?: (message: string) => void;
}

/** The Linux host this process runs on. */
export function createHostSystem(options: HostSystemOptions = {}): HostSystem {
  const log = options.log ?? (() => {});
  return {
    mountVolume: (path, mountPoint) => mountVolume(path, canonical(mountPoint), log),
    realPath,
    isMounted: async (path, mountPoint) => isMounted(path, canonical(mountPoint)),
    unmountVolume: (mountPoint) => unmountVolume(canonical(mountPoint)),
    forgetMountPoint: (mountPoint) => removeBareDirectory(canonical(mountPoint), log),
    usesOf: (path, mountPoint) => findUses(canonical(path), canonical(mountPoint)),
  };
}

async function realPath(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || path === '/') throw error;
    // A link that leads nowhere yet is followed by whoever makes what it leads to.
    const target = await readlink(path).catch(() => null);
    return target === null ? join(await realPath(dirname(path)), basename(path)) : realPath(resolve(dirname(path), target));
  }
}

async function mountVolume(path: string, mountPoint: string, log: (message: string) => void): Promise<void> {
  if (deviceOf(path) === undefined) {
    throw new SupercargoError('data-missing', `There is no data at ${path}.`, { hint: 'Check that the pool is mounted and intact.' });
  }
  if (isMounted(path, mountPoint)) return;
  if (mountsAt(mountPoint) > 0) {
    throw new SupercargoError('command-failed', `Something else is mounted at ${mountPoint}.`, { hint: `Unmount it: umount ${mountPoint}` });
  }
  await makeBareDirectory(mountPoint, log);
  await execute('mount', ['--bind', path, mountPoint]);
  if (!isMounted(path, mountPoint)) {
    await execute('umount', [mountPoint]);
    throw new SupercargoError('command-failed', `Mounting ${path} at ${mountPoint} showed other data than asked for.`);
  }
}

/** By device number, not by name: each btrfs subvolume has its own, so this tells "really this one" from "a directory called so". */
function isMounted(path: string, mountPoint: string): boolean {
  const device = deviceOf(path);
  return device !== undefined && device === deviceOf(mountPoint) && mountsAt(mountPoint) > 0;
}

async function unmountVolume(mountPoint: string): Promise<void> {
  for (let remaining = mountsAt(mountPoint); remaining > 0; remaining--) {
    try {
      await execute('umount', [mountPoint]);
    } catch (error) {
      if (!isSupercargoError(error) || !error.message.includes('busy')) throw error;
      throw new SupercargoError('volume-in-use', `${mountPoint} is in use: the kernel calls it busy.`, {
        hint: 'Stop what uses it; `fuser -vm` with this path shows the processes.',
        cause: error,
      });
    }
  }
}

/** Below the mount lies a directory nobody can write to, so that a lost mount can never pass for an empty volume. */
async function makeBareDirectory(path: string, log: (message: string) => void): Promise<void> {
  // Parents can be passed through by the users of a remapped user namespace, yet not listed.
  await mkdir(dirname(path), { recursive: true, mode: 0o711 });
  try {
    await mkdir(path, { mode: 0 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (await isImmutable(path)) return;
  }
  await changeAttribute('+i', path, log);
}

/** Nobody, not even root, may touch the times of an immutable directory: cheaper than starting a program to ask. */
async function isImmutable(path: string): Promise<boolean> {
  try {
    const { atime, mtime } = await stat(path);
    await utimes(path, atime, mtime);
    return false;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EPERM') return true;
    throw error;
  }
}

async function removeBareDirectory(path: string, log: (message: string) => void): Promise<void> {
  if (deviceOf(path) === undefined) return;
  await changeAttribute('-i', path, log);
  await rmdir(path);
}

async function changeAttribute(change: string, path: string, log: (message: string) => void): Promise<void> {
  try {
    await execute('chattr', [change, path]);
  } catch (error) {
    // Some file systems know no such attribute; mode 000 still stops everyone but root.
    log(`chattr ${change} ${path} failed: ${(error as Error).message}`);
  }
}

function deviceOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.dev;
}

function mountsAt(mountPoint: string): number {
  return readMounts().filter((mount) => mount.mountPoint === mountPoint).length;
}
