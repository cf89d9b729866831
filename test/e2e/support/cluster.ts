import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Lab, TEST_IMAGE } from '../../../testbed/lab.ts';
import type { Completed, Host } from '../../../testbed/lab.ts';
import { waitUntil } from '../../../testbed/process.ts';

export interface ClusterOptions {
  hosts: number;
  /** Size of each host's pool file; default 512M. */
  poolSize?: string;
  /** Environment of the daemons: see src/compose/settings.ts. By host name, or for all under "all". */
  environment?: Record<string, Record<string, string>>;
  dockerArguments?: string[];
  /** false: hosts without an engine. */
  docker?: boolean;
  /** Pools on disks of their own, of this size, whose page cache a power cut loses; then `rack` is a folder on xfs. */
  disks?: { size: string; rack: string };
  /** Done when the hosts are up, before anything of ours runs on them. */
  beforeStart?: (lab: Lab) => Promise<void>;
}

export interface DaemonStatus {
  nameServer: { connected: boolean };
  pool: { capacityBytes: number; usedBytes: number };
  volumes: {
    name: string;
    id: string;
    live: string;
    mounted: boolean;
    references: number;
    grant: string | null;
    uses: { kind: string; name: string }[];
    problem: string | null;
  }[];
}

const stateDirectory = '/var/lib/supercargo';

/** A cluster of real hosts with real Docker engines and the real program: h1 runs the name server as well. */
export class Cluster implements AsyncDisposable {
  readonly lab: Lab;
  readonly #options: ClusterOptions;

  private constructor(lab: Lab, options: ClusterOptions) {
    this.lab = lab;
    this.#options = options;
  }

