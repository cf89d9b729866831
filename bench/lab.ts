/** Two hosts with Docker and Supercargo, and what the measurements do on them. */
import { run, waitUntil } from '../testbed/process.ts';
import type { Host } from '../testbed/lab.ts';
import { Cluster } from '../test/e2e/support/cluster.ts';
import type { DaemonStatus } from '../test/e2e/support/cluster.ts';
import { PluginSocket, callSocket } from './local-call.ts';

export interface BenchOptions {
  /** Runs of each measure; undefined: the measure's own number. */
  runs: number | undefined;
  /** Little data and few runs: shows that it works, its figures say nothing. */
  small: boolean;
  /** Empty the machine's page cache before each transfer. */
  dropCaches: boolean;
  /** Progress, for people. */
  say: (line: string) => void;
}

const pluginSocket = '/run/docker/plugins/supercargo.sock';
const agentSocket = '/run/supercargo/agent.sock';
const poolDirectory = '/var/lib/supercargo/pool';

export class BenchLab implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly source: Host;
  readonly destination: Host;

  private constructor(cluster: Cluster) {
    this.cluster = cluster;
    this.source = cluster.host('h1');
    this.destination = cluster.host('h2');
  }

  static async start(poolSize: string): Promise<BenchLab> {
    return new BenchLab(await Cluster.start({ hosts: 2, poolSize }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
  }

  plugin(host: Host): PluginSocket {
    return new PluginSocket(host.path(pluginSocket));
  }

  /** Asks the API of the cluster, through a host's socket for its operator. */
  ask<Answer>(host: Host, path: string): Promise<Answer> {
    return callSocket<Answer>(host.path(agentSocket), { path });
  }

  async volumeOn(host: Host, name: string): Promise<DaemonStatus['volumes'][number] | undefined> {
    const { volumes } = await this.ask<DaemonStatus>(host, '/v1/local/status');
    return volumes.find((volume) => volume.name === name);
  }

  async volumeId(name: string): Promise<string> {
    return (await this.ask<{ id: string }>(this.source, `/v1/volumes/${name}`)).id;
  }

  /** Waits until nothing of Supercargo's is mounted for the volume, so that the next mount is a whole one. */
  async unmounted(host: Host, name: string): Promise<void> {
    await waitUntil(`${name} is unmounted on ${host.name}`, async () => (await this.volumeOn(host, name))?.mounted === false);
  }

  /** A path in the host's pool, as the host names it. */
  inPool(...names: string[]): string {
    return [poolDirectory, ...names].join('/');
  }

  /** Brings every host's disk to rest, so that no measure pays for what was done before it. */
  async settle(dropCaches: boolean): Promise<void> {
    await run(['sync']);
    if (dropCaches) await run(['sysctl', '--quiet', 'vm.drop_caches=3']);
  }
}

/** Milliseconds that a task took. */
export async function timed(task: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await task();
  return performance.now() - begin;
}

/** Does both in one order in even rounds and in the other in odd ones: neither always comes first. */
export async function inTurn(round: number, first: () => Promise<void>, second: () => Promise<void>): Promise<void> {
  const order = round % 2 === 0 ? [first, second] : [second, first];
  for (const task of order) await task();
}
