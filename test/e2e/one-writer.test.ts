import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Move, Volume, VolumeUse } from '../../src/model/records.ts';
import { TEST_IMAGE } from '../../testbed/lab.ts';
import type { Completed, Host } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import { mountThroughPlugin, unmountThroughPlugin } from './support/plugin-socket.ts';
import { seededRandom } from './support/random.ts';
import { pause } from './support/timing.ts';

let cluster: Cluster;
let h1: Host;
let h2: Host;
let h3: Host;

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 3 });
  [h1, h2, h3] = [cluster.host('h1'), cluster.host('h2'), cluster.host('h3')];
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

/** Who wants a volume that is in use is told so at once, whatever he asks with. */
const refusedWithinMilliseconds = 5000;
const countingScript = 'i=0; while :; do i=$((i+1)); echo $i >> /data/count; usleep 10000; done';

const inspect = async (volume: string): Promise<Volume> => (await cluster.json<{ volume: Volume }>(h1, 'volume', 'inspect', volume)).volume;
const mountPointOf = (id: string): string => `/var/lib/supercargo/mounts/${id}`;
const livePathOf = (id: string): string => `/var/lib/supercargo/pool/volumes/${id}/live`;

async function count(host: Host, container: string): Promise<number> {
  return Number((await host.docker('exec', container, 'tail', '-n', '1', '/data/count')).stdout);
}

async function goesOnWriting(host: Host, container: string): Promise<void> {
  const before = await count(host, container);
  await waitUntil(`${container} goes on writing`, async () => (await count(host, container)) > before);
}

async function blockedBy({ id }: Move): Promise<VolumeUse[]> {
  return (await cluster.json<Move[]>(h1, 'move', 'ls')).find((move) => move.id === id)?.blockedBy ?? [];
}

function tryOn(host: Host, volume: string): Promise<Completed> {
  return cluster.inContainer(host, volume, 'cat /data/count', true);
}

/** The volume stays with h1, in the same epoch, whatever else was tried. */
async function undisturbed(before: Volume): Promise<void> {
  await waitUntil('the move has ended', async () => (await inspect(before.name)).placement.state === 'held');
  expect(await inspect(before.name)).toMatchObject({ epoch: before.epoch, placement: before.placement });
}

it('refuses a volume that a container elsewhere uses, says who and where, and gives it after the stop', async () => {
  await cluster.createVolume(h1, 'data');
  await cluster.startContainer(h1, 'holder', 'data', countingScript);
  const before = await inspect('data');
  for (const replica of ['without', 'with']) {
    if (replica === 'with') {
      // A move in advance brings a replica to h2, and is then called off.
      const move = await cluster.json<Move>(h2, 'volume', 'move', 'data', '--to', 'h2', '--detach');
      await waitUntil('h2 has a replica', async () => (await cluster.volumeOn(h2, 'data')) !== undefined && (await blockedBy(move)).length > 0);
      await cluster.run(h2, 'move', 'cancel', move.id);
      await waitUntil('the replica is known', async () => (await inspect('data')).copies.some(({ kind }) => kind === 'replica'));
    }
    const refused = await tryOn(h2, 'data');
    expect(refused.exitCode).toBe(125);
    expect(refused.stderr).toContain('Volume "data" is in use on h1 by container holder.');
    expect(refused.stderr).toContain('Stop it on h1');
    await undisturbed(before);
    const inTime = await mountThroughPlugin(h2, 'data', 'in-time', refusedWithinMilliseconds);
    expect(inTime).toEqual({ refusal: expect.stringContaining('Volume "data" is in use on h1 by container holder.') });
    await undisturbed(before);
    await goesOnWriting(h1, 'holder');
  }

  // Docker fills an empty volume from the image when it creates a container: it mounts it for that.
  for (const host of [h2, h3]) {
    const created = await host.engine.command(['create', '--volume-driver', 'supercargo', '-v', 'data:/seeded', TEST_IMAGE], { allowFailure: true });
    expect(created.exitCode).not.toBe(0);
    expect(created.stderr).toContain('in use on h1 by container holder');
    await undisturbed(before);
  }
  await goesOnWriting(h1, 'holder');

  await h1.docker('stop', '--time', '0', 'holder');
  const { stdout } = await tryOn(h2, 'data');
  const seen = stdout.trim().split('\n');
  expect(seen.length).toBeGreaterThan(1);
  expect(seen).toEqual(seen.map((_, index) => String(index + 1)));
  expect(await inspect('data')).toMatchObject({ epoch: before.epoch + 1, placement: { state: 'held' } });
});

