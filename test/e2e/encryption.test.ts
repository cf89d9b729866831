import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { EventView } from '../../src/protocol/routes.ts';
import type { Host } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import { volumeRecord } from './support/invariants.ts';
import { fillWithMenagerie, manifest } from './support/manifest.ts';
import { Writer } from './support/writers.ts';

let cluster: Cluster;
// h1 is the name server and keeps no volume.
let h1: Host;
let h2: Host;
let h3: Host;

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 3, environment: { all: { SUPERCARGO_SESSION: '5000' } } });
  [h1, h2, h3] = [cluster.host('h1'), cluster.host('h2'), cluster.host('h3')];
  await cluster.run(h1, 'class', 'set', 'sealed', '--encryption', 'luks', '--size', '128M');
  await cluster.run(
    h1,
    'class',
    'set',
    'guarded',
    '--encryption',
    'luks',
    '--size',
    '64M',
    '--replicas',
    '1',
    '--interval',
    '1s',
    '--failover',
    'auto',
  );
});
afterAll(() => cluster?.[Symbol.asyncDispose]());

const mountPointOf = (id: string): string => `/var/lib/supercargo/mounts/${id}`;
const record = (volume: string) => volumeRecord(cluster, h1, volume);

/** How often the raw bytes of a host's pool have the text. */
async function countInPool(host: Host, text: string): Promise<number> {
  await host.run(['sync']);
  const { stdout } = await host.run(['grep', '--count', '--binary-files=text', '--fixed-strings', text, '/var/lib/supercargo/pool.img'], {
    allowFailure: true,
  });
  return Number(stdout);
}

/** What of an open volume is on a host: engines, mounts, files. */
async function openOn(host: Host, id: string): Promise<string> {
  const { stdout } = await host.run(
    ['bash', '-c', `grep ${id} /proc/mounts; ls /run/supercargo/encrypted; ps -eo args | grep '[q]emu-storage-daemon.*${id}'`],
    {
      allowFailure: true,
    },
  );
  return stdout;
}

/** Asks the name server for the keys of a volume, as that host. @returns the status of the answer */
async function askForKey(host: Host, volume: string, epoch: number): Promise<string> {
  const target = ['--unix-socket', '/run/supercargo/agent.sock', `http://localhost/v1/volumes/${volume}/key`];
  const call = ['--silent', '--output', '/dev/null', '--write-out', '%{http_code}', '--json', JSON.stringify({ epoch })];
  return (await host.run(['curl', ...call, ...target])).stdout;
}

async function goesOn(writer: Writer): Promise<void> {
  const before = (await writer.outcome()).acknowledged.length;
  await waitUntil(`${writer.name} goes on writing`, async () => (await writer.outcome()).acknowledged.length > before + 5, 60_000);
}

it('follows its container with all that a file can be, and no disk ever has a word of it', async () => {
  const [marker, plain] = [`marker-${randomBytes(16).toString('hex')}`, `plain-${randomBytes(16).toString('hex')}`];
  await cluster.createVolume(h2, 'open');
  await cluster.inContainer(h2, 'open', `echo ${plain} > /data/${plain}; sync`);
  expect(await countInPool(h2, plain)).toBeGreaterThan(0);

  await cluster.createVolume(h2, 'secret', 'class=sealed');
  const { id } = await record('secret');
  const seen: string[] = [];
  for (const host of [h2, h3, h2]) {
    await cluster.startContainer(host, 'visitor', 'secret', `[ -e /data/${marker} ] || echo ${marker} > /data/${marker}; sleep 1000000`);
    if (seen.length === 0) {
      await waitUntil('the marker is there', async () => (await host.run(['ls', mountPointOf(id)])).stdout.includes(marker));
      await fillWithMenagerie(host, mountPointOf(id));
    }
    seen.push(await manifest(host, mountPointOf(id)));
    expect((await host.docker('exec', 'visitor', 'cat', `/data/${marker}`)).stdout).toBe(`${marker}\n`);
    expect((await host.docker('exec', 'visitor', 'df', '-m', '/data')).stdout).toMatch(/ 1[012]\d /);
    await host.docker('rm', '-f', 'visitor');
  }
  expect(seen[0]).toContain('user.comment');
  for (const other of seen.slice(1)) expect(other).toBe(seen[0]);
  for (const host of [h2, h3]) expect([host.name, await countInPool(host, marker)]).toEqual([host.name, 0]);
  // What moved away is shut where it was.
  expect(await openOn(h3, id)).toBe('');
  expect(await askForKey(h3, 'secret', (await record('secret')).epoch)).toBe('403');
});

