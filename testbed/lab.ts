/** A lab: several Docker hosts on this machine. Run as a program it is the `lab` command (see command.ts). */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { Capture } from './capture.ts';
import { hostsWithCgroups, removeLabCgroups } from './cgroups.ts';
import { Host } from './host.ts';
import type { HostContext } from './host.ts';
import { importTestImage, testImageTarball } from './image.ts';
import { Network } from './network.ts';
import { isAlive, recordProcess } from './process.ts';
import { RACKS, Rack } from './rack.ts';

export { TEST_IMAGE } from './image.ts';
export { CommandError } from './process.ts';
export type { Completed } from './process.ts';
export type { Host, HostProcess, HostRunOptions, HostSpawnOptions } from './host.ts';

export interface LabOptions {
  /** How many hosts to boot: h1, h2, … */
  readonly hosts: number;
  /** Folder for disks and records. Default: a new one, on a real file system. */
  readonly rack?: string;
  /** Start Docker on every host. Default: true. */
  readonly docker?: boolean;
  /** Arguments for every dockerd. */
  readonly dockerArguments?: readonly string[];
  /** Import the test image on every host. Default: false; needs Docker. */
  readonly image?: boolean;
  /** Size (such as `2G`) of an extra empty disk for each host: see `Host.disk`. Default: none. */
  readonly disks?: string;
  /** Whether the lab stays up when this process ends. Default: false. */
  readonly persistent?: boolean;
}

let unnamedRacks = 0;

export class Lab {
  readonly rack: Rack;
  readonly #context: HostContext;
  readonly #network: Network;
  readonly #hosts = new Map<string, Host>();
  #testImage: Promise<string> | undefined;

  private constructor(rack: Rack) {
    const record = rack.lab();
    if (record === undefined) throw new Error(`there is no lab in ${rack.folder}`);
    this.rack = rack;
    this.#network = new Network(rack);
    const dieWithParent = record.owner?.pid === process.pid && isAlive(record.owner);
    this.#context = { rack, network: this.#network, dieWithParent, disks: record.disks };
  }

  /**
   * Brings a lab up. What a killed run left in the rack is removed first; a lab that is in use is refused.
   * Unless `persistent`, the lab ends with this process, however that ends.
   */
  static async up(options: LabOptions): Promise<Lab> {
    if (process.getuid?.() !== 0) throw new Error('the testbed makes namespaces and mounts: run it as root');
    for (const rack of Rack.abandoned(RACKS)) await new Lab(rack).down();
    const folder = options.rack ?? join(RACKS, `test-${process.pid}-${++unnamedRacks}`);
    await removeStale(Rack.at(folder));
    const owner = options.persistent === true ? {} : { owner: recordProcess(process.pid) };
    const disks = options.disks === undefined ? {} : { disks: options.disks };
    const lab = new Lab(await Rack.at(folder).create({ ...owner, ...disks }));
    if (options.persistent !== true) takeDownAtExit(lab);
    try {
      await lab.#network.create(options.persistent !== true);
      const names = Array.from({ length: options.hosts }, (_, index) => `h${index + 1}`);
      await allOrFirstError(names.map((name) => lab.#start(name, options)));
    } catch (error) {
      await lab.down();
      throw error;
    }
    return lab;
  }

  /** The lab that another process brought up in this rack. */
  static open(rack: string): Lab {
    return new Lab(Rack.at(rack));
  }

  /** A host by its name, booted or not. */
  host(name: string): Host {
    const known = this.#hosts.get(name);
    if (known !== undefined) return known;
    const host = new Host(name, this.#context);
    this.#hosts.set(name, host);
    return host;
  }

  /** Every host that was ever booted, in order. */
  get hosts(): Host[] {
    return this.rack.hosts().map((name) => this.host(name));
  }

  /** Gives the host's engine the image `TEST_IMAGE`. */
  async importImage(host: Host): Promise<void> {
    // Hosts that boot in parallel share one build.
    this.#testImage ??= testImageTarball(this.rack);
    await importTestImage(host, await this.#testImage);
  }

  /** Records every packet between the hosts from now on, in a file of the rack; it goes with the lab. */
  async capture(): Promise<Capture> {
    return this.#network.capture(this.rack.path('packets.pcap'));
  }

  /** Powers every host off and deletes all disks; nothing of the lab stays on the machine. Can be repeated. */
  async down(): Promise<void> {
    if (this.rack.lab() === undefined) return;
    const names = new Set([...this.rack.hosts(), ...hostsWithCgroups(this.rack.cgroup)]);
    await allOrFirstError([...names].map((name) => this.host(name).powerOff()));
    await this.#network.remove();
    await removeLabCgroups(this.rack.cgroup);
    await this.rack.remove();
    ownedLabs.delete(this);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
  }

  async #start(name: string, options: LabOptions): Promise<void> {
    const host = this.host(name);
    await host.boot();
    if (options.docker === false) return;
    await host.startDocker(options.dockerArguments);
    if (options.image === true) await this.importImage(host);
  }
}

async function removeStale(rack: Rack): Promise<void> {
  const record = rack.lab();
  if (record === undefined) return;
  const lab = Lab.open(rack.folder);
  const owned = record.owner !== undefined;
  const inUse = owned ? isAlive(record.owner) : lab.hosts.some((host) => host.isUp);
  if (inUse) throw new Error(`a lab is up in ${rack.folder}${owned ? ` (process ${record.owner.pid})` : ''}: take it down first`);
  await lab.down();
}

/** Waits for all, so that nothing goes on in the background when the first error is thrown. */
async function allOrFirstError(work: Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

const ownedLabs = new Set<Lab>();
const END_SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Even SIGKILL ends the hosts (they die with their parent); these handlers also remove disks and cgroups. */
function takeDownAtExit(lab: Lab): void {
  const first = ownedLabs.size === 0;
  ownedLabs.add(lab);
  if (!first) return;
  // An exit handler cannot wait for promises, hence another process.
  process.once('exit', () => {
    for (const { rack } of ownedLabs) {
      spawnSync(process.execPath, [import.meta.filename, '--rack', rack.folder, 'down'], { stdio: 'inherit' });
    }
  });
  for (const name of END_SIGNALS) {
    process.once(name, () => process.exit(128 + { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 }[name]));
  }
}

if (import.meta.main) {
  // Not awaited: command.ts imports this module, which would wait for itself.
  void import('./command.ts').then(async ({ main }) => {
    process.exitCode = await main(process.argv.slice(2));
  });
}
