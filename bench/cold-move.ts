/** `cold move rate`: the whole of a volume carried to a host that has nothing of it, against btrfs alone. */
import { run } from '../testbed/process.ts';
import { coldData, smallData, writeDataSet } from './data-set.ts';
import { figure } from './figure.ts';
import type { Figure, Target } from './figure.ts';
import { BenchLab, inTurn, timed } from './lab.ts';
import type { BenchOptions } from './lab.ts';

const rivalFolder = 'bench-rival';
const bytesInMegabyte = 1e6;

export async function measureColdMove({ runs = 5, small, dropCaches, say }: BenchOptions): Promise<Figure[]> {
  await using lab = await BenchLab.start(small ? '512M' : '5G');
  await Promise.all([lab.source, lab.destination].map((host) => host.run(['mkdir', lab.inPool(rivalFolder)])));
  const ours: number[] = [];
  const pipe: number[] = [];
  const syncedPipe: number[] = [];
  for (let round = 1; round <= runs; round += 1) {
    const volume = `cold-${round}`;
    const megabytes = (await fill(lab, volume, small)) / bytesInMegabyte;
    await inTurn(
      round,
      async () => {
        const times = await sendByHand(lab, volume, dropCaches);
        pipe.push(megabytes / (times.pipe / 1000));
        syncedPipe.push(megabytes / ((times.pipe + times.sync) / 1000));
      },
      async () => {
        await lab.settle(dropCaches);
        ours.push(megabytes / ((await timed(() => lab.plugin(lab.destination).mount(volume, volume))) / 1000));
      },
    );
    say(`cold move, run ${round}: ${rate(ours)} MB/s, btrfs in a pipe ${rate(pipe)} MB/s, with a sync at its end ${rate(syncedPipe)} MB/s`);
    await lab.plugin(lab.destination).unmount(volume, volume);
    await lab.unmounted(lab.destination, volume);
    await lab.plugin(lab.destination).remove(volume);
  }
  const row = (measure: string, rivalName: string, rival: number[], target: Target | null): Figure =>
    figure({ bench: 'move', measure, unit: 'MB/s', better: 'higher', target, rivalName }, { ours, rival });
  return [
    row('cold move rate', 'btrfs send | btrfs receive in one pipe, not flushed', pipe, { ratio: 0.8 }),
    // Ours answers only when all is on the disk; this is the pipe that can say the same.
    row('cold move rate, both flushed', 'btrfs send | btrfs receive in one pipe, then btrfs filesystem sync', syncedPipe, null),
  ];
}

function rate(values: readonly number[]): string {
  return values.at(-1)?.toFixed(0) ?? '';
}

/** A new volume on the source, given back, and a snapshot of it for the rival. @returns its bytes */
async function fill(lab: BenchLab, volume: string, small: boolean): Promise<number> {
  const { source, cluster } = lab;
  const plugin = lab.plugin(source);
  await plugin.create(volume);
  await plugin.mount(volume, 'bench-fill');
  const id = await lab.volumeId(volume);
  const bytes = await writeDataSet(cluster.livePath(source, id), small ? smallData : coldData);
  // Now, because after the move there is no live copy here any more.
  await source.run(['btrfs', 'subvolume', 'snapshot', '-r', lab.inPool('volumes', id, 'live'), lab.inPool(rivalFolder, volume)]);
  await plugin.unmount(volume, 'bench-fill');
  await lab.unmounted(source, volume);
  return bytes;
}

/** The same data between the same two disks, by the engine's own programs; nothing of it is left. @returns milliseconds */
async function sendByHand(lab: BenchLab, volume: string, dropCaches: boolean): Promise<{ pipe: number; sync: number }> {
  const { source, destination } = lab;
  const folder = lab.inPool(rivalFolder);
  const snapshot = `${folder}/${volume}`;
  await lab.settle(dropCaches);
  const enter = (pid: number): string => `nsenter --target ${pid} --mount --pid`;
  const command = `${enter(source.pid)} btrfs send -q ${snapshot} | ${enter(destination.pid)} btrfs receive -q ${folder}`;
  const pipe = await timed(() => run(['bash', '-o', 'pipefail', '-c', command], { timeoutMilliseconds: 600_000 }));
  const sync = await timed(() => destination.run(['btrfs', 'filesystem', 'sync', folder]));
  for (const host of [source, destination]) {
    await host.run(['btrfs', 'subvolume', 'delete', '--commit-after', snapshot]);
    // Space comes back in the background, which must not fall into the next measure.
    await host.run(['btrfs', 'subvolume', 'sync', folder]);
  }
  return { pipe, sync };
}
