import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Volume } from '../../src/model/records.ts';
import type { SnapshotView } from '../../src/protocol/snapshot-routes.ts';
import type { Host } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import { expectClean, volumeRecord } from './support/invariants.ts';
import { standsStill, standStillAt, standStillEnvironment } from './support/stand-still.ts';

let cluster: Cluster;
let h1: Host;
let h2: Host;
let h3: Host;
let serial = 0;

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 3, environment: { all: standStillEnvironment } });
  [h1, h2, h3] = [cluster.host('h1'), cluster.host('h2'), cluster.host('h3')];
  await cluster.run(h1, 'class', 'set', 'copied', '--replicas', '1', '--interval', '2s');
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

/** A volume on h2 with one file that says "first". */
async function newVolume(...options: string[]): Promise<string> {
  serial += 1;
  const name = `snapped${serial}`;
  await cluster.createVolume(h2, name, ...options);
  await write(h2, name, 'first');
  return name;
}

const write = (host: Host, volume: string, text: string) => cluster.inContainer(host, volume, `echo ${text} > /data/file; sync`);
const read = async (host: Host, volume: string): Promise<string> => (await cluster.inContainer(host, volume, 'cat /data/file')).stdout.trim();
const take = (host: Host, title: string): Promise<SnapshotView> => cluster.json<SnapshotView>(host, 'snapshot', 'create', title);
const inspect = (title: string): Promise<SnapshotView> => cluster.json<SnapshotView>(h1, 'snapshot', 'inspect', title);