  static async start(options: ClusterOptions): Promise<Cluster> {
    const lab = await Lab.up({
      hosts: options.hosts,
      docker: options.docker ?? true,
      image: options.docker ?? true,
      ...(options.dockerArguments === undefined ? {} : { dockerArguments: options.dockerArguments }),
      ...(options.disks === undefined ? {} : { disks: options.disks.size, rack: options.disks.rack }),
    });
    const cluster = new Cluster(lab, options);
    try {
      const [first, ...others] = lab.hosts;
      if (first === undefined) throw new Error('a cluster has at least one host');
      await options.beforeStart?.(lab);
      await cluster.up(first);
      for (const host of others) {
        const invitation = await cluster.run(first, 'invite');
        await cluster.run(host, ...invitation.stdout.trim().split(/\s+/).slice(1), '--address', host.address);
        await cluster.up(host);
      }
      return cluster;
    } catch (error) {
      await lab.down();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab.down();
  }

  host(name: string): Host {
    return this.lab.host(name);
  }

  /** Starts the daemon of a host; resolves when it serves. */
  async up(host: Host, environment: Record<string, string> = {}): Promise<void> {
    const { environment: configured = {}, poolSize = '512M', disks } = this.#options;
    const pool = disks === undefined ? ['--pool-size', poolSize] : ['--pool-device', await host.disk()];
    await host.run(['supercargo', 'up', '--detach', '--address', host.address, ...pool, '--log-level', 'debug'], {
      environment: { ...configured['all'], ...configured[host.name], ...environment },
    });
  }

  /** Switches a host on again. Our daemon comes before the engine, as in its service file: an engine looks long for a plugin that is not there. */
  async boot(host: Host): Promise<void> {
    await host.boot();
    await this.up(host);
    await host.startDocker(this.#options.dockerArguments);
  }

  /** Runs a supercargo command on a host. @throws CommandError unless it may fail */
  run(host: Host, ...parameters: string[]): Promise<Completed> {
    return host.run(['supercargo', ...parameters], { timeoutMilliseconds: 280_000 });
  }

  tryRun(host: Host, ...parameters: string[]): Promise<Completed> {
    return host.run(['supercargo', ...parameters], { allowFailure: true, timeoutMilliseconds: 280_000 });
  }

  async json<Answer>(host: Host, ...parameters: string[]): Promise<Answer> {
    return JSON.parse((await this.run(host, ...parameters, '--json')).stdout) as Answer;
  }

  /** Process number of the daemon, as seen on its host; undefined if it does not run. */
  async daemonPid(host: Host): Promise<number | undefined> {
    const { stdout } = await host.run(['cat', '/run/supercargo/supercargo.pid'], { allowFailure: true });
    const pid = Number(stdout.trim());
    if (!Number.isInteger(pid) || pid <= 0) return undefined;
    const alive = await host.run(['kill', '-0', String(pid)], { allowFailure: true });
    return alive.exitCode === 0 ? pid : undefined;
  }

  /** kill -9, and waits until it is gone. */
  async killDaemon(host: Host): Promise<void> {
    const pid = await this.daemonPid(host);
    if (pid === undefined) return;
    await host.run(['kill', '-9', String(pid)], { allowFailure: true });
    await waitUntil(`the daemon of ${host.name} is gone`, async () => (await this.daemonPid(host)) === undefined, 60_000);
  }

  async restartDaemon(host: Host, environment: Record<string, string> = {}): Promise<void> {
    await this.killDaemon(host);
    await this.up(host, environment);
  }

  /** The agent's own view of its host. */
  async status(host: Host): Promise<DaemonStatus> {
    const { stdout } = await host.run(['curl', '-sf', '--unix-socket', '/run/supercargo/agent.sock', 'http://localhost/v1/local/status']);
    return JSON.parse(stdout) as DaemonStatus;
  }

  /** Asks the name server's API through a host's agent. @throws CommandError if it does not answer with success */
  async query<Answer>(host: Host, path: string): Promise<Answer> {
    const { stdout } = await host.run(['curl', '-sf', '--max-time', '20', '--unix-socket', '/run/supercargo/agent.sock', `http://localhost${path}`]);
    return JSON.parse(stdout) as Answer;
  }

  /** All bytes that ever came in by the host's cable. */
  async receivedBytes(host: Host): Promise<number> {
    const { stdout } = await host.run(['cat', '/proc/net/dev']);
    return Number(/eth0:\s*(\d+)/.exec(stdout)?.[1]);
  }

  /** Waits until the agents of all hosts that are up follow the name server. */
  async connected(): Promise<void> {
    for (const host of this.lab.hosts.filter((each) => each.isUp)) {
      await waitUntil(`${host.name} follows the name server`, async () => (await this.status(host)).nameServer.connected, 60_000);
    }
  }

  async volumeOn(host: Host, name: string): Promise<DaemonStatus['volumes'][number] | undefined> {
    return (await this.status(host)).volumes.find((volume) => volume.name === name);
  }

  /** Runs a command in a new container with the volume at /data; the container goes when the command ends. */
  inContainer(host: Host, volume: string, script: string, allowFailure = false): Promise<Completed> {
    return host.engine.command(
      ['run', '--rm', '--network', 'none', '--volume-driver', 'supercargo', '-v', `${volume}:/data`, TEST_IMAGE, 'sh', '-c', script],
      { timeoutMilliseconds: 200_000, allowFailure },
    );
  }

  /** Starts a container that keeps using the volume at /data. */
  startContainer(host: Host, name: string, volume: string, script = 'sleep 1000000'): Promise<Completed> {
    const options = ['--init', '--name', name, '--network', 'none', '--volume-driver', 'supercargo', '-v', `${volume}:/data`];
    return host.docker('run', '-d', ...options, TEST_IMAGE, 'sh', '-c', script);
  }

  createVolume(host: Host, name: string, ...options: string[]): Promise<Completed> {
    return host.docker('volume', 'create', '-d', 'supercargo', ...options.flatMap((option) => ['-o', option]), name);
  }

  /** Path of a volume's live copy on a host, as the machine sees it: for looking at and writing files with the machine's own tools. */
  livePath(host: Host, volumeId: string): string {
    return host.path(`${stateDirectory}/pool/volumes/${volumeId}/live`);
  }

  /** The same of a snapshot of it. @throws if the host does not have that */
  snapshotPath(host: Host, volumeId: string, snapshot: string): string {
    const folder = host.path(`${stateDirectory}/pool/volumes/${volumeId}/snapshots`);
    const name = readdirSync(folder).find((each) => each.endsWith(`-${snapshot}`));
    if (name === undefined) throw new Error(`${host.name} does not have ${snapshot} of ${volumeId}`);
    return join(folder, name, 'data');
  }

  log(host: Host): string {
    return readFileSync(host.path(`${stateDirectory}/supercargo.log`), 'utf8');
  }
}
