/** One cgroup per host under every controller, to freeze a host and to find all of its processes. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { mkdir, readFile, readdir, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { waitUntil } from './process.ts';

const ROOT = '/sys/fs/cgroup';
/**
 * A lab counts as much as this many processes where processors are short. Unasked, a group counts as one, however many hosts are in it: then agents are too
 * late for their leases as soon as a few programs run beside the lab.
 */
const LAB_WEIGHT = 8;
const unified = existsSync(join(ROOT, 'cgroup.controllers'));

/** The roots of the hierarchies in which a host gets a cgroup: one with cgroup v2, one per controller with v1. */
function hierarchies(): string[] {
  if (unified) return [ROOT];
  return readdirSync(ROOT)
    .filter((name) => name !== 'unified' && existsSync(join(ROOT, name, 'cgroup.procs')))
    .map((name) => join(ROOT, name));
}

export class HostCgroups {
  /** `lab/host`, relative to the root of each hierarchy. */
  readonly #name: string;

  constructor(lab: string, host: string) {
    this.#name = join(lab, host);
  }

  #folders(): string[] {
    return hierarchies().map((root) => join(root, this.#name));
  }

  async create(): Promise<void> {
    for (const root of hierarchies()) {
      await mkdir(join(root, this.#name), { recursive: true });
      // A cpuset (v1) takes no process before it is told its processors and memory nodes.
      if (root.endsWith('/cpuset')) {
        for (const file of ['cpuset.cpus', 'cpuset.mems']) {
          const value = readFileSync(join(root, file), 'utf8');
          await writeFile(join(root, this.#name, '..', file), value);
          await writeFile(join(root, this.#name, file), value);
        }
      }
    }
    if (unified) await delegate(join(ROOT, this.#name, '..'));
    await this.#weigh();
  }

  async #weigh(): Promise<void> {
    const [file, one] = unified ? [join(ROOT, this.#name, '..', 'cpu.weight'), 100] : [join(ROOT, 'cpu', this.#name, '..', 'cpu.shares'), 1024];
    // Not there if the machine does not share out its processors.
    if (existsSync(file)) await writeFile(file, String(one * LAB_WEIGHT));
  }

  /** Where the init of a new host has to go. */
  get forInit(): string {
    return this.#folders().join(':');
  }

  /** Where a process has to go that enters the running host. */
  get forCommands(): string {
    // With v2 the host's own cgroup hands its controllers on, and may then hold no process.
    return unified ? join(ROOT, this.#name, 'init') : this.forInit;
  }

  /** Every process of the host, containers included, as numbered on the machine. */
  async processes(): Promise<number[]> {
    return unified ? processesBelow(join(ROOT, this.#name)) : processesBelow(join(ROOT, 'pids', this.#name));
  }

  /** Stops every process of the host where it stands; returns when all have stopped. */
  async freeze(): Promise<void> {
    if (unified) {
      await writeFile(join(ROOT, this.#name, 'cgroup.freeze'), '1');
      await waitUntil(`${this.#name} to freeze`, async () => (await readFile(join(ROOT, this.#name, 'cgroup.events'), 'utf8')).includes('frozen 1'));
      return;
    }
    const file = join(ROOT, 'freezer', this.#name, 'freezer.state');
    await waitUntil(`${this.#name} to freeze`, async () => {
      // Written again on each try: v1 may leave a cgroup FREEZING when a process forked meanwhile.
      await writeFile(file, 'FROZEN');
      return (await readFile(file, 'utf8')).trim() === 'FROZEN';
    });
  }

  async thaw(): Promise<void> {
    if (unified) await writeFile(join(ROOT, this.#name, 'cgroup.freeze'), '0');
    else await writeFile(join(ROOT, 'freezer', this.#name, 'freezer.state'), 'THAWED');
  }

  /** Kills processes of the host, also frozen ones, and thaws it; does not await their end. */
  async kill(pids: readonly number[]): Promise<void> {
    for (const pid of pids) kill(pid);
    // A frozen process dies only when it thaws, and then without another instruction. With v2 it dies as it is.
    const folder = join(ROOT, 'freezer', this.#name);
    const inner = unified ? [] : await readdir(folder, { recursive: true }).catch(() => []);
    for (const state of inner.filter((name) => name.endsWith('freezer.state'))) await writeFile(join(folder, state), 'THAWED').catch(ignoreMissing);
    await this.thaw().catch(ignoreMissing);
  }

  /**
   * Ends whatever still runs in the host's cgroups, also what a killed run had no time to record, and removes them.
   * The cgroups' name is derived from the rack, so nothing else can be in them.
   */
  async removeWithProcesses(): Promise<void> {
    await waitUntil(`the processes of ${this.#name} to end`, async () => {
      await this.kill(await this.processes());
      return (await this.processes()).length === 0;
    });
    for (const folder of this.#folders()) {
      await waitUntil(`${folder} to empty`, () => removeTree(folder));
    }
  }
}

/** Removes the lab's own cgroups, which must hold no host any more. */
export async function removeLabCgroups(lab: string): Promise<void> {
  for (const root of hierarchies()) await removeTree(join(root, lab));
}

/** The names of hosts that have a cgroup in the lab. */
export function hostsWithCgroups(lab: string): string[] {
  const names = hierarchies().flatMap((root) => (existsSync(join(root, lab)) ? subfolders(join(root, lab)) : []));
  return [...new Set(names)];
}

function subfolders(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}

async function delegate(folder: string): Promise<void> {
  const controllers = (await readFile(join(folder, 'cgroup.controllers'), 'utf8')).trim();
  if (controllers === '') return;
  await writeFile(join(folder, 'cgroup.subtree_control'), controllers.replaceAll(/\S+/g, '+$&'));
}

async function processesBelow(folder: string): Promise<number[]> {
  const found: number[] = [];
  for (const entry of await readdir(folder, { recursive: true }).catch(() => [])) {
    if (!entry.endsWith('cgroup.procs')) continue;
    const text = await readFile(join(folder, entry), 'utf8').catch(() => '');
    found.push(...text.split('\n').filter(Boolean).map(Number));
  }
  return found;
}

/** Whether the folder and everything in it is gone. */
async function removeTree(folder: string): Promise<boolean> {
  if (!existsSync(folder)) return true;
  for (const name of subfolders(folder)) {
    if (!(await removeTree(join(folder, name)))) return false;
  }
  try {
    await rmdir(folder);
    return true;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EBUSY') return false;
    if (code === 'ENOENT') return true;
    throw error;
  }
}
