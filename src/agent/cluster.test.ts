import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Fault } from '../../test/sim/direct-transport.ts';
import type { FakeContainer } from '../../test/sim/fake-machine.ts';
import { SimulatedCluster } from '../../test/sim/simulated-cluster.ts';
import type { SimulatedHost } from '../../test/sim/simulated-host.ts';
import type { TransportRequest } from '../protocol/transport.ts';
import type { CrashPoint } from './context.ts';

let cluster: SimulatedCluster;
let h1: SimulatedHost;
let h2: SimulatedHost;
let h3: SimulatedHost;
let containers = 0;

beforeEach(async () => {
  cluster = await SimulatedCluster.start({ seed: 1, hosts: 3 });
  [h1, h2, h3] = [cluster.host(1), cluster.host(2), cluster.host(3)];
  await cluster.resolve(h1.agent.verbs.create({ name: 'data' }));
});

afterEach(() => cluster.stop());

function run(host: SimulatedHost): Promise<FakeContainer> {
  containers += 1;
  return cluster.resolve(host.startContainer(`c${containers}`, 'data'));
}

/** A container that starts, writes and ends; it sees all that was written before, or the simulation complains. */
async function use(host: SimulatedHost): Promise<void> {
  const container = await run(host);
  host.write(container);
  await cluster.resolve(host.stopContainer(container));
}

/** As a person would: starts it again until it works. */
async function usePatiently(host: SimulatedHost): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await use(host);
    } catch (error) {
      if (attempt === 5) throw error;
      await cluster.pass(10_000);
    }
  }
}

/** Everything has come to rest: one live copy, no grant but the holder's, no session, no problem. */
async function expectRestOn(holder: SimulatedHost): Promise<void> {
  const { id } = await cluster.volume('data');
  const liveOn = (): SimulatedHost[] => cluster.hosts.filter((host) => host.machine.disk.volume(id).live !== null);
  // Asking who uses a volume also forgets sessions that nothing stands behind any more.
  const referencesOn = async (host: SimulatedHost): Promise<number> =>
    (await host.agent.status()).volumes.reduce((sum, { references }) => sum + references, 0);
  await cluster.until(async () => (await referencesOn(holder)) === 0, 'no session is left');
  await cluster.until(() => liveOn().length === 1 && holder.machine.mounts.size === 0, 'one live copy is left');
  expect(liveOn()).toEqual([holder]);
  expect(await cluster.volume('data')).toMatchObject({ placement: { state: 'held', host: holder.id } });
  for (const host of cluster.hosts) {
    const { volumes } = await cluster.resolve(host.agent.status());
    for (const volume of volumes) expect(volume).toMatchObject({ references: 0, mounted: false, problem: null, uses: [] });
  }
}

