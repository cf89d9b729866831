import { waitUntil } from '../testbed/process.ts';
import type { Host } from '../testbed/lab.ts';
import type { EventView } from '../src/protocol/routes.ts';
import type { VolumeStatus } from '../src/protocol/protection-routes.ts';
import { Cluster } from '../test/e2e/support/cluster.ts';
import { Writer } from '../test/e2e/support/writers.ts';
import { figure } from './figure.ts';
import type { Figure } from './figure.ts';
import type { BenchOptions } from './lab.ts';
import { callSocket, PluginSocket } from './local-call.ts';

const volume = 'bench';
const bench = 'failover';

/** Where the time of one failover went, in milliseconds since the power of the holder was cut. */
interface Failover {
  detected: number;
  takenOver: number;
  mounted: number;
}

/** From a power cut of the holder to the data mounted on another host, with the lease that is the default (10 s) and its margin (2 s). */
export async function measureFailover({ runs = 5, small, say }: BenchOptions): Promise<Figure[]> {
  await using cluster = await Cluster.start({ hosts: 3, poolSize: '1G' });
  const [h1, ...others] = cluster.lab.hosts as [Host, ...Host[]];
  await cluster.run(h1, 'class', 'set', 'safe', '--replicas', '1', '--interval', '1s', '--failover', 'auto');
  // The name server's host is to keep no copy: it is never switched off.
  await cluster.run(h1, 'host', 'drain', 'h1');
  let holder = cluster.host('h2');
  await cluster.createVolume(holder, volume, 'class=safe');
  await cluster.inContainer(holder, volume, `head -c ${small ? 10_000_000 : 200_000_000} /dev/urandom > /data/bulk; sync /data/bulk`);
  const failovers: Failover[] = [];
  for (let round = 0; round < runs; round += 1) {
    const next = others.find((host) => host !== holder) ?? h1;
    await replicaIsFresh(cluster, h1, next);
    const writer = new Writer(holder, `writer${round}`, volume);
    await writer.start();
    // Any place between two heartbeats.
    await new Promise((resolve) => setTimeout(resolve, 3000 + Math.random() * 2000));
    const failover = await failOver(h1, holder, next);
    failovers.push(failover);
    say(`failover ${round + 1} of ${runs}: ${JSON.stringify(failover)}`);
    await cluster.boot(holder);
    await waitUntil('the old holder is a replica', async () => (await cluster.volumeOn(holder, volume))?.live === 'absent', 120_000);
    holder = next;
  }
  const of = (pick: (each: Failover) => number) => ({ ours: failovers.map(pick), rival: [] });
  const measure = { bench, unit: 'ms', better: 'lower' as const, rivalName: null };
  return [
    figure(
      { ...measure, measure: 'power-off to data mounted elsewhere', target: { ours: 15_000 } },
      of(({ mounted }) => mounted),
    ),
    figure(
      { ...measure, measure: '- detection (lease)', target: null },
      of(({ detected }) => detected),
    ),
    figure(
      { ...measure, measure: '- margin and takeover', target: null },
      of(({ takenOver, detected }) => takenOver - detected),
    ),
    figure(
      { ...measure, measure: '- live copy and mount', target: null },
      of(({ mounted, takenOver }) => mounted - takenOver),
    ),
  ];
}

async function failOver(h1: Host, holder: Host, next: Host): Promise<Failover> {
  const began = Date.now();
  await holder.powerOff();
  const plugin = new PluginSocket(next.path('/run/docker/plugins/supercargo.sock'));
  await plugin.mount(volume, 'bench-session'.padEnd(64, '0'));
  const mounted = Date.now() - began;
  const { items } = await callSocket<{ items: EventView[] }>(h1.path('/run/supercargo/agent.sock'), { path: '/v1/events?limit=1000' });
  const since = (type: string, subject: string): number => {
    const event = items.findLast((each) => each.type === type && each.subject === subject);
    if (event === undefined) throw new Error(`there is no event ${type} of ${subject}`);
    return Date.parse(event.time) - began;
  };
  await plugin.unmount(volume, 'bench-session'.padEnd(64, '0'));
  return { detected: since('host.down', holder.name), takenOver: since('volume.failed-over', volume), mounted };
}

async function replicaIsFresh(cluster: Cluster, h1: Host, on: Host): Promise<void> {
  await waitUntil(
    `${on.name} has a fresh replica`,
    async () => {
      const { volume: record, copies } = await cluster.query<VolumeStatus>(h1, `/v1/volumes/${volume}/status`);
      const newest = record.lineage.at(-1)?.snapshot;
      return copies.some(({ host, role, snapshot }) => host === on.name && role === 'replica' && snapshot === newest && newest !== undefined);
    },
    120_000,
  );
}
