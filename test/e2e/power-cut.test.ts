import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { VolumeStatus } from '../../src/protocol/protection-routes.ts';
import { CloningFolder } from '../../testbed/cloning-folder.ts';
import type { Host } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import { volumeRecord } from './support/invariants.ts';
import { Writer, untoldLoss } from './support/writers.ts';

let folder: CloningFolder;
let cluster: Cluster;
let h1: Host;
let h2: Host;

// A file system that clones files: one clone of a host's disk is one instant of it, without what was in the page cache.
beforeAll(async () => {
  folder = await CloningFolder.make('6G');
  cluster = await Cluster.start({
    hosts: 3,
    disks: { size: '512M', rack: join(folder.path, 'rack') },
    environment: { all: { SUPERCARGO_SESSION: '5000' } },
  });
  [h1, h2] = [cluster.host('h1'), cluster.host('h2')];
  for (const failover of ['auto', 'manual']) {
    await cluster.run(h1, 'class', 'set', failover, '--replicas', '1', '--interval', '1s', '--failover', failover);
  }
});
afterAll(async () => {
  await cluster[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

const status = (volume: string) => cluster.query<VolumeStatus>(h1, `/v1/volumes/${volume}/status`);

async function written(volume: string): Promise<Writer> {
  await cluster.createVolume(h2, volume, `class=${volume}`);
  const writer = new Writer(h2, `on-${volume}`, volume);
  await writer.start();
  await waitUntil('something was acknowledged', async () => (await writer.outcome()).acknowledged.length > 0, 60_000);
  const first = Number((await writer.outcome()).acknowledged[0]!.at / 1_000_000n);
  // The first snapshot of all may still be of an empty volume.
  const hasRecords = ({ role, takenAt }: VolumeStatus['copies'][number]): boolean => role === 'replica' && Date.parse(takenAt ?? '') > first;
  await waitUntil('a replica has records', async () => (await status(volume)).copies.some(hasRecords), 60_000);
  return writer;
}

async function recordsOn(host: Host, volume: string): Promise<Set<string>> {
  return new Set((await cluster.inContainer(host, volume, 'cat /data/records')).stdout.split('\n'));
}

test('a power cut that loses the page cache of the holder loses nothing that was acknowledged; what has failed over lost what was told at most', async () => {
  const writers = { auto: await written('auto'), manual: await written('manual') };
  await h2.powerCut();
  await waitUntil('a replica takes over', async () => (await volumeRecord(cluster, h1, 'auto')).epoch === 2, 60_000);
  await cluster.boot(h2);
  await cluster.connected();
  const acknowledged = async (writer: Writer) => (await writer.outcome()).acknowledged;
  const manual = await acknowledged(writers.manual);
  const onHolder = await recordsOn(h2, 'manual');
  expect(manual.length).toBeGreaterThan(10);
  expect(manual.filter(({ record }) => !onHolder.has(record))).toEqual([]);

  const auto = await acknowledged(writers.auto);
  const where = await cluster.query<{ host: string }>(h1, '/v1/where/auto');
  const present = await recordsOn(cluster.host(where.host), 'auto');
  const lost = auto.filter(({ record }) => !present.has(record));
  expect(untoldLoss(lost, await volumeRecord(cluster, h1, 'auto'))).toEqual([]);
  // The cut disk had all that was acknowledged, and keeps it.
  await waitUntil('the old copy is kept', async () => (await cluster.volumeOn(h2, 'auto'))?.live === 'absent', 60_000);
  const { diverged } = await volumeRecord(cluster, h1, 'auto');
  await cluster.run(h1, 'volume', 'restore', 'auto', diverged.at(-1)?.snapshot ?? '', 'kept');
  const kept = await recordsOn(h2, 'kept');
  expect(auto.filter(({ record }) => !kept.has(record))).toEqual([]);
});

test('a power cut right after a volume was made leaves a volume that can be used', async () => {
  await cluster.createVolume(h2, 'fresh');
  await waitUntil('h2 holds it', async () => (await cluster.volumeOn(h2, 'fresh'))?.grant?.startsWith('held') === true);
  await h2.powerCut();
  await cluster.boot(h2);
  await cluster.connected();
  expect((await cluster.inContainer(h2, 'fresh', 'echo here > /data/file; cat /data/file')).stdout).toBe('here\n');
});
