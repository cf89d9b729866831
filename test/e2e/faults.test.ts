import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TEST_IMAGE } from '../../testbed/lab.ts';
import type { Host } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import { expectClean, openMoves, volumeRecord } from './support/invariants.ts';
import { Records } from './support/records.ts';

const mebibyte = 1024 * 1024;

let cluster: Cluster;
let serial = 0;
// h1 is only the name server: what goes wrong with the holder is told apart from a name server that is away.
let h2: Host;
let h3: Host;

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 3 });
  [h2, h3] = [cluster.host('h2'), cluster.host('h3')];
});
afterAll(() => cluster[Symbol.asyncDispose]());

/** A volume with so much incompressible data, and some records. */
async function newVolume(host: Host, mebibytes: number): Promise<Records> {
  serial += 1;
  const records = new Records(cluster, `fault${serial}`);
  await cluster.createVolume(host, records.volume);
  await cluster.inContainer(
    host,
    records.volume,
    `head -c ${mebibytes * mebibyte} /dev/urandom > /data/bulk; sync /data/bulk; sha256sum < /data/bulk > /data/sum`,
  );
  await records.append(host, 10);
  return records;
}

async function expectWhole(host: Host, volume: string): Promise<void> {
  await cluster.inContainer(host, volume, '[ "$(sha256sum < /data/bulk)" = "$(cat /data/sum)" ]');
}

async function removeVolumes(host: Host, ...volumes: string[]): Promise<void> {
  await cluster.run(host, 'volume', 'rm', ...volumes);
}

/** Bytes of an open move of the volume that have arrived; 0 before it begins. */
async function arrivedBytes(volume: string): Promise<number> {
  const moves = await openMoves(cluster, cluster.host('h1'));
  return moves.find(({ volumeName }) => volumeName === volume)?.progress?.totalTransferredBytes ?? 0;
}

describe('no room at the destination', () => {
  test('the start fails and says why, the volume stays usable where it was, and the retry works once there is room', async () => {
    const records = await newVolume(h2, 220);
    const filler = await newVolume(h3, 260);
    await expectClean(cluster, filler.volume);
    const used = (await cluster.status(h3)).pool.usedBytes;
    const refused = await records.tryAppend(h3);
    expect(refused.exitCode).not.toBe(0);
    expect(refused.stderr).toMatch(/no room|full|not fit/);
    expect(await expectClean(cluster, records.volume)).toBe('h2');
    await records.append(h2);
    // The engine counts room as free once it has committed, which it does by itself every half minute.
    await waitUntil('the room of the partial copy is free again', async () => {
      await h3.run(['btrfs', 'filesystem', 'sync', '/var/lib/supercargo/pool']);
      return (await cluster.status(h3)).pool.usedBytes < used + 8 * mebibyte;
    });
    await removeVolumes(h3, filler.volume);
    await records.append(h3);
    await expectWhole(h3, records.volume);
    expect(await expectClean(cluster, records.volume)).toBe('h3');
    await removeVolumes(h3, records.volume);
  });
});

describe('a stream that arrives corrupt', () => {
  test('once: it is pulled again by itself', async () => {
    const records = await newVolume(h2, 4);
    await cluster.restartDaemon(h2, { SUPERCARGO_CORRUPT_STREAM: '1' });
    await records.append(h3);
    await expectWhole(h3, records.volume);
    expect(cluster.log(h3)).toMatch(/arrived corrupt; pulling it again/);
    expect(await expectClean(cluster, records.volume)).toBe('h3');
    await removeVolumes(h3, records.volume);
  });

  test('always: the start fails, the volume stays usable at the source, and moves once the fault is gone', async () => {
    const records = await newVolume(h2, 4);
    await cluster.restartDaemon(h2, { SUPERCARGO_CORRUPT_STREAM: '100' });
    const refused = await records.tryAppend(h3);
    expect(refused.exitCode).not.toBe(0);
    expect(refused.stderr).toMatch(/corrupt|could not be applied/);
    expect(await expectClean(cluster, records.volume)).toBe('h2');
    await records.append(h2);
    await cluster.restartDaemon(h2);
    await records.append(h3);
    await expectWhole(h3, records.volume);
    expect(await expectClean(cluster, records.volume)).toBe('h3');
    await removeVolumes(h3, records.volume);
  });
});