it('refuses without copying a volume that is too large to be copied first', async () => {
  await cluster.createVolume(h1, 'large');
  await cluster.inContainer(h1, 'large', 'head -c 100000000 /dev/urandom > /data/bytes');
  await cluster.startContainer(h1, 'user', 'large');
  // At this rate the whole volume takes 25 s.
  await h2.throttle(4_000_000);
  try {
    const refused = await tryOn(h2, 'large');
    expect(refused.stderr).toContain('in use on h1 by container user');
    const move = (await cluster.json<Move[]>(h1, 'move', 'ls', '--all')).findLast(({ volumeName }) => volumeName === 'large');
    expect(move?.phase).toBe('aborted');
    expect(move?.progress?.totalTransferredBytes ?? 0).toBeLessThan(50_000_000);
  } finally {
    await h2.throttle(0);
    await h1.docker('rm', '-f', 'user');
  }
});

it('does not hand over what a container still has after the host has unmounted it', async () => {
  await cluster.createVolume(h1, 'unmounted');
  await cluster.startContainer(h1, 'keeper', 'unmounted', countingScript);
  const before = await inspect('unmounted');
  await h1.run(['umount', mountPointOf(before.id)]);
  const refused = await tryOn(h2, 'unmounted');
  expect(refused.stderr).toContain('in use on h1 by container keeper');
  await undisturbed(before);
  await goesOnWriting(h1, 'keeper');
  await h1.docker('rm', '-f', 'keeper');
  expect((await tryOn(h2, 'unmounted')).exitCode).toBe(0);
});

it.each([
  { what: 'works in it', script: 'cd "$1"; echo > ready; exec sleep 1000000' },
  { what: 'has a file of it open', script: 'exec 9>"$1/ready"; cd /; exec sleep 1000000' },
  {
    what: 'has it in a mount namespace of its own',
    script: `exec unshare --mount bash -c 'mount --bind "$1" /mnt && echo > /mnt/ready && exec sleep 1000000' bash "$1"`,
  },
  {
    what: 'has a deleted file of it mapped',
    script: 'cp /bin/sleep "$1/ready"; "$1/ready" 1000000 & sleep 0.2; rm "$1/ready"; echo > "$1/ready"; wait',
  },
])('does not hand over while a process of the host $what', async ({ script }) => {
  const name = `held-${randomBytes(4).toString('hex')}`;
  await cluster.createVolume(h1, name);
  await cluster.inContainer(h1, name, 'echo 1 > /data/count');
  const before = await inspect(name);
  const process = h1.spawn(['bash', '-c', script, 'bash', livePathOf(before.id)], { stdio: 'ignore' });
  const held = async (): Promise<boolean> => ((await cluster.volumeOn(h1, name))?.uses.length ?? 0) > 0;
  await waitUntil('the process holds the volume', held);
  const refused = await tryOn(h2, name);
  expect(refused.stderr).toMatch(new RegExp(String.raw`Volume "${name}" is in use on h1 by (process|container) (sleep|ready) \(process \d+\)`));
  await undisturbed(before);
  for (const { argv, pid } of await h1.processes()) if (argv[1] === '1000000') globalThis.process.kill(pid, 'SIGKILL');
  await waitUntil('the process has gone', async () => !(await held()));
  process.unref();
  expect((await tryOn(h2, name)).stdout).toBe('1\n');
});

