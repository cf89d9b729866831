import { realpathSync } from 'node:fs';
import { chmod, mkdir, open, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { SupercargoError } from '../../model/errors.ts';
import { formatSize } from '../../model/size.ts';
import { syncDirectory } from '../../system/files.ts';
import { readMounts } from '../../system/mounts.ts';
import type { Mount } from '../../system/mounts.ts';
import { poolFull } from './commands.ts';
import type { Execute } from './commands.ts';

export type PoolSource =
  | { kind: 'device'; path: string }
  /** sizeBytes null: half of what is free, at most 100 GiB, leaving a tenth of the file system free. */
  | { kind: 'file'; path: string; sizeBytes: number | null };

const poolLabel = 'supercargo';
const mebibyte = 1024 ** 2;
const gibibyte = 1024 ** 3;

/**
 * Makes the pool if there is none, and mounts it.
 * @returns whether this call mounted it
 */
export async function openPool(source: PoolSource, directory: string, execute: Execute, log: (message: string) => void): Promise<boolean> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const mounted = poolMount(directory);
  if (mounted !== undefined) {
    if (mounted.fileSystem === 'btrfs') return false;
    throw new SupercargoError('command-failed', `A ${mounted.fileSystem} is mounted at ${directory}, where the pool belongs.`, {
      hint: `Unmount it: umount ${directory}`,
    });
  }
  if (source.kind === 'device') await prepareDevice(source.path, execute);
  else await prepareFile(source.path, source.sizeBytes, execute);
  // Private: containers and services that copy the host's mounts must not receive the pool. No discard: it would punch holes into the file.
  const loop = source.kind === 'file' ? 'loop,' : '';
  await execute('mount', ['-t', 'btrfs', '-o', `${loop}noatime,nodiscard`, '--make-private', source.path, directory]);
  await chmod(directory, 0o700);
  if (source.kind === 'file') await forbidDiscard(directory, log);
  return true;
}

function poolMount(directory: string): Mount | undefined {
  const path = realpathSync(directory);
  return readMounts().findLast((mount) => mount.mountPoint === path);
}

async function prepareDevice(path: string, execute: Execute): Promise<void> {
  const signatures = (await execute('wipefs', ['--no-act', '--noheadings', '--output', 'TYPE,LABEL', path]))
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((words) => words[0] !== '');
  if (signatures.length === 0) {
    await execute('mkfs.btrfs', ['--quiet', '--label', poolLabel, path]);
    return;
  }
  if (signatures.length === 1 && signatures[0]?.[0] === 'btrfs' && signatures[0][1] === poolLabel) return;
  throw new SupercargoError('wrong-state', `${path} is not empty: it holds ${signatures.map((words) => words[0]).join(', ')}.`, {
    hint: `Name another device, or, if what is on it may be lost for ever, clear it: wipefs --all ${path}`,
  });
}

/** The file gets its name only when it is a whole pool, so a crash at any moment leaves nothing half-made. */
async function prepareFile(path: string, sizeBytes: number | null, execute: Execute): Promise<void> {
  const existing = await stat(path).catch(() => undefined);
  if (existing !== undefined) {
    // Copying the file or a trim may have made holes, and a hole that cannot be filled later turns the whole pool read-only.
    if (isSparse(existing)) await allocate(path, existing.size, execute);
    return;
  }
  await mkdir(dirname(path), { recursive: true, mode: 0o711 });
  const unfinished = `${path}.new`;
  await rm(unfinished, { force: true });
  const size = sizeBytes ?? (await defaultSize(dirname(path)));
  await writeFile(unfinished, '', { mode: 0o600, flag: 'wx' });
  try {
    await allocate(unfinished, size, execute);
    // Without --nodiscard it would give the space back.
    await execute('mkfs.btrfs', ['--quiet', '--nodiscard', '--label', poolLabel, unfinished]);
    await syncFile(unfinished);
  } catch (error) {
    await rm(unfinished, { force: true });
    throw error;
  }
  await rename(unfinished, path);
  await syncDirectory(dirname(path));
}

async function allocate(path: string, size: number, execute: Execute): Promise<void> {
  const { bavail, bsize } = await statfs(path);
  const present = await stat(path);
  const missing = size - present.blocks * 512;
  if (missing > bavail * bsize) {
    throw poolFull(`A pool of ${formatSize(size)} does not fit at ${path}: ${formatSize(bavail * bsize)} are free there.`);
  }
  await execute('fallocate', ['--length', String(size), path]);
  if (isSparse(await stat(path))) {
    throw new SupercargoError('not-supported', `The file system of ${path} cannot allocate a file in advance.`, {
      hint: 'Give the pool a disk of its own, or a directory on ext4 or xfs.',
    });
  }
}

async function defaultSize(directory: string): Promise<number> {
  const { bavail, blocks, bsize } = await statfs(directory);
  const free = bavail * bsize;
  const size = Math.floor(Math.min(free / 2, 100 * gibibyte, free - (blocks * bsize) / 10) / mebibyte) * mebibyte;
  if (size >= gibibyte) return size;
  throw poolFull(`There is no room for a pool in ${directory}: ${formatSize(free)} of ${formatSize(blocks * bsize)} are free.`);
}

/** Stops `fstrim`, which distributions run weekly on everything mounted, from making the file sparse. */
async function forbidDiscard(directory: string, log: (message: string) => void): Promise<void> {
  const device = basename(poolMount(directory)?.source ?? '');
  try {
    await writeFile(`/sys/block/${device}/queue/discard_max_bytes`, '0');
  } catch (error) {
    log(`Discards on ${device} stay possible: ${(error as Error).message}`);
  }
}

function isSparse(status: { blocks: number; size: number }): boolean {
  return status.blocks * 512 < status.size;
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
