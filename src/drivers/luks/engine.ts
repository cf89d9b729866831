import { readFileSync } from 'node:fs';
import { SupercargoError, isSupercargoError } from '../../model/errors.ts';
import type { Clock } from '../../ports/clock.ts';
import type { VolumeKey } from '../../ports/volume-cipher.ts';
import { spawnResident } from '../../system/execute.ts';
import { Control } from './control.ts';

/** Files of one engine, in a directory that a restart of the machine empties. */
export interface EngineFiles {
  control: string;
  process: string;
  log: string;
  /** The clear data as one file, which the engine serves. */
  disk: string;
}

const program = 'qemu-storage-daemon';
const startMilliseconds = 15_000;
const endMilliseconds = 5000;
const pollMilliseconds = 10;
/** Keys have 256 random bits: making each guess slow adds nothing, and opening is quick. Milliseconds. */
const derivationMilliseconds = 10;
const imageFormat = { 'cipher-alg': 'aes-256', 'cipher-mode': 'xts', 'hash-alg': 'sha256', 'iter-time': derivationMilliseconds } as const;

/** The process between an image and its clear data: one a volume, in a session of its own. Keys reach it by its control socket only, and leave it again. */
export class LuksEngine {
  readonly #files: EngineFiles;
  readonly #clock: Clock;

  constructor(files: EngineFiles, clock: Clock) {
    this.#files = files;
    this.#clock = clock;
  }

  get isAlive(): boolean {
    return this.#processNumber() !== null;
  }

  /** @throws not-supported if the program is missing; deadline-exceeded */
  async start(): Promise<void> {
    const { control, process: processFile, log } = this.#files;
    const socket = `socket,id=control,path=${control.replaceAll(',', ',,')},server=on,wait=off`;
    const words = ['--chardev', socket, '--monitor', 'chardev=control', '--pidfile', processFile];
    const { PATH } = process.env;
    if (spawnResident(program, words, { logFile: log, environment: PATH === undefined ? {} : { PATH } }) === 0) {
      throw new SupercargoError('not-supported', `The program ${program} is missing, which encrypted volumes need.`, {
        hint: 'Install it: apt-get install qemu-system-common',
      });
    }
    const end = this.#clock.monotonicMilliseconds() + startMilliseconds;
    while (!(await this.#serves())) {
      if (this.#clock.monotonicMilliseconds() > end) {
        throw new SupercargoError('deadline-exceeded', 'The encryption engine does not come up.', { hint: `Its log: ${log}` });
      }
      await this.#clock.sleep(pollMilliseconds);
    }
  }

  /** Makes an image, and serves it. The file is there already. */
  format(image: string, sizeBytes: number, key: VolumeKey): Promise<void> {
    return this.#control(async (control) => {
      await addKey(control, 'key', key);
      await addImage(control, image);
      await control.runJob('blockdev-create', { options: { driver: 'luks', file: 'image', size: sizeBytes, 'key-secret': 'key', ...imageFormat } });
      await unlock(control);
      await this.#serve(control);
    });
  }

  /** Serves an image. @returns the key that fitted; undefined if none did */
  unlock(image: string, keys: readonly VolumeKey[]): Promise<VolumeKey | undefined> {
    return this.#control(async (control) => {
      await addImage(control, image);
      for (const key of keys) {
        await addKey(control, 'key', key);
        if (await fits(unlock(control))) {
          await this.#serve(control);
          return key;
        }
        await removeKey(control, 'key');
      }
      return undefined;
    });
  }

  /** A slot for the new key, then none for the old one; each may have been done before. */
  rekey(from: VolumeKey, to: VolumeKey): Promise<void> {
    const amend = (control: Control, change: object): Promise<void> =>
      control.runJob('x-blockdev-amend', { 'node-name': 'clear', options: { driver: 'luks', ...change } });
    return this.#control(async (control) => {
      await addKey(control, 'key', from);
      await addKey(control, 'next', to);
      try {
        const change = { state: 'active', 'new-secret': 'next', 'iter-time': derivationMilliseconds };
        if (await fits(amend(control, { ...change, secret: 'key' }))) await amend(control, { state: 'inactive', 'old-secret': 'key' });
      } finally {
        await removeKey(control, 'key');
        await removeKey(control, 'next');
      }
    });
  }

  /** Ends it after all that it was given is in the image. */
  async end(): Promise<void> {
    if (!this.isAlive) return;
    // It may end before its answer is read.
    await this.#control((control) => control.run('quit')).catch((error: unknown) => {
      if (this.isAlive && !isSupercargoError(error, 'command-failed')) throw error;
    });
    const end = this.#clock.monotonicMilliseconds() + endMilliseconds;
    while (this.isAlive && this.#clock.monotonicMilliseconds() < end) await this.#clock.sleep(pollMilliseconds);
    await this.kill();
  }

  /** Ends it at once. */
  async kill(): Promise<void> {
    for (let number = this.#processNumber(); number !== null; number = this.#processNumber()) {
      try {
        process.kill(number, 'SIGKILL');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
      await this.#clock.sleep(pollMilliseconds);
    }
  }

  async #serve(control: Control): Promise<void> {
    await removeKey(control, 'key');
    const { disk } = this.#files;
    await control.run('block-export-add', { type: 'fuse', id: 'disk', 'node-name': 'clear', mountpoint: disk, writable: true, growable: false });
  }

  async #serves(): Promise<boolean> {
    try {
      await this.#control(() => Promise.resolve());
      return this.isAlive;
    } catch (error) {
      if (['ENOENT', 'ECONNREFUSED'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
      throw error;
    }
  }

  #control<Result>(work: (control: Control) => Promise<Result>): Promise<Result> {
    return Control.use(this.#files.control, this.#clock, work);
  }

  /** By what it was started with: a number alone may belong to another process by now. */
  #processNumber(): number | null {
    try {
      const number = Number(readFileSync(this.#files.process, 'utf8'));
      return readFileSync(`/proc/${number}/cmdline`, 'utf8').includes(`\0${this.#files.process}\0`) ? number : null;
    } catch (error) {
      if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
      throw error;
    }
  }
}

/** Writes go through the page cache of the host, and what is flushed inside is flushed to the disk. */
async function addImage(control: Control, image: string): Promise<void> {
  const cache = { direct: false, 'no-flush': false };
  await control.run('blockdev-add', { driver: 'file', 'node-name': 'image', filename: image, locking: 'on', cache });
}

async function unlock(control: Control): Promise<void> {
  await control.run('blockdev-add', { driver: 'luks', 'node-name': 'clear', file: 'image', 'key-secret': 'key' });
}

async function addKey(control: Control, id: string, key: VolumeKey): Promise<void> {
  await control.run('object-add', { 'qom-type': 'secret', id, data: key, format: 'raw' });
}

async function removeKey(control: Control, id: string): Promise<void> {
  await control.run('object-del', { id });
}

/** Whether the key fitted. */
async function fits(attempt: Promise<void>): Promise<boolean> {
  try {
    await attempt;
    return true;
  } catch (error) {
    if (isSupercargoError(error, 'command-failed') && error.message.includes('Invalid password')) return false;
    throw error;
  }
}