it('makes one volume of twenty creates at once from three hosts', async () => {
  const hosts = Array.from({ length: 20 }, (_, index) => [h1, h2, h3][index % 3]!);
  const created = await Promise.all(hosts.map((host) => cluster.createVolume(host, 'twenty')));
  expect(created.map(({ stdout }) => stdout)).toEqual(hosts.map(() => 'twenty\n'));
  const volumes = await cluster.json<Volume[]>(h2, 'volume', 'ls');
  expect(volumes.filter(({ name }) => name === 'twenty')).toHaveLength(1);
  for (const host of [h1, h2, h3]) expect((await host.docker('volume', 'ls', '-q')).stdout.match(/^twenty$/gm)).toHaveLength(1);
});

interface Tally {
  holder: number;
  newcomer: number;
}

/**
 * Again and again both hosts want the volume, the one that holds it a little later, so that its mount meets the move in each of its phases. How much
 * later is found as it goes, so that on every machine about a quarter of the tries go to the newcomer.
 * The winner adds one to a number in the volume, so that each sees whether the write of the one before has come along.
 */
async function race(volume: string, tries: number, seed: number): Promise<Tally> {
  const tally: Tally = { holder: 0, newcomer: 0 };
  const random = seededRandom(seed);
  let [holder, newcomer] = [h1, h2];
  let usualDelay = 50;
  await cluster.createVolume(holder, volume);
  for (let round = 0; round < tries; round += 1) {
    const session = randomBytes(32).toString('hex');
    const [old, fresh] = await Promise.all([
      pause(2 * usualDelay * random()).then(() => mountThroughPlugin(holder, volume, session)),
      mountThroughPlugin(newcomer, volume, session),
    ]);
    const winners = [old, fresh].flatMap((result) => ('mountPoint' in result ? [result.mountPoint] : []));
    expect(winners, `try ${round} of ${volume}: ${JSON.stringify([old, fresh])}`).toHaveLength(1);
    const newcomerWon = 'mountPoint' in fresh;
    usualDelay *= newcomerWon ? 0.87 : 1.05;
    if (newcomerWon) [holder, newcomer] = [newcomer, holder];
    tally[newcomerWon ? 'newcomer' : 'holder'] += 1;
    addOne(holder.path(`${winners[0]}/number`), round);
    await unmountThroughPlugin(holder, volume, session);
  }
  return tally;
}

function addOne(path: string, expected: number): void {
  const before = expected === 0 ? 0 : Number(readFileSync(path, 'utf8'));
  expect(before).toBe(expected);
  writeFileSync(path, String(before + 1));
}

it('lets exactly one of a start and a move win, a thousand times', async () => {
  const tallies = await Promise.all(Array.from({ length: 4 }, (_, index) => race(`race-${index}`, 250, index + 1)));
  const total = tallies.reduce((sum, { holder, newcomer }) => ({ holder: sum.holder + holder, newcomer: sum.newcomer + newcomer }));
  expect(total.holder + total.newcomer).toBe(1000);
  // Both must have happened often, or the moments were chosen badly and nothing was tried.
  expect(Math.min(total.holder, total.newcomer)).toBeGreaterThan(100);
}, 600_000);

it('lets exactly one of two containers that start at once have the volume', async () => {
  await cluster.createVolume(h1, 'both');
  for (let round = 0; round < 10; round += 1) {
    const hosts = round % 2 === 0 ? [h1, h2] : [h2, h1];
    const options = ['--name', 'racer', '--init', '--network', 'none', '-v', 'both:/data', TEST_IMAGE];
    const start = (host: Host): Promise<Completed> =>
      host.engine.command(['run', '-d', ...options, 'sh', '-c', `echo ${round} >> /data/log; sleep 1000000`], { allowFailure: true });
    const results = await Promise.all(hosts.map(start));
    const winners = hosts.filter((_, index) => results[index]?.exitCode === 0);
    expect(winners, `try ${round}: ${JSON.stringify(results)}`).toHaveLength(1);
    await waitUntil('the winner has written', async () => {
      const { stdout } = await winners[0]!.docker('exec', 'racer', 'cat', '/data/log');
      return stdout === Array.from({ length: round + 1 }, (_, index) => `${index}\n`).join('');
    });
    for (const host of hosts) await host.docker('rm', '-f', 'racer');
  }
});
