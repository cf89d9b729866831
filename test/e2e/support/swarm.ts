import { get } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { json } from 'node:stream/consumers';
import { TEST_IMAGE } from '../../../testbed/lab.ts';
import type { Host } from '../../../testbed/lab.ts';
import type { Cluster } from './cluster.ts';

export interface ServiceOptions {
  name: string;
  volume: string;
  script: string;
  /** Further options of the volume, as `key=value`. */
  volumeOptions?: string[];
  /** Further options of `docker service create`. */
  options?: string[];
}

/** A task that Swarm wants to run, and says that it does. */
export interface RunningTask {
  id: string;
  host: Host;
}

/** The engines of a cluster as a Swarm: the first host manages it, the others are its workers and run the tasks. */
export class Swarm {
  readonly manager: Host;
  readonly workers: readonly Host[];

  private constructor([manager, ...workers]: readonly Host[]) {
    if (manager === undefined) throw new Error('a Swarm has at least one host');
    this.manager = manager;
    this.workers = workers;
  }

  /** @param options of `docker swarm init` */
  static async form(cluster: Cluster, ...options: string[]): Promise<Swarm> {
    const swarm = new Swarm(cluster.lab.hosts);
    const { manager, workers } = swarm;
    await manager.docker('swarm', 'init', '--advertise-addr', manager.address, ...options);
    const token = await manager.docker('swarm', 'join-token', '--quiet', 'worker');
    for (const host of workers)
      await host.docker('swarm', 'join', '--token', token.stdout.trim(), '--advertise-addr', host.address, `${manager.address}:2377`);
    return swarm;
  }

  /** A service of one task, on one of the workers, with the volume at /data. */
  async createService({ name, volume, script, volumeOptions = [], options = [] }: ServiceOptions): Promise<void> {
    const placement = ['--replicas', '1', '--network', 'host', '--constraint', 'node.role==worker', '--no-resolve-image'];
    const restart = ['--stop-grace-period', '1s', '--restart-delay', '1s'];
    const mount = ['type=volume,volume-driver=supercargo,target=/data', `source=${volume}`, ...volumeOptions.map((option) => `volume-opt=${option}`)];
    const create = ['service', 'create', '--detach', '--name', name, ...placement, ...restart, '--mount', mount.join(',')];
    await this.manager.docker(...create, ...options, TEST_IMAGE, 'sh', '-c', script);
  }

  async availability(host: Host, state: 'active' | 'drain'): Promise<void> {
    await this.manager.docker('node', 'update', '--availability', state, host.name);
  }

  /** Whether the manager hears all its nodes. */
  async isWhole(): Promise<boolean> {
    const nodes = await askEngine<{ Status: { State: string } }[]>(this.manager, '/nodes');
    return nodes.every(({ Status }) => Status.State === 'ready');
  }

  /** The running containers of a service on a host: what the host's engine says, whatever the manager knows. */
  async containersOn(host: Host, service: string): Promise<string[]> {
    const containers = await askEngine<{ Id: string }[]>(
      host,
      `/containers/json?${filters({ label: [`com.docker.swarm.service.name=${service}`] })}`,
    );
    return containers.map(({ Id }) => Id);
  }

  /** The one task of a service if it runs as the manager wants it, and no other container of the service runs anywhere. */
  async soleTask(service: string): Promise<RunningTask | undefined> {
    const [task, ...further] = await askEngine<Task[]>(this.manager, `/tasks?${filters({ service: [service], 'desired-state': ['running'] })}`);
    const containers = await Promise.all(this.workers.map((host) => this.containersOn(host, service)));
    const host = this.workers[containers.findIndex(([first]) => first === task?.Status.ContainerStatus?.ContainerID)];
    const sole = further.length === 0 && containers.flat().length === 1 && task?.Status.State === 'running';
    return sole && host !== undefined ? { id: task.ID, host } : undefined;
  }
}

interface Task {
  ID: string;
  Status: { State: string; ContainerStatus?: { ContainerID: string } };
}

function filters(by: Record<string, string[]>): string {
  return new URLSearchParams({ filters: JSON.stringify(by) }).toString();
}

/** A question to an engine's API. It costs less than a run of its client, for what is asked again and again. */
async function askEngine<Answer>(host: Host, path: string): Promise<Answer> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    get({ socketPath: host.engine.socket, path, agent: false }, resolve).on('error', reject);
  });
  const answer = await json(response);
  if (response.statusCode !== 200)
    throw new Error(`the engine of ${host.name} answered ${path} with ${response.statusCode}: ${JSON.stringify(answer)}`);
  return answer as Answer;
}