describe('a volume', () => {
  it('is made in the project that is asked for', async () => {
    const { id } = await cluster.resolve(cluster.operator.createProject({ body: { name: 'shop' } }));
    await cluster.resolve(h2.agent.verbs.create({ name: 'orders', project: 'shop' }));
    expect(await cluster.volume('orders')).toMatchObject({ project: id });
  });

  it('follows its container from host to host, ten times round', async () => {
    for (let round = 0; round < 10; round += 1) for (const host of cluster.hosts) await use(host);
    await expectRestOn(h3);
    const { copies } = await cluster.volume('data');
    for (const { snapshots } of copies) expect(snapshots.length).toBeLessThanOrEqual(3);
  });

  it('is refused elsewhere while a container uses it, with who and where, within five seconds, and that container goes on', async () => {
    const container = await run(h1);
    const begin = cluster.clock.monotonicMilliseconds();
    await expect(run(h2)).rejects.toMatchObject({ code: 'volume-in-use', message: `Volume "data" is in use on h1 by container ${container.name}.` });
    expect(cluster.clock.monotonicMilliseconds() - begin).toBeLessThan(5000);
    h1.write(container);
    await cluster.resolve(h1.stopContainer(container));
    await use(h2);
    await expectRestOn(h2);
  });

  it('is handed over to exactly one of two hosts that ask at once', async () => {
    await use(h1);
    const asked = await Promise.all([run(h2), run(h3)].map((start) => start.catch(() => null)));
    expect(asked.filter((container) => container !== null)).toHaveLength(1);
  });

  it('moves ahead of its container when an operator asks, waits for it to end, and then needs no more data', async () => {
    const container = await run(h1);
    h1.write(container);
    const { move } = await cluster.resolve(cluster.operator.createMove({ body: { volume: 'data', to: 'h2' } }));
    const phase = async () => (await cluster.operator.getMove({ parameters: { move: move!.id } })).phase;
    await cluster.until(async () => (await phase()) === 'ready', 'the copy is there');
    await cluster.until(
      async () => (await cluster.operator.getMove({ parameters: { move: move!.id } })).blockedBy.length === 1,
      'the source says who uses it',
    );
    h1.write(container);
    await cluster.resolve(h1.stopContainer(container));
    await cluster.until(async () => (await phase()) === 'committed', 'it has moved');
    await use(h2);
    await expectRestOn(h2);
  });

  it('stays where it is when the move is cancelled, and moves when it is asked for again', async () => {
    const container = await run(h1);
    const { move } = await cluster.resolve(cluster.operator.createMove({ body: { volume: 'data', to: 'h2' } }));
    await cluster.pass(3000);
    await cluster.resolve(cluster.operator.cancelMove({ parameters: { move: move!.id } }));
    h1.write(container);
    await cluster.resolve(h1.stopContainer(container));
    await use(h1);
    await use(h2);
    await expectRestOn(h2);
  });

  it('can be used again on its host while the name server is away, but not brought elsewhere', async () => {
    await use(h1);
    cluster.killNameServer();
    await cluster.pass(20_000);
    await use(h1);
    await expect(run(h2)).rejects.toMatchObject({ code: 'name-server-unreachable' });
    await cluster.startNameServer();
    await cluster.until(() => h2.agent.connected && h1.agent.connected, 'all are connected again');
    await use(h2);
    await expectRestOn(h2);
  });

  it('is used again after its host was off, while the name server is away, if no other host has a copy', async () => {
    await use(h1);
    cluster.killNameServer();
    h1.powerCut();
    await h1.start();
    await use(h1);
  });

  it('that another host has a copy of waits for the name server after its host was off, and not after a restart of the agent alone', async () => {
    await use(h1);
    await use(h2);
    cluster.killNameServer();
    h2.kill();
    await h2.start();
    await use(h2);
    h2.powerCut();
    await h2.start();
    await expect(run(h2)).rejects.toMatchObject({ code: 'name-server-unreachable', message: expect.stringContaining('was off') as string });
    await cluster.startNameServer();
    await use(h2);
    cluster.killNameServer();
    await use(h2);
    await cluster.startNameServer();
    await expectRestOn(h2);
  });

  it('is not taken from a host that does not answer', async () => {
    await use(h1);
    h1.kill();
    await expect(run(h2)).rejects.toMatchObject({ code: 'host-unreachable', message: expect.stringContaining('h1') as string });
    await h1.start();
    await use(h1);
  });

  it('survives a power cut of its host', async () => {
    const container = await run(h1);
    h1.write(container);
    h1.powerCut();
    await h1.start();
    await usePatiently(h2);
    await expectRestOn(h2);
  });

  it('is removed everywhere, but not while something uses it', async () => {
    await use(h1);
    const container = await run(h2);
    await expect(cluster.resolve(h3.agent.verbs.remove('data'))).rejects.toMatchObject({ code: 'volume-in-use' });
    h2.write(container);
    await cluster.resolve(h2.stopContainer(container));
    await cluster.resolve(h3.agent.verbs.remove('data'));
    await cluster.until(() => cluster.hosts.every(({ machine }) => machine.disk.volumeIds().length === 0), 'every copy is gone');
    expect((await cluster.operator.listVolumes({})).items).toEqual([]);
    expect(cluster.hosts.flatMap((host) => host.entitled)).toEqual([]);
  });
});

