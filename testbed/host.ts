/** One host of a lab: a machine with its own root, network, processes, disk and Docker engine. */
import { spawn } from 'node:child_process';
import type { ChildProcess, StdioOptions } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { HostCgroups } from './cgroups.ts';
import { Engine } from './engine.ts';
import { attach, detachAll } from './loops.ts';
import { addressOf } from './network.ts';
import type { Network } from './network.ts';
import { isAlive, onlyChildOf, recordProcess, run, waitUntil } from './process.ts';
import type { Completed, ProcessRecord, RunOptions } from './process.ts';
import { PROJECT } from './rack.ts';
import type { Rack } from './rack.ts';

const SCRIPT = join(import.meta.dirname, 'host.sh');
/** Holds the Node that runs the lab, and the project's own command. */
const LAB_BIN = '/opt/lab/bin';
/** So many names are in /etc/hosts of every host. */
const NAMED_HOSTS = 32;

/** A running process of a host. */
export interface HostProcess {
  /** As the machine numbers it. */
  readonly pid: number;
  /** As the host numbers it; processes of containers have yet another number inside. */
  readonly localPid: number;
  readonly argv: readonly string[];
}

export interface HostRunOptions extends Omit<RunOptions, 'environment'> {
  /** Added to the host's plain environment; nothing is inherited from the caller. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Folder on the host in which the command starts. Default: `/`. */
  readonly workingDirectory?: string;
}

export interface HostSpawnOptions extends Pick<HostRunOptions, 'environment' | 'workingDirectory'> {
  /** As for `child_process.spawn`. Default: `pipe`. */
  readonly stdio?: StdioOptions;
  /** Stay in the caller's process group and terminal. Default: false. */
  readonly foreground?: boolean;
}

export interface HostContext {
  readonly rack: Rack;
  readonly network: Network;
  /** Whether hosts booted by this process end with it. */
  readonly dieWithParent: boolean;
  /** Size of the extra disk, if the lab's hosts have one. */
  readonly disks: string | undefined;
}

export class Host {
  readonly name: string;
  /** The host's address on the lab's network; not reachable from the machine itself. */
  readonly address: string;
  readonly engine: Engine;
  readonly #context: HostContext;
  readonly #cgroups: HostCgroups;
  readonly #number: number;

