/** What the plugin's socket answers, how fast, and what the daemon costs. */
import { readFile } from 'node:fs/promises';
import { once } from 'node:events';
import type { Host } from '../testbed/lab.ts';
import { waitUntil } from '../testbed/process.ts';
import { figure } from './figure.ts';
import type { Better, Figure, Samples, Target } from './figure.ts';
import { BenchLab, inTurn, timed } from './lab.ts';
import type { BenchOptions } from './lab.ts';
import { callSocket } from './local-call.ts';

const volume = 'api';

export async function measureApi({ runs = 40, small, say }: BenchOptions): Promise<Figure[]> {
  await using lab = await BenchLab.start(small ? '512M' : '2G');
  const host = lab.source;
  const residentAtStart = await residentMegabytes(lab, host);
  say('api: create');
  const create = await measureCreate(lab, runs);
  say('api: mount and get');
  const { mount, get } = await measureMountAndGet(lab, runs);
  const residentAfter = await residentMegabytes(lab, host);
  say('api: start');
  const starts = Math.min(runs, 7);
  const ready: number[] = [];
  for (let run = 0; run < starts; run += 1) ready.push(await measureStart(lab, host));
  return [
    row('mount of a volume that is here', 'ms', { ours: 30 }, { ours: mount, rival: [] }),
    row('get', 'ms', { ours: 5 }, { ours: get, rival: [] }),
    row('create', 'ms', { ours: 150 }, create, "docker's own local driver, through dockerd"),
    row('resident after start', 'MB', { ours: 150 }, { ours: [residentAtStart], rival: [] }),
    row('resident after use', 'MB', { ours: 150 }, { ours: [residentAfter], rival: [] }),
    row('ready after start', 'ms', { ours: 1500 }, { ours: ready, rival: [] }),
  ];
}

function row(measure: string, unit: string, target: Target, samples: Samples, rivalName: string | null = null): Figure {
  const better: Better = 'lower';
  return figure({ bench: 'api', measure, unit, better, target, rivalName }, samples);
}

async function measureCreate(lab: BenchLab, runs: number): Promise<Samples> {
  const { source } = lab;
  const plugin = lab.plugin(source);
  const samples: Samples = { ours: [], rival: [] };
  for (let run = 0; run < runs; run += 1) {
    const name = `create-${run}`;
    await inTurn(
      run,
      async () => void samples.ours.push(await timed(() => plugin.create(name))),
      async () => {
        const body = { Name: `local-${run}`, Driver: 'local' };
        samples.rival.push(await timed(() => callSocket(source.engine.socket, { method: 'POST', path: '/volumes/create', body })));
      },
    );
    // The live copy is made after the answer: it must not slow the next one down.
    await waitUntil('the live copy is there', async () => (await lab.volumeOn(source, name))?.live === 'writable');
    await plugin.remove(name);
  }
  return samples;
}

async function measureMountAndGet(lab: BenchLab, runs: number): Promise<{ mount: number[]; get: number[] }> {
  const { source } = lab;
  const plugin = lab.plugin(source);
  await plugin.create(volume);
  const mount: number[] = [];
  const get: number[] = [];
  for (let run = -1; run < runs; run += 1) {
    const session = `bench-${run}`;
    const milliseconds = await timed(() => plugin.mount(volume, session));
    const answered = await timed(() => plugin.get(volume));
    // The first mount makes the live copy; only the following find it here.
    if (run >= 0) {
      mount.push(milliseconds);
      get.push(answered);
    }
    await plugin.unmount(volume, session);
    await lab.unmounted(source, volume);
  }
  return { mount, get };
}

/** Agent and name server are one process on the first host. */
async function residentMegabytes(lab: BenchLab, host: Host): Promise<number> {
  const local = await lab.cluster.daemonPid(host);
  if (local === undefined) throw new Error(`the daemon of ${host.name} does not run`);
  const status = await readFile(host.path(`/proc/${local}/status`), 'utf8');
  return (Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024) / 1e6;
}

/** Milliseconds from starting the program, on a host that has its pool and records, to the first answer on the plugin's socket. */
async function measureStart(lab: BenchLab, host: Host): Promise<number> {
  await lab.cluster.killDaemon(host);
  const begin = performance.now();
  const daemon = host.spawn(['supercargo', 'up', '--address', host.address], { stdio: 'ignore' });
  await waitUntil('the plugin answers', () =>
    lab
      .plugin(host)
      .activate()
      .then(
        () => true,
        () => false,
      ),
  );
  const milliseconds = performance.now() - begin;
  const ended = once(daemon, 'exit');
  await host.kill(daemon, 'SIGKILL');
  await ended;
  return milliseconds;
}