/** What a host has of a snapshot on its disk; undefined if nothing. */
function contentOn(host: Host, volumeId: string, snapshot: string): string | undefined {
  const folder = host.path(`/var/lib/supercargo/pool/volumes/${volumeId}/snapshots`);
  const name = existsSync(folder) ? readdirSync(folder).find((each) => each.endsWith(`-${snapshot}`)) : undefined;
  try {
    return name === undefined ? undefined : readFileSync(join(folder, name, 'data', 'file'), 'utf8').trim();
  } catch (error) {
    // It is being deleted at this moment.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function waitFor<Found>(look: () => Found | undefined): Promise<Found> {
  let found: Found | undefined;
  await settles('what is looked for is there', () => (found = look()) !== undefined);
  return found!;
}

async function settles(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  await waitUntil(what, isSo, 60_000);
}

describe('snapshots of a volume in use', () => {
  test('hold what was written before, are the same when asked for again, and go in whatever order', async () => {
    const volume = await newVolume();
    await cluster.startContainer(h2, 'user-of-snapped', volume);
    const views: SnapshotView[] = [];
    for (const text of ['one', 'two', 'three']) {
      await h2.docker('exec', 'user-of-snapped', 'sh', '-c', `echo ${text} > /data/file; sync`);
      // From any host, whether it holds the volume or not.
      views.push(await take(text === 'two' ? h3 : h2, `${volume}@${text}`));
      expect(await take(h1, `${volume}@${text}`)).toEqual(expect.objectContaining({ snapshot: views.at(-1)!.snapshot }));
    }
    for (const { name, volumeId, snapshot, hosts } of views) {
      expect(hosts).toEqual(['h2']);
      expect(contentOn(h2, volumeId, snapshot!)).toBe(name);
    }
    const [first, second, third] = views as [SnapshotView, SnapshotView, SnapshotView];
    const isGone = ({ volumeId, snapshot }: SnapshotView) => contentOn(h2, volumeId, snapshot!) === undefined;
    for (const gone of [second, third, first]) {
      await cluster.run(h1, 'snapshot', 'rm', `${volume}@${gone.name}`);
      expect((await cluster.tryRun(h1, 'snapshot', 'rm', `${volume}@${gone.name}`)).exitCode).toBe(3);
      await settles(`${gone.name} is gone from the disk`, () => isGone(gone));
      const left = views.filter((each) => !isGone(each)).map(({ name }) => name);
      expect((await cluster.json<SnapshotView[]>(h1, 'snapshot', 'ls', volume)).map(({ name }) => name)).toEqual(left);
    }
    expect((await h2.docker('exec', 'user-of-snapped', 'cat', '/data/file')).stdout.trim()).toBe('three');
    await h2.docker('rm', '-f', 'user-of-snapped');
    await cluster.run(h1, 'volume', 'rm', volume);
  });
});

describe('two snapshots', () => {
  test('are compared by the host that has them, path by path', async () => {
    const volume = await newVolume();
    await take(h1, `${volume}@a`);
    await cluster.inContainer(h2, volume, 'echo more >> /data/file; mkdir /data/sub; echo new > "/data/sub/with space"; sync');
    await take(h1, `${volume}@b`);
    const { changes } = await cluster.json<{ changes: { path: string; change: string }[] }>(h2, 'snapshot', 'diff', `${volume}@a`, `${volume}@b`);
    expect(changes.map(({ path, change }) => `${change} ${path}`)).toEqual(['changed file', 'added sub', 'added sub/with space']);
    expect((await cluster.run(h2, 'snapshot', 'diff', `${volume}@b`, `${volume}@a`)).stdout).toContain('removed');
    const elsewhere = await cluster.tryRun(h3, 'snapshot', 'diff', `${volume}@a`, `${volume}@b`);
    expect([elsewhere.exitCode, elsewhere.stderr]).toEqual([4, expect.stringContaining('is on h2, not on h3')]);
    await cluster.run(h1, 'volume', 'rm', volume);
  });
});

describe('a move and a replica', () => {
  test('carry all snapshots, and a host that was off drops what was deleted meanwhile', async () => {
    const volume = await newVolume('class=copied');
    const views: SnapshotView[] = [];
    for (const text of ['one', 'two', 'three', 'four']) {
      await write(h2, volume, text);
      views.push(await take(h2, `${volume}@${text}`));
    }
    const { volumeId } = views[0]!;
    const isOn = (host: Host, names: string[]) =>
      views.every(({ name, snapshot }) => contentOn(host, volumeId, snapshot!) === (names.includes(name) ? name : undefined));
    const all = views.map(({ name }) => name);
    const record = (): Promise<Volume> => volumeRecord(cluster, h1, volume);
    await settles('a replica has them', async () => [h1, h3].some((host) => isOn(host, all)));
    const replica = isOn(h1, all) ? h1 : h3;
    const other = replica === h1 ? h3 : h1;
    await cluster.run(h1, 'volume', 'move', volume, '--to', other.name);
    expect(isOn(other, all)).toBe(true);
    expect(await read(other, volume)).toBe('four');
    for (const { name } of views) expect((await inspect(`${volume}@${name}`)).hosts.toSorted()).toEqual(['h1', 'h2', 'h3']);

    await cluster.killDaemon(h2);
    await cluster.run(h1, 'snapshot', 'rm', `${volume}@two`, `${volume}@one`);
    await write(other, volume, 'five');
    await take(h1, `${volume}@five`);
    await settles('the holder has dropped them', () => isOn(other, ['three', 'four']));
    expect(isOn(h2, all)).toBe(true);
    await cluster.up(h2);
    await settles('the host that was off has dropped them', () => isOn(h2, ['three', 'four']));
    await settles('the replica has dropped them', () => isOn(replica, ['three', 'four']));
    expect((await record()).snapshots.map(({ name }) => name)).toEqual(['three', 'four', 'five']);
    await cluster.run(h1, 'volume', 'rm', volume);
  });
});

describe('a volume that is made from a snapshot', () => {
  test('is there at once on the host of the data, and follows its container to another one', async () => {
    const volume = await newVolume('size=64M');
    await cluster.startContainer(h2, 'user-of-source', volume);
    await take(h1, `${volume}@a`);
    await h2.docker('exec', 'user-of-source', 'sh', '-c', 'echo second > /data/file; sync');
    for (let time = 0; time < 2; time += 1) await cluster.createVolume(h2, `${volume}-here`, `from=${volume}@a`);
    await cluster.createVolume(h3, `${volume}-there`, `from=${volume}@a`);
    for (let time = 0; time < 2; time += 1) await cluster.createVolume(h3, `${volume}-now`, `from=${volume}`);
    expect(await read(h2, `${volume}-here`)).toBe('first');
    expect(await read(h3, `${volume}-there`)).toBe('first');
    expect(await read(h3, `${volume}-now`)).toBe('second');
    expect((await cluster.json<SnapshotView[]>(h1, 'snapshot', 'ls', volume)).map(({ kind }) => kind)).toEqual(['manual', 'safety']);

    // Each goes its own way.
    await write(h3, `${volume}-there`, 'another');
    await cluster.run(h1, 'snapshot', 'rm', `${volume}@a`);
    await cluster.run(h1, 'volume', 'clone', `${volume}-there`, `${volume}-again`);
    expect(await read(h2, `${volume}-again`)).toBe('another');
    expect(await read(h2, `${volume}-here`)).toBe('first');
    expect((await volumeRecord(cluster, h1, `${volume}-again`)).sizeBytes).toBe(64 * 1024 ** 2);
    expect((await h2.docker('exec', 'user-of-source', 'cat', '/data/file')).stdout.trim()).toBe('second');
    await h2.docker('rm', '-f', 'user-of-source');
    await cluster.run(h1, 'volume', 'rm', volume, ...['here', 'there', 'now', 'again'].map((each) => `${volume}-${each}`));
  });

  test('is made all the same by a host that is killed in the middle of it', async () => {
    const volume = await newVolume();
    await take(h1, `${volume}@a`);
    standStillAt(h2, 'live-created');
    await cluster.run(h1, 'volume', 'clone', `${volume}@a`, `${volume}-clone`);
    await standsStill(h2);
    expect((await cluster.tryRun(h1, 'snapshot', 'rm', `${volume}@a`)).exitCode).toBe(4);
    await cluster.restartDaemon(h2);
    expect(await read(h3, `${volume}-clone`)).toBe('first');
    await cluster.run(h1, 'snapshot', 'rm', `${volume}@a`);
    await cluster.run(h1, 'volume', 'rm', volume, `${volume}-clone`);
  });
});

describe('a volume that goes back to a snapshot', () => {
  test('is refused while it is in use, says by whom, and then is as it was, also for its replica', async () => {
    const volume = await newVolume('class=copied');
    const { volumeId, snapshot } = await take(h1, `${volume}@a`);
    await cluster.startContainer(h2, 'user-of-reverted', volume);
    await h2.docker('exec', 'user-of-reverted', 'sh', '-c', 'echo second > /data/file; sync');
    const refused = await cluster.tryRun(h1, 'volume', 'revert', `${volume}@a`);
    expect([refused.exitCode, refused.stderr]).toEqual([4, expect.stringContaining('container user-of-reverted')]);
    await h2.docker('rm', '-f', 'user-of-reverted');
    const replica = await waitFor(() => [h1, h3].find((host) => contentOn(host, volumeId, snapshot!) === 'first'));

    await cluster.run(h1, 'volume', 'revert', `${volume}@a`);
    expect(await read(h2, volume)).toBe('first');
    const [, safety] = await cluster.json<SnapshotView[]>(h1, 'snapshot', 'ls', volume);
    expect(safety).toMatchObject({ kind: 'safety', state: 'taken' });
    await settles('the replica has what was before', () => contentOn(replica, volumeId, safety!.snapshot!) === 'second');
    // And back again, and the same once more.
    await cluster.run(h1, 'volume', 'revert', `${volume}@${safety!.name}`);
    expect(await read(h2, volume)).toBe('second');
    await cluster.run(h1, 'volume', 'revert', `${volume}@a`);
    await cluster.run(h1, 'volume', 'revert', `${volume}@a`);
    await cluster.run(h1, 'volume', 'move', volume, '--to', replica.name);
    expect(await read(replica, volume)).toBe('first');
    await write(replica, volume, 'third');
    expect(await read(h2, volume)).toBe('third');
    expect(await expectClean(cluster, volume)).toBe('h2');
    await cluster.run(h1, 'volume', 'rm', volume);
  });

  test.each(['releasing-recorded', 'made-read-only', 'final-snapshot-made', 'release-recorded', 'revert-reported', 'live-created', 'live-reported'])(
    'is as before or as it was then, if its host is killed at %s',
    async (place) => {
      const volume = await newVolume();
      await take(h1, `${volume}@a`);
      await write(h2, volume, 'second');
      standStillAt(h2, place);
      const reverted = cluster.tryRun(h1, 'volume', 'revert', `${volume}@a`);
      await standsStill(h2);
      await cluster.restartDaemon(h2);
      const { exitCode } = await reverted;
      expect(await read(h2, volume)).toBe(exitCode === 0 ? 'first' : 'second');
      const kept = (await cluster.json<SnapshotView[]>(h1, 'snapshot', 'ls', volume)).slice(1);
      expect(kept.map(({ volumeId, snapshot }) => contentOn(h2, volumeId, snapshot!))).toEqual(exitCode === 0 ? ['second'] : []);
      await cluster.run(h1, 'volume', 'revert', `${volume}@a`);
      expect(await read(h3, volume)).toBe('first');
      expect(await expectClean(cluster, volume)).toBe('h3');
      await cluster.run(h1, 'volume', 'rm', volume);
    },
  );
});

describe('a snapshot whose holder is away', () => {
  test('waits, says why, and is taken when it is back', async () => {
    const volume = await newVolume();
    await cluster.killDaemon(h2);
    await settles('h2 counts as down', async () => (await cluster.json<{ status: string }>(h1, 'host', 'inspect', 'h2')).status === 'down');
    const waited = await cluster.tryRun(h1, 'snapshot', 'create', `${volume}@late`, '--timeout', '1s');
    expect(waited.stderr).toContain('h2 holds the volume and does not answer');
    expect(waited.exitCode).not.toBe(0);
    expect((await cluster.run(h1, 'volume', 'inspect', volume)).stdout).toContain('not yet');
    await cluster.up(h2);
    expect(await take(h1, `${volume}@late`)).toMatchObject({ state: 'taken', hosts: ['h2'] });
    await cluster.run(h1, 'volume', 'rm', volume);
  });
});

describe('kill -9 of the agent that takes a snapshot', () => {
  test.each(['named-snapshot-made', 'named-snapshot-recorded'])('at %s: there is one of that name, and nothing else is left', async (place) => {
    const volume = await newVolume();
    standStillAt(h2, place);
    const taken = take(h1, `${volume}@a`);
    await standsStill(h2);
    await cluster.restartDaemon(h2);
    const { snapshot, volumeId } = await taken;
    expect(contentOn(h2, volumeId, snapshot!)).toBe('first');
    const folder = h2.path(`/var/lib/supercargo/pool/volumes/${volumeId}/snapshots`);
    await settles('what nobody knows of is gone', () => readdirSync(folder).filter((name) => existsSync(join(folder, name, 'data'))).length === 1);
    expect((await inspect(`${volume}@a`)).snapshot).toBe(snapshot);
    await cluster.run(h1, 'volume', 'rm', volume);
  });
});