it('is opened by a replica when its holder is lost, and by nobody before', async () => {
  await cluster.createVolume(h2, 'guarded', 'class=guarded');
  const writer = new Writer(h2, 'before', 'guarded');
  await writer.start();
  await goesOn(writer);
  const { lineage: before } = await record('guarded');
  const isNewer = (snapshot: string): boolean => before.every((entry) => entry.snapshot !== snapshot);
  const hasReplica = async (): Promise<boolean> =>
    (await record('guarded')).copies.some((copy) => copy.kind === 'replica' && copy.snapshots.some(isNewer));
  await waitUntil('there is a replica of what was written', hasReplica, 60_000);
  const { id, epoch, copies } = await record('guarded');
  const replica = cluster.host(
    copies.find(({ kind }) => kind === 'replica')?.host === (await cluster.json<{ id: string }>(h1, 'host', 'inspect', 'h3')).id ? 'h3' : 'h1',
  );
  expect([await askForKey(replica, 'guarded', epoch), await askForKey(h2, 'guarded', epoch - 1), await askForKey(h2, 'guarded', epoch)]).toEqual([
    '403',
    '409',
    '200',
  ]);
  const events = (await cluster.query<{ items: EventView[] }>(h1, '/v1/events?limit=1000')).items.filter(({ subject }) => subject === 'guarded');
  expect(events.map(({ type }) => type)).toEqual(expect.arrayContaining(['volume.key-released', 'volume.key-refused']));

  await h2.cut();
  const successor = new Writer(replica, 'after', 'guarded');
  try {
    await successor.start();
    await goesOn(successor);
    const [old, fresh] = [await writer.outcome(), await successor.outcome()];
    expect(fresh.found).toBeGreaterThan(0);
    expect(fresh.acknowledged[0]!.at > old.acknowledged.at(-1)!.at).toBe(true);
    expect(await writer.isRunning()).toBe(false);
    await waitUntil('it is shut on the host that was cut off', async () => !(await openOn(h2, id)).includes(id), 60_000);
  } finally {
    await h2.heal();
  }
  // Before that, what is listed is the last snapshot that the replica lacked.
  await waitUntil('what was written there is kept', async () => (await cluster.volumeOn(h2, 'guarded'))?.live === 'absent', 60_000);
  const { acknowledged } = await writer.outcome();
  await cluster.run(h1, 'volume', 'restore', 'guarded', (await record('guarded')).diverged.at(-1)!.snapshot, 'kept');
  const kept = new Set((await cluster.inContainer(h2, 'kept', 'cat /data/records')).stdout.split('\n'));
  expect(acknowledged.filter((each) => !kept.has(each.record))).toEqual([]);
  for (const each of [writer, successor]) await each.remove();
});

it('goes on without the agent, and starts again while the name server is away', async () => {
  await cluster.createVolume(h2, 'steady', 'class=sealed');
  const writer = new Writer(h2, 'steady', 'steady');
  await writer.start();
  await cluster.killDaemon(h2);
  await goesOn(writer);
  await cluster.up(h2);
  await cluster.connected();
  await cluster.killDaemon(h1);
  await waitUntil('h2 has noticed', async () => !(await cluster.status(h2)).nameServer.connected, 60_000);
  await writer.remove();
  const again = new Writer(h2, 'again', 'steady');
  await again.start();
  await goesOn(again);
  expect((await again.outcome()).found).toBeGreaterThan(0);
  await cluster.up(h1);
  await cluster.connected();
  await again.remove();
});

it('gets a new key while it is used, and its keys go with it', async () => {
  const writer = new Writer(h2, 'rekeyed', 'steady');
  await writer.start();
  await cluster.run(h1, 'volume', 'rekey', 'steady');
  await waitUntil('the live copy has the new key', async () => (await record('steady')).encryption?.keyInUse === 2, 60_000);
  await goesOn(writer);
  const { acknowledged } = await writer.outcome();
  await writer.remove();
  await cluster.run(h1, 'key', 'rotate-master');
  const records = new Set((await cluster.inContainer(h3, 'steady', 'cat /data/records')).stdout.split('\n'));
  expect(acknowledged.filter((each) => !records.has(each.record))).toEqual([]);

  const { id, epoch } = await record('steady');
  expect(await askForKey(h3, id, epoch)).toBe('200');
  await cluster.run(h1, 'volume', 'rm', 'steady');
  expect(await askForKey(h3, id, epoch)).not.toBe('200');
  await waitUntil('it is shut', async () => !(await openOn(h3, id)).includes(id), 60_000);
});
