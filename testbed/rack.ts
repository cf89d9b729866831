/** The rack: the folder that holds a lab's disks and records, so that another process can find the lab again. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { mkdir, readdir, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { isAlive, run } from './process.ts';
import type { ProcessRecord } from './process.ts';

/** Racks that nobody named lie here. It must be on a real file system: overlays do not nest as a writable layer. */
export const RACKS = '/var/tmp/supercargo-lab';

/** The checkout this testbed belongs to; hosts see it, read-only, at its own path. */
export const PROJECT = dirname(import.meta.dirname);

/** What the rack remembers of the lab as a whole. */
export interface LabRecord {
  /** The process that the lab must not outlive; none for a lab brought up from the command line. */
  readonly owner?: ProcessRecord;
  /** Size in bytes, or with a suffix, of each host's extra disk. */
  readonly disks?: string;
}

export class Rack {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Names a rack; creates nothing. */
  static at(folder: string): Rack {
    return new Rack(resolve(folder));
  }

  /** Racks below `folder` whose owner has ended without taking its lab down. */
  static abandoned(folder: string): Rack[] {
    if (!existsSync(folder)) return [];
    return readdirSync(folder)
      .map((name) => Rack.at(join(folder, name)))
      .filter((rack) => {
        const owner = rack.lab()?.owner;
        return owner !== undefined && !isAlive(owner);
      });
  }

  /** Makes the folder. Throws if it holds anything that is not a lab's. */
  async create(record: LabRecord): Promise<Rack> {
    await mkdir(this.folder, { recursive: true, mode: 0o755 });
    if ((await readdir(this.folder)).length > 0) throw new Error(`${this.folder} is not empty and not a lab`);
    const rack = new Rack(await realpath(this.folder));
    await rack.write('lab.json', record);
    return rack;
  }

  /** The lab's record, or undefined if there is no lab here. */
  lab(): LabRecord | undefined {
    return this.read<LabRecord>('lab.json');
  }

  /** A name for this lab's cgroups that no other lab has. */
  get cgroup(): string {
    return `supercargo-lab-${createHash('sha256').update(this.folder).digest('hex').slice(0, 10)}`;
  }

  path(...names: string[]): string {
    return join(this.folder, ...names);
  }

  /** The names of the hosts that were ever booted, in order of their numbers. */
  hosts(): string[] {
    if (!existsSync(this.folder)) return [];
    return readdirSync(this.folder)
      .filter((name) => /^h\d+$/.test(name))
      .toSorted((a, b) => Number(a.slice(1)) - Number(b.slice(1)));
  }

  /** A record of this rack: written by `write` of the same version, so its shape is taken as read. */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters
  read<T>(name: string): T | undefined {
    try {
      return JSON.parse(readFileSync(this.path(name), 'utf8')) as T;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  async write(name: string, value: LabRecord | ProcessRecord): Promise<void> {
    // By rename, so that a reader (or a later run after a kill) never meets half a record.
    await writeFile(this.path(`${name}.new`), JSON.stringify(value));
    await rename(this.path(`${name}.new`), this.path(name));
  }

  async forget(name: string): Promise<void> {
    await rm(this.path(name), { force: true });
  }

  /** Deletes the rack and all disks in it; `lab.json` goes last, so that a killed removal can be repeated. */
  async remove(): Promise<void> {
    if (this.lab() === undefined) throw new Error(`${this.folder} is not a lab: not removed`);
    // A host that lost its power leaves the mount points of its volumes, which Supercargo makes immutable.
    await run(['chattr', '-R', '-f', '-i', this.folder], { allowFailure: true });
    for (const name of await readdir(this.folder)) {
      if (name !== 'lab.json') await rm(this.path(name), { recursive: true, force: true, maxRetries: 20 });
    }
    await rm(this.folder, { recursive: true });
  }
}
