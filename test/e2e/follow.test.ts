import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Move, Volume } from '../../src/model/records.ts';
import type { EventView, WhereView } from '../../src/protocol/routes.ts';
import type { Host } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import { fillWithMenagerie, manifest } from './support/manifest.ts';

let cluster: Cluster;
let h1: Host;
let h2: Host;
let h3: Host;

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 3 });
  [h1, h2, h3] = [cluster.host('h1'), cluster.host('h2'), cluster.host('h3')];
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

const inspect = async (volume: string): Promise<Volume> => (await cluster.json<{ volume: Volume }>(h1, 'volume', 'inspect', volume)).volume;
const mountPointOf = (id: string): string => `/var/lib/supercargo/mounts/${id}`;

async function mountTable(host: Host): Promise<string> {
  return (await host.run(['cat', '/proc/1/mountinfo'])).stdout;
}

/** Waits until nothing of the volume on the host could be written or mounted any more. */
async function withoutLiveResidue(host: Host, volume: Volume): Promise<void> {
  await waitUntil(`${host.name} has no live copy of ${volume.name}`, async () => {
    const seen = await cluster.volumeOn(host, volume.name);
    return seen === undefined || seen.live === 'absent';
  });
  const seen = await cluster.volumeOn(host, volume.name);
  expect(seen?.grant ?? 'released').toMatch(/^released/);
  expect(seen).toMatchObject({ mounted: false, references: 0, uses: [], problem: null });
  expect(await mountTable(host)).not.toContain(volume.id);
}

it('keeps all that a file can be, on the next host and after an incremental way back', async () => {
  await cluster.createVolume(h1, 'menagerie');
  const { id } = await inspect('menagerie');
  const seen: string[] = [];
  for (const host of [h1, h2, h1, h3]) {
    await cluster.startContainer(host, 'visitor', 'menagerie');
    if (seen.length === 0) await fillWithMenagerie(host, mountPointOf(id));
    seen.push(await manifest(host, mountPointOf(id)));
    await host.docker('rm', '-f', 'visitor');
  }
  expect(seen[0]).toContain('user.comment');
  expect(seen[0]).toContain('user:4242:r--');
  expect(seen[0]).toMatch(/^\d{1,3} sparse$/m);
  expect(seen[0]).toMatch(/^c 660 .*null-device$/m);
  expect(seen[0]).toMatch(/^hard-link: folder\/deep\/hard-link folder\/original hard-link/m);
  for (const other of seen.slice(1)) expect(other).toBe(seen[0]);
});

it('follows its container between three hosts ten times and leaves nothing that can be mounted', async () => {
  const journey = Array.from({ length: 10 }, (_, index) => [h1, h2, h3][index % 3]!);
  await cluster.createVolume(h2, 'log');
  for (const [index, host] of journey.entries()) {
    const { stdout } = await cluster.inContainer(host, 'log', `echo "${index} on ${host.name}" >> /data/log; cat /data/log`);
    expect(stdout.trim().split('\n')).toEqual(journey.slice(0, index + 1).map((host, index) => `${index} on ${host.name}`));
  }
  const volume = await inspect('log');
  for (const host of [h2, h3]) await withoutLiveResidue(host, volume);
  await waitUntil('h1 has unmounted it', async () => (await cluster.volumeOn(h1, 'log'))?.mounted === false);
  expect(await cluster.volumeOn(h1, 'log')).toMatchObject({
    live: 'writable',
    references: 0,
    uses: [],
    problem: null,
    grant: `held ${volume.epoch}`,
  });
  for (const host of [h1, h2, h3]) {
    const listed = await host.docker('volume', 'ls', '--quiet', '--filter', 'driver=supercargo');
    expect(listed.stdout.split('\n')).toContain('log');
    const [inspected] = JSON.parse((await host.docker('volume', 'inspect', 'log')).stdout) as [Record<string, unknown>];
    expect(inspected).toMatchObject({
      Name: 'log',
      Driver: 'supercargo',
      Scope: 'global',
      Status: { host: 'h1', state: 'held', epoch: String(volume.epoch) },
    });
    expect(await cluster.json<WhereView>(host, 'where', 'log')).toMatchObject({
      host: 'h1',
      address: '10.77.0.1:7472',
      state: 'held',
      epoch: volume.epoch,
      move: null,
    });
  }
});

it('sends again only what has changed', async () => {
  await cluster.createVolume(h1, 'big');
  await cluster.inContainer(h1, 'big', 'head -c 50000000 /dev/urandom > /data/big; echo 1 > /data/small');
  const transferred = async (to: Host): Promise<number> => {
    const move = await cluster.json<Move>(h1, 'volume', 'move', 'big', '--to', to.name);
    // The last report may come after the end of the move.
    let bytes = -1;
    await waitUntil('the final progress', async () => {
      const moves = await cluster.json<Move[]>(h1, 'move', 'ls', '--all');
      const before = bytes;
      bytes = moves.find(({ id }) => id === move.id)?.progress?.totalTransferredBytes ?? -1;
      return bytes > 0 && bytes === before;
    });
    return bytes;
  };
  expect(await transferred(h2)).toBeGreaterThan(50_000_000);
  await cluster.inContainer(h2, 'big', 'echo 2 > /data/small');
  expect(await transferred(h1)).toBeLessThan(1_000_000);
  expect(await transferred(h3)).toBeGreaterThan(50_000_000);
  const copies = (await inspect('big')).copies.map(({ kind }) => kind);
  expect(copies.sort()).toEqual(['live', 'replica', 'replica']);
});

it('copies while the container runs and hands over when it has stopped', async () => {
  await cluster.createVolume(h1, 'app');
  // What it prints it has written before: printed is acknowledged.
  await cluster.startContainer(h1, 'writer', 'app', 'i=0; while :; do i=$((i+1)); echo $i >> /data/log && echo $i; usleep 10000; done');
  const begun = await cluster.json<Move>(h1, 'volume', 'move', 'app', '--to', 'h2', '--detach');
  const move = async (): Promise<Move> => (await cluster.json<Move[]>(h1, 'move', 'ls', '--all')).find(({ id }) => id === begun.id)!;
  await waitUntil('the move waits for the container', async () => (await move()).blockedBy.length > 0);
  expect(await move()).toMatchObject({ phase: 'ready', blockedBy: [{ kind: 'container', name: 'writer' }] });
  const written = async (): Promise<number> => Number((await h1.docker('exec', 'writer', 'tail', '-n', '1', '/data/log')).stdout);
  const before = await written();
  await waitUntil('the container goes on writing', async () => (await written()) > before);

  await h1.docker('stop', '--time', '1', 'writer');
  const acknowledged = (await h1.docker('logs', 'writer')).stdout.trim().split('\n');
  await waitUntil('the volume is on h2', async () => (await move()).phase === 'committed');
  const { stdout } = await cluster.inContainer(h2, 'app', 'cat /data/log');
  const arrived = stdout.trim().split('\n');
  expect(arrived.slice(0, acknowledged.length)).toEqual(acknowledged);
  expect(arrived).toEqual(arrived.map((_, index) => String(index + 1)));

  expect(await cluster.json<WhereView>(h3, 'where', 'app')).toMatchObject({ host: 'h2', replicas: ['h1'] });
  const events = (await cluster.run(h3, 'events', '--last', '1000', '--json')).stdout.trim().split('\n');
  const ofApp = events.map((line) => JSON.parse(line) as EventView).filter(({ subject }) => subject === 'app');
  expect(ofApp.map(({ type }) => type)).toEqual(['volume.created', 'move.started', 'move.committed']);
});