  constructor(name: string, context: HostContext) {
    const match = /^h([1-9]\d{0,2})$/.exec(name);
    this.#number = Number(match?.[1]);
    if (match === null || this.#number > 200) throw new Error(`no host can be called ${name}: use h1 to h200`);
    this.name = name;
    this.address = addressOf(this.#number);
    this.#context = context;
    this.#cgroups = new HostCgroups(context.rack.cgroup, name);
    this.engine = new Engine(this);
  }

  // ---- power ----

  /** Whether the host's init runs. */
  get isUp(): boolean {
    return this.#record('init') !== undefined;
  }

  /** Switches the host on, with what its disk held; Docker is not started. Throws if it is up. */
  async boot(): Promise<void> {
    if (this.isUp) throw new Error(`${this.name} is already up`);
    await this.#cleanUp();
    await this.#prepareDisk();
    await this.#cgroups.create();
    const log = await open(this.logFile('init'), 'a');
    const guard = this.#context.dieWithParent ? ['setpriv', '--pdeathsig', 'KILL'] : [];
    const boot = ['/bin/bash', SCRIPT, 'boot', this.#cgroups.forInit, this.name, this.#folder(), PROJECT];
    const [file, ...rest] = [...guard, ...boot];
    const outer = spawn(file ?? '', rest, { detached: true, stdio: ['ignore', log.fd, log.fd, 'pipe'], env: environment() });
    outer.unref();
    await log.close();
    const pid = await announcedPid(outer.stdio[3] as Readable);
    if (outer.pid === undefined || pid === undefined) {
      throw new Error(`${this.name} did not boot:\n${await readFile(this.logFile('init'), 'utf8')}`);
    }
    await this.#context.rack.write(this.#recordName('outer'), recordProcess(outer.pid));
    await this.#context.rack.write(this.#recordName('init'), recordProcess(pid));
    await this.#context.network.connect(this.#number, pid);
  }

  /**
   * Cuts the power: every process is killed at once and nothing is stopped in order. The machine's page cache lives
   * on, so what was written but not synced is still there after `boot`. Does nothing if the host is off.
   */
  async powerOff(): Promise<void> {
    await this.#cleanUp();
  }

  /**
   * Cuts the power and loses what was not flushed to the extra disk, which must exist, on a rack whose file system
   * clones files (xfs, btrfs). The rest of the host's disk is as after `powerOff`.
   */
  async powerCut(): Promise<void> {
    if (this.#context.disks === undefined) throw new Error(`${this.name} has no extra disk whose cache a power cut could lose`);
    const clone = `${this.#diskImage()}.cut`;
    await this.freeze();
    try {
      // One clone is one instant of the disk; what the dying host still writes goes to the image it replaces.
      await run(['cp', '--reflink=always', this.#diskImage(), clone]);
    } catch (error) {
      await rm(clone, { force: true });
      await this.thaw();
      throw new Error('a power cut needs a rack on xfs or btrfs', { cause: error });
    }
    await this.#cleanUp();
    await rename(clone, this.#diskImage());
  }

  /** Stops every process of the host where it stands, network left up: a host that hangs. */
  async freeze(): Promise<void> {
    await this.#cgroups.freeze();
  }

  async thaw(): Promise<void> {
    await this.#cgroups.thaw();
  }

  // ---- network ----

  /** Pulls the network cable. */
  async cut(): Promise<void> {
    await this.#context.network.cut(this.#number);
  }

  async heal(): Promise<void> {
    await this.#context.network.heal(this.#number);
  }

  /** Limits the host's network in each direction; 0 lifts the limit. Lost at power-off. */
  async throttle(bytesPerSecond: number): Promise<void> {
    await this.#context.network.throttle(this.#number, this.pid, bytesPerSecond);
  }

  // ---- commands ----

  /** Runs a command on the host to its end. Throws `CommandError` unless it exits with 0 (see options). */
  async run(argv: readonly string[], options: HostRunOptions = {}): Promise<Completed> {
    return run(this.#enter(argv, options), { ...options, environment: environment(options.environment) });
  }

  /** Starts a command on the host. The child is a parent of the command: signal it with `kill(child, ...)`. */
  spawn(argv: readonly string[], options: HostSpawnOptions = {}): ChildProcess {
    const [file, ...rest] = this.#enter(argv, options);
    return spawn(file ?? '', rest, {
      detached: options.foreground !== true,
      stdio: options.stdio ?? 'pipe',
      env: environment(options.environment),
    });
  }

  /** Sends a signal to a command started with `spawn` (not to what that command started). */
  async kill(child: ChildProcess, name: NodeJS.Signals): Promise<void> {
    const pid = await this.pidOf(child);
    process.kill(pid, name);
  }

  /** The machine's number of a command started with `spawn`; waits until it has entered the host. */
  async pidOf(child: ChildProcess): Promise<number> {
    const outer = child.pid;
    if (outer === undefined) throw new Error('the command was never started');
    const entered: number[] = [];
    await waitUntil('the command to enter the host', async () => {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error('the command has ended');
      const pid = await onlyChildOf(outer);
      if (pid !== undefined) entered.push(pid);
      return pid !== undefined;
    });
    return entered[0] ?? outer;
  }

  /** Every process of the host, containers included. */
  async processes(): Promise<HostProcess[]> {
    const pids = await this.#cgroups.processes();
    const found = await Promise.all(pids.map((pid) => describe(pid)));
    return found.filter((process) => process !== undefined);
  }

  // ---- docker ----

  /** Runs the docker client against this host's engine. Throws `CommandError` if it fails. */
  async docker(...args: string[]): Promise<Completed> {
    return this.engine.command(args);
  }

  async startDocker(args: readonly string[] = []): Promise<void> {
    await this.engine.start(args);
  }

  async stopDocker(name: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.engine.stop(name);
  }

  /** dockerd's process, as the machine numbers it. */
  async dockerPid(): Promise<number> {
    return this.engine.pid();
  }

  // ---- places ----

  /** The machine's number of the host's init. Throws if the host is off. */
  get pid(): number {
    const init = this.#record('init');
    if (init === undefined) throw new Error(`${this.name} is off`);
    return init.pid;
  }

  /**
   * The host's file as seen from the machine. A path through an absolute symbolic link (`/var/run`) would be
   * resolved on the machine: name the target (`/run`) instead.
   */
  path(absolute: string): string {
    return join(`/proc/${this.pid}/root`, absolute);
  }

  /** The log of `init`, `dockerd` or any name a test chooses; on the machine, and there when the host is off. */
  logFile(name: string): string {
    return join(this.#folder(), `${name}.log`);
  }

  /** The extra disk's device (`disks` of `Lab.up`), the same path on host and machine; it may change at a boot. */
  async disk(): Promise<string> {
    const { stdout } = await run(['losetup', '--noheadings', '--output', 'NAME', '--associated', this.#diskImage()]);
    const device = stdout.trim().split('\n')[0];
    if (device === undefined || device === '') throw new Error(`${this.name} has no extra disk`);
    return device;
  }

  #folder(): string {
    return this.#context.rack.path(this.name);
  }

  #diskImage(): string {
    return join(this.#folder(), 'extra-disk.img');
  }

  #recordName(which: 'init' | 'outer'): string {
    return join(this.name, `${which}.json`);
  }

  /** The recorded process if it still runs. */
  #record(which: 'init' | 'outer'): ProcessRecord | undefined {
    const record = this.#context.rack.read<ProcessRecord>(this.#recordName(which));
    return record !== undefined && isAlive(record) ? record : undefined;
  }

  #enter(argv: readonly string[], options: Pick<HostRunOptions, 'workingDirectory'>): string[] {
    const folder = options.workingDirectory;
    const command = folder === undefined ? argv : ['env', '--chdir', folder, ...argv];
    return ['/bin/bash', SCRIPT, 'enter', this.#cgroups.forCommands, String(this.pid), ...command];
  }

  /** Ends everything that belongs to the last boot, and awaits that the kernel has let go of it. */
  async #cleanUp(): Promise<void> {
    const outer = this.#record('outer');
    if (outer !== undefined) {
      // Only what is inside: `unshare` and `nsenter` outside end by themselves and reap their children, which
      // the machine's init may do a second later, and the kernel waits for that.
      await this.#cgroups.kill((await this.processes()).map(({ pid }) => pid));
      await waitUntil(`${this.name} to end`, () => !isAlive(outer));
    }
    await this.#cgroups.removeWithProcesses();
    await this.#context.rack.forget(this.#recordName('init'));
    await this.#context.rack.forget(this.#recordName('outer'));
    if (existsSync(this.#folder())) await detachAll(this.#folder());
  }

  async #prepareDisk(): Promise<void> {
    const root = join(this.#folder(), 'disk', 'root');
    if (!existsSync(root)) await this.#install(root);
    if (this.#context.disks === undefined) return;
    await run(['truncate', '--size', this.#context.disks, this.#diskImage()]);
    await attach(this.#diskImage());
  }

  /** Writes what tells this host from the others to its root's upper layer. */
  async #install(root: string): Promise<void> {
    await mkdir(join(this.#folder(), 'mount'), { recursive: true });
    await mkdir(join(this.#folder(), 'disk', 'work'), { recursive: true });
    await mkdir(join(root, 'etc'), { recursive: true });
    await mkdir(join(root, LAB_BIN), { recursive: true });
    const names = Array.from({ length: NAMED_HOSTS }, (_, index) => `${addressOf(index + 1)} h${index + 1}`);
    await writeFile(join(root, 'etc/hosts'), ['127.0.0.1 localhost', '::1 localhost', ...names, ''].join('\n'));
    await writeFile(join(root, 'etc/hostname'), `${this.name}\n`);
    await writeFile(join(root, 'etc/machine-id'), `${randomBytes(16).toString('hex')}\n`);
    await symlink(process.execPath, join(root, LAB_BIN, 'node'));
    await symlink(join(PROJECT, 'bin/supercargo'), join(root, LAB_BIN, 'supercargo'));
  }
}

function environment(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  return {
    PATH: `${LAB_BIN}:/usr/sbin:/usr/bin:/sbin:/bin`,
    HOME: '/root',
    LANG: 'C.UTF-8',
    ...(process.env['TERM'] === undefined ? {} : { TERM: process.env['TERM'] }),
    ...extra,
  };
}

/** What `host.sh boot` writes when the host is up; undefined if it ended first. */
async function announcedPid(pipe: Readable): Promise<number | undefined> {
  // Only the first line: `unshare` keeps the other end open as long as the host lives.
  try {
    for await (const line of createInterface(pipe)) return Number(line);
    return undefined;
  } finally {
    pipe.destroy();
  }
}

async function describe(pid: number): Promise<HostProcess | undefined> {
  try {
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    const numbers = /^NSpid:\t(.*)$/m.exec(status)?.[1]?.split('\t').map(Number) ?? [];
    // A single number belongs to the outer half of a command that is entering the host.
    const localPid = numbers[1];
    if (localPid === undefined) return undefined;
    const argv = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0').slice(0, -1);
    return { pid, localPid, argv };
  } catch {
    // It ended while we looked.
    return undefined;
  }
}
