import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Host } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import { expectClean, volumeRecord } from './support/invariants.ts';
import { Records } from './support/records.ts';

let cluster: Cluster;
let serial = 0;
// h1 is the name server and must be there; h2 and h3 have the volumes.
let h1: Host;
let h2: Host;
let h3: Host;

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 3 });
  [h1, h2, h3] = [cluster.host('h1'), cluster.host('h2'), cluster.host('h3')];
});
afterAll(() => cluster[Symbol.asyncDispose]());

/** A volume that h2 holds and h3 has an older copy of. */
async function replicatedVolume(): Promise<{ records: Records; id: string }> {
  serial += 1;
  const records = new Records(cluster, `removed${serial}`);
  await cluster.createVolume(h3, records.volume);
  await records.append(h3);
  await records.append(h2);
  const { id } = await volumeRecord(cluster, h1, records.volume);
  for (const host of [h2, h3]) expect(existsSync(copyPath(host, id)), `${host.name} has a copy`).toBe(true);
  return { records, id };
}

function copyPath(host: Host, id: string): string {
  return dirname(cluster.livePath(host, id));
}

async function expectGone(name: string, id: string): Promise<void> {
  for (const host of cluster.lab.hosts) {
    const listed = await host.docker('volume', 'ls', '--quiet');
    expect(listed.stdout.split('\n')).not.toContain(name);
    const inspected = await host.engine.command(['volume', 'inspect', name], { allowFailure: true });
    expect(inspected.stderr).toMatch(/no such volume/i);
    await waitUntil(`${host.name} has dropped its copy`, () => !existsSync(copyPath(host, id)), 60_000);
  }
  await waitUntil('the record is gone', async () => {
    const { items } = await cluster.query<{ items: { id: string }[] }>(h1, '/v1/volumes');
    return items.every((each) => each.id !== id);
  });
}

test('a volume in use is not removed, by whomever asked, and the answer says who uses it and where', async () => {
  const { records } = await replicatedVolume();
  await records.startWriter(h2, 'holder');
  const byDocker = await h3.engine.command(['volume', 'rm', records.volume], { allowFailure: true });
  expect(byDocker.exitCode).not.toBe(0);
  expect(byDocker.stderr).toMatch(/in use on h2 by container holder/);
  const byHand = await cluster.tryRun(h1, 'volume', 'rm', records.volume);
  expect(byHand.exitCode).not.toBe(0);
  expect(byHand.stderr).toMatch(/in use on h2 by container holder/);
  const before = records.acknowledged;
  await records.stopWriter(h2, 'holder');
  expect(records.acknowledged).toBeGreaterThan(before);
  expect(await expectClean(cluster, records.volume)).toBe('h2');
  await records.append(h3);
});

test('a free volume goes from all hosts, and its name can be used anew for an empty one', async () => {
  const { records, id } = await replicatedVolume();
  await h2.docker('volume', 'rm', records.volume);
  await expectGone(records.volume, id);
  await cluster.createVolume(h3, records.volume);
  const files = await cluster.inContainer(h3, records.volume, 'ls -A /data');
  expect(files.stdout).toBe('');
  expect((await volumeRecord(cluster, h1, records.volume)).id).not.toBe(id);
  await cluster.run(h1, 'volume', 'rm', records.volume);
});

test('a host that does not hold it removes it as well', async () => {
  const { records, id } = await replicatedVolume();
  await h3.docker('volume', 'rm', records.volume);
  await expectGone(records.volume, id);
});

test('a host that was off meanwhile drops its copy when it is back, also if the name was used anew', async () => {
  const { records, id } = await replicatedVolume();
  await h3.powerOff();
  await h2.docker('volume', 'rm', records.volume);
  const anew = new Records(cluster, records.volume);
  await cluster.createVolume(h2, anew.volume);
  await anew.append(h2);
  expect(anew.acknowledged).toBe(3);
  await cluster.boot(h3);
  await waitUntil('h3 has dropped its old copy', () => !existsSync(copyPath(h3, id)), 60_000);
  await anew.append(h3);
  expect(anew.acknowledged).toBe(6);
  expect(await expectClean(cluster, anew.volume)).toBe('h3');
});

test('while the holder is down, the removal fails and names it, and the volume stays', async () => {
  const { records, id } = await replicatedVolume();
  await cluster.killDaemon(h2);
  const refused = await h3.engine.command(['volume', 'rm', records.volume], { allowFailure: true });
  expect(refused.exitCode).not.toBe(0);
  expect(refused.stderr).toMatch(/held by h2, which does not answer/);
  expect((await volumeRecord(cluster, h1, records.volume)).placement.state).toBe('held');
  await cluster.up(h2);
  await cluster.connected();
  await records.append(h2);
  await records.append(h3);
  expect((await volumeRecord(cluster, h1, records.volume)).id).toBe(id);
});

test('of several, those that can be are removed, and the one that is in use is named', async () => {
  const names = ['several1', 'several2', 'several3'];
  for (const name of names) await cluster.createVolume(h2, name);
  const used = new Records(cluster, 'several2');
  await used.startWriter(h2, 'user');
  const removal = await cluster.tryRun(h1, 'volume', 'rm', ...names);
  expect(removal.exitCode).not.toBe(0);
  expect(removal.stderr).toMatch(/several2.*in use on h2 by container user/);
  expect(removal.stderr).not.toMatch(/several[13]/);
  expect(removal.stdout.trim().split('\n')).toEqual(['several1', 'several3']);
  await used.stopWriter(h2, 'user');
  const { items } = await cluster.query<{ items: { name: string }[] }>(h1, '/v1/volumes');
  expect(items.map(({ name }) => name).filter((name) => names.includes(name))).toEqual(['several2']);
});
