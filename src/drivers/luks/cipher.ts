import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { access, chmod, mkdir, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SupercargoError, isSupercargoError } from '../../model/errors.ts';
import type { Clock } from '../../ports/clock.ts';
import type { VolumeCipher, VolumeKey } from '../../ports/volume-cipher.ts';
import { execute } from '../../system/execute.ts';
import { canonical, readMounts } from '../../system/mounts.ts';
import { findUses } from '../../system/uses.ts';
import { LuksEngine } from './engine.ts';
import type { EngineFiles } from './engine.ts';

export interface LuksCipherOptions {
  /** Where open volumes are, each in a directory of its name; on a file system that a restart of the machine empties. */
  directory: string;
  clock: Clock;
}

/**
 * Volumes as LUKS images with an ext4 in them. Here no kernel has to know dm-crypt: an engine of our own process tree reads and writes the image and serves
 * the clear data as a file (FUSE), which a loop device makes a disk of. Every part goes with the one above it: the loop device with its mount, the file with
 * its engine.
 */
export function createLuksCipher(options: LuksCipherOptions): VolumeCipher {
  return new LuksCipher(options);
}

interface Place extends EngineFiles {
  directory: string;
  /** Where the file system is mounted. */
  clear: string;
}

/** Below the root of the file system, so that users see nothing of its own (lost+found), and so that its mount does not look like one of theirs. */
const dataName = 'data';

/** No room kept for root; extended attributes as large as elsewhere; the tables of a large disk are not written before they are needed. */
const makeFileSystem = ['-q', '-m', '0', '-O', 'ea_inode', '-E', 'nodiscard,lazy_itable_init=1,lazy_journal_init=1', '-F'];
/** Never goes on after an error of the disk, which is what the end of an engine looks like. */
const mountOptions = 'noinit_itable,errors=remount-ro';

class LuksCipher implements VolumeCipher {
  readonly #root: string;
  readonly #clock: Clock;

  constructor({ directory, clock }: LuksCipherOptions) {
    this.#root = canonical(directory);
    this.#clock = clock;
  }

