/** `warm move stop`: how long a container is away that moves to another host after its data was copied in advance. */
import { createReadStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { finished } from 'node:stream/promises';
import { TEST_IMAGE } from '../testbed/lab.ts';
import { waitUntil } from '../testbed/process.ts';
import { changeDataSet, smallData, warmChange, warmData, writeDataSet } from './data-set.ts';
import type { Change, DataShape } from './data-set.ts';
import { figure } from './figure.ts';
import type { Figure, Samples } from './figure.ts';
import { BenchLab, inTurn, timed } from './lab.ts';
import type { BenchOptions } from './lab.ts';
import { describeStop, stopTimeline } from './timeline.ts';

const volume = 'warm';
const container = 'writer';
const rivalFolder = 'bench-rival';
const exitFolder = '/run/bench';
const rsyncPort = 8730;

interface Scene {
  lab: BenchLab;
  shape: DataShape;
  change: Change;
  /** On the machine. */
  ourData: string;
  rivalData: string;
}

export async function measureWarmMove({ runs = 7, small, say }: BenchOptions): Promise<Figure[]> {
  const shape = small ? smallData : warmData;
  const change = small ? { scatteredBytes: 1024 ** 2, files: 3 } : warmChange;
  await using lab = await BenchLab.start(small ? '512M' : '9G');
  say(`warm move: writing ${shape.files} files`);
  const scene = await setUp(lab, shape, change);
  const stopRsync = await startRsyncDaemon(scene);
  const samples: Samples = { ours: [], rival: [] };
  for (let round = 1; round <= runs; round += 1) {
    await rsync(scene);
    const prepared = await preCopy(scene);
    const changed = await changeDataSet(scene.ourData, shape, change, round);
    await changeDataSet(scene.rivalData, shape, change, round);
    const expected = await readFile(changed);
    await inTurn(
      round,
      async () => void samples.rival.push(await timed(() => rsync(scene))),
      async () => {
        samples.ours.push(await stopAndStart(scene, prepared, round, say));
        const arrived = await readFile(changed.replace(scene.ourData, lab.cluster.livePath(lab.destination, await lab.volumeId(volume))));
        if (!arrived.equals(expected)) throw new Error('the changed data did not arrive');
      },
    );
    say(`warm move, run ${round}: stop ${samples.ours.at(-1)?.toFixed(0)} ms, rsync ${samples.rival.at(-1)?.toFixed(0)} ms`);
    await goBack(scene, round);
  }
  await stopRsync();
  return [
    figure(
      {
        bench: 'move',
        measure: 'warm move stop',
        unit: 'ms',
        better: 'lower',
        target: { ratio: 0.1, ours: 500 },
        rivalName: 'last pass of rsync -a to a daemon, not encrypted',
      },
      samples,
    ),
  ];
}

async function setUp(lab: BenchLab, shape: DataShape, change: Change): Promise<Scene> {
  const { source, destination } = lab;
  await lab.plugin(source).create(volume);
  // The first mount makes the live copy.
  await lab.plugin(source).mount(volume, 'bench-fill');
  const id = await lab.volumeId(volume);
  const ourData = lab.cluster.livePath(source, id);
  await writeDataSet(ourData, shape);
  // The rival has data of its own, on the same disk, so that both carry the same changes.
  const rivalPath = lab.inPool(rivalFolder);
  await source.run(['cp', '--archive', '--reflink=always', lab.inPool('volumes', id, 'live'), rivalPath]);
  await destination.run(['mkdir', rivalPath]);
  await lab.plugin(source).unmount(volume, 'bench-fill');
  await source.run(['mkdir', '-p', exitFolder]);
  await source.run(['mkfifo', `${exitFolder}/exit`]);
  await lab.settle(false);
  return { lab, shape, change, ourData, rivalData: source.path(rivalPath) };
}

/** @returns ends it */
async function startRsyncDaemon({ lab }: Scene): Promise<() => Promise<void>> {
  const { destination } = lab;
  const settings = ['use chroot = no', 'uid = 0', 'gid = 0', '[rival]', `path = ${lab.inPool(rivalFolder)}`, 'read only = no', ''].join('\n');
  await writeFile(destination.path('/run/rsyncd.conf'), settings);
  const command = ['rsync', '--daemon', '--no-detach', '--config=/run/rsyncd.conf', '--port', String(rsyncPort)];
  // Its input must not be a socket: it would take that for its first connection.
  const daemon = destination.spawn(command, { stdio: ['ignore', 'ignore', 'inherit'] });
  await waitUntil('the rsync daemon listens', async () => {
    const { exitCode } = await destination.run(['rsync', `rsync://127.0.0.1:${rsyncPort}/`], { allowFailure: true });
    return exitCode === 0;
  });
  return () => destination.kill(daemon, 'SIGTERM');
}

async function rsync({ lab }: Scene): Promise<void> {
  const target = `rsync://${lab.destination.address}:${rsyncPort}/rival/`;
  await lab.source.run(['rsync', '--archive', '--delete', `${lab.inPool(rivalFolder)}/`, target], { timeoutMilliseconds: 300_000 });
}

interface Prepared {
  /** Resolves at the moment the container's process ends. */
  exited: Promise<void>;
}

/** Starts the container and copies while it runs, until the move waits for nothing but the container. */
async function preCopy({ lab }: Scene): Promise<Prepared> {
  const { source, cluster } = lab;
  const script = `exec sleep 1000000 3>${exitFolder}/exit`;
  // The kernel closes the process's end of the pipe when it ends: an event, without anything that polls.
  const exit = createReadStream(source.path(`${exitFolder}/exit`));
  exit.resume();
  const exited = finished(exit);
  const mounts = ['--volume-driver', 'supercargo', '-v', `${volume}:/data`, '-v', `${exitFolder}:${exitFolder}`];
  await source.docker('run', '-d', '--name', container, '--network', 'none', ...mounts, TEST_IMAGE, 'sh', '-c', script);
  const move = await cluster.json<{ id: string }>(source, 'volume', 'move', volume, '--to', lab.destination.name, '--detach');
  await waitUntil(
    'the move waits for the container',
    async () => {
      const { phase, blockedBy } = await lab.ask<{ phase: string; blockedBy: unknown[] }>(source, `/v1/moves/${move.id}`);
      return phase === 'ready' && blockedBy.length > 0;
    },
    300_000,
  );
  return { exited };
}

/** @returns milliseconds from the end of the container's process to the answer to the new container's mount */
async function stopAndStart({ lab }: Scene, { exited }: Prepared, round: number, say: (line: string) => void): Promise<number> {
  const { source, destination } = lab;
  const logged = [source, destination].map((host) => lab.cluster.log(host).length);
  const killing = source.docker('kill', container);
  await exited;
  const wall = Date.now();
  const stop = await timed(() => lab.plugin(destination).mount(volume, `bench-${round}`));
  await killing;
  const logs = [source, destination].map((host, index) => ({ host: host.name, text: lab.cluster.log(host).slice(logged[index]) }));
  say(describeStop(stopTimeline(logs, wall)));
  return stop;
}

/** Brings the volume back to where it started; not measured. */
async function goBack({ lab }: Scene, round: number): Promise<void> {
  const { source, destination, cluster } = lab;
  await source.docker('rm', '--force', container);
  await lab.plugin(destination).unmount(volume, `bench-${round}`);
  await cluster.run(source, 'volume', 'move', volume, '--to', source.name);
  await waitUntil('the volume is back', async () => (await lab.volumeOn(source, volume))?.grant?.startsWith('held') === true);
}