describe('a slow or broken network', () => {
  const size = 64;

  test('a connection that is cut in the middle goes on at its offset', async () => {
    const records = await newVolume(h2, size);
    await h2.throttle(12 * mebibyte);
    const before = await cluster.receivedBytes(h3);
    const start = records.tryAppend(h3);
    await waitUntil('half of it has arrived', async () => (await arrivedBytes(records.volume)) > (size / 2) * mebibyte, 120_000);
    await h2.cut();
    await waitUntil('the destination has noticed', () => cluster.log(h3).includes('a transfer was interrupted'), 60_000);
    await h2.heal();
    records.note(await start, true);
    const received = (await cluster.receivedBytes(h3)) - before;
    await h2.throttle(0);
    expect(received).toBeGreaterThan(size * mebibyte);
    expect(received).toBeLessThan(1.3 * size * mebibyte);
    await expectWhole(h3, records.volume);
    expect(await expectClean(cluster, records.volume)).toBe('h3');
    await removeVolumes(h3, records.volume);
  });

  test('more than fits into the mount deadline: fails with progress, a later start succeeds and nothing was sent twice', async () => {
    const records = await newVolume(h2, size);
    await cluster.restartDaemon(h3, { SUPERCARGO_MOUNT_DEADLINE: '6000' });
    await cluster.connected();
    await h2.throttle(6 * mebibyte);
    const before = await cluster.receivedBytes(h3);
    const first = await records.tryAppend(h3);
    expect(first.exitCode).not.toBe(0);
    expect(first.stderr).toMatch(/still moving from h2, \d+ %.*left/);
    expect(first.stderr).toMatch(/start it again/);
    await waitUntil(
      'a later start succeeds',
      async () => {
        const later = await records.tryAppend(h3);
        // The deadline may also fall between the end of the move and the mount.
        if (!/still moving from h2|is not ready yet/.test(later.stderr)) records.note(later, true);
        return later.exitCode === 0;
      },
      200_000,
    );
    const received = (await cluster.receivedBytes(h3)) - before;
    await h2.throttle(0);
    expect(received).toBeGreaterThan(size * mebibyte);
    expect(received).toBeLessThan(1.15 * size * mebibyte);
    await cluster.restartDaemon(h3);
    await expectWhole(h3, records.volume);
    expect(await expectClean(cluster, records.volume)).toBe('h3');
    await removeVolumes(h3, records.volume);
  });
});

describe('the holder does not answer', () => {
  test.each([
    { fault: 'powered off', strike: () => h2.powerOff(), mend: () => cluster.boot(h2) },
    { fault: 'frozen', strike: () => h2.freeze(), mend: () => h2.thaw() },
    { fault: 'without its agent', strike: () => cluster.killDaemon(h2), mend: () => cluster.up(h2) },
  ])('$fault: the start fails and names it, and works when it is back', async ({ strike, mend }) => {
    const records = await newVolume(h2, 2);
    await strike();
    const refused = await records.tryAppend(h3);
    expect(refused.exitCode).not.toBe(0);
    expect(refused.stderr).toMatch(/\bh2\b.*does not answer/);
    expect(refused.stderr).toMatch(/Start h2/);
    await mend();
    await cluster.connected();
    expect((await volumeRecord(cluster, h3, records.volume)).placement.state).not.toBe('removing');
    await records.append(h3);
    await expectWhole(h3, records.volume);
    expect(await expectClean(cluster, records.volume)).toBe('h3');
    await removeVolumes(h3, records.volume);
  });
});

describe('docker cp', () => {
  test('into a running container, also one that fails, does not take the volume from under it', async () => {
    const [records, readOnly] = [await newVolume(h2, 1), await newVolume(h2, 1)];
    const volumes = ['-v', `${records.volume}:/data`, '-v', `${readOnly.volume}:/ro:ro`];
    await h2.docker('run', '-d', '--init', '--name', 'copied', '--network', 'none', ...volumes, TEST_IMAGE, 'sleep', '1000000');
    const copies: { from: string; to: string; works: boolean }[] = [
      { from: '/etc/hostname', to: 'copied:/data/hostname', works: true },
      { from: 'copied:/data/sum', to: '/tmp/sum', works: true },
      { from: 'copied:/data/nothing-of-that-name', to: '/tmp/nothing', works: false },
      { from: '/nothing-of-that-name', to: 'copied:/data/', works: false },
      { from: '/etc/hostname', to: 'copied:/ro/hostname', works: false },
      { from: '/etc/hostname', to: 'copied:/data/no/such/folder/', works: false },
    ];
    for (const { from, to, works } of copies) {
      const { exitCode } = await h2.run(['docker', 'cp', from, to], { allowFailure: true });
      expect(exitCode === 0, `docker cp ${from} ${to}`).toBe(works);
      await h2.docker('exec', 'copied', 'sh', '-c', 'echo on >> /data/written && sync /data/written');
      const refused = await records.tryAppend(h3);
      expect(refused.stderr).toMatch(/in use on h2 by container copied/);
    }
    await h2.docker('exec', 'copied', 'sh', '-c', `[ $(wc -l < /data/written) = ${copies.length} ] && [ -s /data/hostname ]`);
    await h2.docker('rm', '-f', 'copied');
    for (const each of [records, readOnly]) {
      expect(await expectClean(cluster, each.volume)).toBe('h2');
      await each.append(h3);
      expect(await expectClean(cluster, each.volume)).toBe('h3');
    }
    await removeVolumes(h3, records.volume, readOnly.volume);
  });
});