  clearPath(volume: string): string {
    return join(this.#place(volume).clear, dataName);
  }

  async create(volume: string, image: string, { sizeBytes, key }: { sizeBytes: number; key: VolumeKey }): Promise<void> {
    await this.#start(volume, async (engine, place) => {
      await rm(image, { force: true });
      await writeFile(image, '', { mode: 0o600 });
      await engine.format(image, sizeBytes, key);
      await execute('mkfs.ext4', [...makeFileSystem, place.disk]);
      await mountDisk(place);
      await mkdir(join(place.clear, dataName));
      await chmod(join(place.clear, dataName), 0o755);
    });
  }

  async isOpen(volume: string): Promise<boolean> {
    const place = this.#place(volume);
    return isMounted(place.clear) && new LuksEngine(place, this.#clock).isAlive;
  }

  async open(volume: string, image: string, keys: readonly VolumeKey[]): Promise<VolumeKey> {
    await requireImage(volume, image);
    let fitting: VolumeKey | undefined;
    await this.#start(volume, async (engine, place) => {
      fitting = await engine.unlock(image, keys);
      if (fitting !== undefined) await mountDisk(place);
    });
    if (fitting !== undefined) return fitting;
    await this.cutOff(volume);
    throw new SupercargoError('data-missing', `None of the keys of volume ${volume} opens its image.`, {
      hint: 'Its records and its data do not belong together: was one of them set back to an older state?',
    });
  }

  async flush(volume: string): Promise<void> {
    const { clear } = this.#place(volume);
    if (isMounted(clear)) await execute('sync', ['--file-system', clear]);
  }

  async rekey(volume: string, from: VolumeKey, to: VolumeKey): Promise<void> {
    await new LuksEngine(this.#place(volume), this.#clock).rekey(from, to);
  }

  async close(volume: string): Promise<void> {
    const place = this.#place(volume);
    if (!existsSync(place.directory)) return;
    const engine = new LuksEngine(place, this.#clock);
    // One that has died has lost what was not flushed already; its users have been told by their calls.
    if (engine.isAlive) {
      // Their own mounts of it do not keep ours busy, but would go on with nothing behind them.
      const [first] = await findUses(this.clearPath(volume), place.clear);
      if (first !== undefined)
        throw new SupercargoError('volume-in-use', `The open data of volume ${volume} is in use by ${first.kind} ${first.name}.`);
      await this.flush(volume);
    }
    await unmount(place.clear);
    await engine.end();
    await clearAway(place);
  }

  async cutOff(volume: string): Promise<void> {
    const place = this.#place(volume);
    await new LuksEngine(place, this.#clock).kill();
    await unmount(place.clear, '--lazy');
    await clearAway(place);
  }

  /** Begins anew with an engine; if it cannot be brought to serve, nothing of it stays. */
  async #start(volume: string, serve: (engine: LuksEngine, place: Place) => Promise<void>): Promise<void> {
    await this.close(volume);
    const place = this.#place(volume);
    await mkdir(place.clear, { recursive: true, mode: 0o700 });
    await writeFile(place.disk, '', { mode: 0o600 });
    const engine = new LuksEngine(place, this.#clock);
    try {
      await engine.start();
      await serve(engine, place);
    } catch (error) {
      await this.cutOff(volume);
      throw error;
    }
  }

  #place(volume: string): Place {
    const directory = join(this.#root, volume);
    const file = (name: string): string => join(directory, name);
    return { directory, control: file('control'), process: file('process'), log: file('log'), disk: file('disk'), clear: file('clear') };
  }
}

async function requireImage(volume: string, image: string): Promise<void> {
  await access(image).catch((error: unknown) => {
    throw new SupercargoError('data-missing', `There is no image of volume ${volume} in its live copy.`, {
      hint: 'Check that the pool is mounted and intact.',
      cause: error,
    });
  });
}

/** The loop device goes by itself with its mount. */
async function mountDisk({ disk, clear }: Place): Promise<void> {
  const loop = (await execute('losetup', ['--find', '--show', '--direct-io=on', disk])).trim();
  try {
    await execute('mount', ['--types', 'ext4', '--options', mountOptions, loop, clear]);
  } finally {
    await execute('losetup', ['--detach', loop]);
  }
}

/** Safe to repeat, also by two processes at once. @throws volume-in-use */
async function unmount(path: string, ...options: string[]): Promise<void> {
  while (isMounted(path)) {
    try {
      await execute('umount', [...options, path]);
    } catch (error) {
      if (!isMounted(path)) return;
      if (!isSupercargoError(error) || !error.message.includes('busy')) throw error;
      throw new SupercargoError('volume-in-use', `${path} is in use: the kernel calls it busy.`, {
        hint: 'Stop what uses it; `fuser -vm` with this path shows the processes.',
        cause: error,
      });
    }
  }
}

/** What an engine leaves behind that did not end in order. Nothing is removed below a mount. */
async function clearAway(place: Place): Promise<void> {
  for (const loop of loopsOf(place.disk)) await execute('losetup', ['--detach', loop]);
  await unmount(place.disk, '--lazy');
  for (const file of [place.disk, place.control, place.process, place.log]) await rm(file, { force: true });
  for (const directory of [place.clear, place.directory]) await rmdir(directory).catch(unlessAbsent);
}

/** Loop devices of a disk whose mount did not come about. */
function loopsOf(disk: string): string[] {
  const names = readdirSync('/sys/block').filter((name) => name.startsWith('loop'));
  return names.filter((name) => backingFileOf(name) === disk).map((name) => `/dev/${name}`);
}

function backingFileOf(loop: string): string | undefined {
  const file = `/sys/block/${loop}/loop/backing_file`;
  // Unlike its folder, the file is there only while something is attached.
  return existsSync(file) ? readFileSync(file, 'utf8').trimEnd() : undefined;
}

function unlessAbsent(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}

function isMounted(path: string): boolean {
  return readMounts().some((mount) => mount.mountPoint === path);
}