const sourcePoints: CrashPoint[] = [
  'releasing-recorded',
  'unmounted',
  'made-read-only',
  'final-snapshot-made',
  'release-recorded',
  'release-reported',
];
const destinationPoints: CrashPoint[] = [
  'snapshot-prepared',
  'stream-begun',
  'stream-received',
  'snapshot-published',
  'marked-ready',
  'committed',
  'live-created',
  'live-reported',
  'grant-taken',
  'reference-added',
  'mounted',
];

describe('a crash in the middle of a move', () => {
  const crashes = [
    ...sourcePoints.map((place) => ({ who: 'source' as const, place })),
    ...destinationPoints.map((place) => ({ who: 'destination' as const, place })),
  ];

  it.each(crashes)('of the $who after "$place" leaves the volume on one host, with all its data', async ({ who, place }) => {
    await use(h1);
    const victim = who === 'source' ? h1 : h2;
    victim.crashAt(place);
    const attempt = run(h2).catch(() => null);
    await cluster.until(() => !victim.running, `${victim.name} dies at ${place}`);
    const started = await attempt;
    expect(started).toBeNull();
    await victim.start();
    await usePatiently(h2);
    await expectRestOn(h2);
  });

  it.each(crashes)('of the $who after "$place", and the volume is wanted back on the source', async ({ who, place }) => {
    await use(h1);
    const victim = who === 'source' ? h1 : h2;
    victim.crashAt(place);
    const attempt = run(h2).catch(() => null);
    await cluster.until(() => !victim.running, `${victim.name} dies at ${place}`);
    await attempt;
    await victim.start();
    await usePatiently(h1);
    await expectRestOn(h1);
  });

  it.each(crashes.filter((_, index) => index % 3 === 0))('of the machine of the $who after "$place" loses nothing either', async ({ who, place }) => {
    await use(h1);
    const victim = who === 'source' ? h1 : h2;
    victim.crashAt(place);
    const attempt = run(h2).catch(() => null);
    await cluster.until(() => !victim.running, `${victim.name} dies at ${place}`);
    await attempt;
    victim.powerCut();
    await cluster.pass(30_000);
    await victim.start();
    await usePatiently(h3);
    await expectRestOn(h3);
  });

  it('after a release that nobody heard of does not keep the next move waiting for ever', async () => {
    await use(h1);
    h1.crashAt('release-recorded');
    const first = run(h2).catch(() => null);
    await cluster.until(() => !h1.running, 'h1 dies');
    const { items } = await cluster.operator.listMoves({});
    await cluster.resolve(cluster.operator.cancelMove({ parameters: { move: items[0]!.id } }));
    expect(await first).toBeNull();
    await cluster.resolve(cluster.operator.createMove({ body: { volume: 'data', to: 'h3' } }));
    await h1.start();
    await use(h3);
    await expectRestOn(h3);
  });

  it.each<CrashPoint>(['removal-confirmed', 'copy-deleted'])('of a removal after "%s" does not bring it back', async (place) => {
    await use(h1);
    h1.crashAt(place);
    const removed = cluster.resolve(h2.agent.verbs.remove('data')).catch(() => null);
    await cluster.until(() => !h1.running, `h1 dies at ${place}`);
    await h1.start();
    await removed;
    await cluster.until(() => cluster.hosts.every(({ machine }) => machine.disk.volumeIds().length === 0), 'every copy is gone');
    expect((await cluster.operator.listVolumes({})).items).toEqual([]);
  });
});

