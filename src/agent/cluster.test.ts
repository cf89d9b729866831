import { afterEach, describe, expect, it } from 'vitest';
import { SimulatedCluster } from '../../test/sim/simulated-cluster.ts';
import type { SimulatedHost } from '../../test/sim/simulated-host.ts';
import type { FakeContainer } from '../../test/sim/fake-machine.ts';

const started: SimulatedCluster[] = [];

async function start(hosts = 2): Promise<SimulatedCluster> {
  const cluster = await SimulatedCluster.start({ seed: 1, hosts });
  started.push(cluster);
  return cluster;
}

afterEach(async () => {
  for (const cluster of started.splice(0)) await cluster.stop();
});

describe('a volume in a cluster', () => {
  it('follows its container', async () => {
    const cluster = await start();
    const [h1, h2] = [cluster.host(1), cluster.host(2)];
    await cluster.resolve(h1.agent.verbs.create({ name: 'data' }));
    const container = await cluster.resolve(h1.startContainer('db', 'data'));
    h1.write(container);
    await cluster.resolve(h1.stopContainer(container));
    const next = await cluster.resolve(h2.startContainer('db', 'data'));
    h2.write(next);
    expect(cluster.clock.monotonicMilliseconds()).toBeLessThan(5000);
    const volume = await cluster.volume('data');
    expect(volume).toMatchObject({ epoch: 2, placement: { state: 'held', host: h2.id } });
  });
});