describe('a crash of the name server', () => {
  it.each(Array.from({ length: 12 }, (_, index) => 9 * index + 1))('%d effects after the claim ends on one host', async (effects) => {
    await use(h1);
    cluster.nameServerIncarnation!.dieAfter(effects);
    await run(h2)
      .then((container) => cluster.resolve(h2.stopContainer(container)))
      .catch(() => undefined);
    cluster.killNameServer();
    await cluster.pass(5000);
    await cluster.startNameServer();
    await usePatiently(h2);
    await expectRestOn(h2);
  });
});

describe('a bad network', () => {
  const once = (matches: (request: TransportRequest) => boolean, fault: Fault): ((request: TransportRequest) => Fault) => {
    let done = false;
    return (request) => {
      if (done || !matches(request)) return 'none';
      done = true;
      return fault;
    };
  };
  const calls = ['/claim', '/ready', '/release', '/commit', '/copies/self', '/ticket', '/peer/rounds', '/peer/health', '/peer/snapshots'];

  it.each(calls.flatMap((call) => (['refuse', 'lose-answer', 'duplicate'] as const).map((fault) => ({ call, fault }))))(
    '($fault of $call) does not keep the volume from moving',
    async ({ call, fault }) => {
      await use(h1);
      let hit = false;
      cluster.fault = once(({ path }) => {
        hit ||= path.includes(call);
        return path.includes(call);
      }, fault);
      await usePatiently(h2);
      expect(hit).toBe(true);
      await expectRestOn(h2);
    },
  );

  it('that cuts a stream costs only what had not arrived', async () => {
    const container = await run(h1);
    for (let write = 0; write < 100; write += 1) h1.write(container);
    await cluster.resolve(h1.stopContainer(container));
    const offsets: string[] = [];
    let cuts = 2;
    cluster.fault = ({ path }) => {
      if (!path.includes('/peer/snapshots/')) return 'none';
      offsets.push(new URL(path, 'http://h').searchParams.get('offset') ?? '');
      cuts -= 1;
      return cuts >= 0 ? { cutAfterBytes: 100 } : 'none';
    };
    await use(h2);
    expect(offsets.slice(0, 3)).toEqual(['0', '100', '200']);
    await expectRestOn(h2);
  });

  it('that loses the end of a stream makes only that end travel again', async () => {
    await use(h1);
    const offsets: number[] = [];
    cluster.fault = ({ path }) => {
      if (!path.includes('/peer/snapshots/')) return 'none';
      offsets.push(Number(new URL(path, 'http://h').searchParams.get('offset')));
      return offsets.length === 1 ? 'lose-trailers' : 'none';
    };
    await use(h2);
    expect(offsets[0]).toBe(0);
    expect(offsets[1]).toBeGreaterThan(0);
    await expectRestOn(h2);
  });

  it('that falsifies a stream once makes it travel again from its start', async () => {
    await use(h1);
    let streams = 0;
    cluster.fault = ({ path }) => {
      if (!path.includes('/peer/snapshots/')) return 'none';
      streams += 1;
      return streams === 1 ? { corruptByte: 7 } : 'none';
    };
    await use(h2);
    expect(cluster.log.filter((line) => line.includes('arrived corrupt'))).toHaveLength(1);
    await expectRestOn(h2);
  });

  it('that falsifies every stream ends the move; the volume stays, and the destination is clean', async () => {
    await use(h1);
    cluster.fault = ({ path }) => (path.includes('/peer/snapshots/') ? { corruptByte: 7 } : 'none');
    await expect(run(h2)).rejects.toMatchObject({ code: 'stream-corrupt' });
    expect(h2.machine.disk.volumeIds()).toEqual([]);
    await use(h1);
    cluster.fault = () => 'none';
    await use(h2);
    await expectRestOn(h2);
  });

  it('is not what a full disk is: the move ends at once, the volume stays, the retry works', async () => {
    await use(h1);
    h2.machine.disk.full = true;
    await expect(run(h2)).rejects.toMatchObject({ code: 'pool-full' });
    expect(h2.machine.disk.volumeIds()).toEqual([]);
    await use(h2);
    await expectRestOn(h2);
  });
});
