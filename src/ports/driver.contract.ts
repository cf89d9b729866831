import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import type { VolumeDriver } from './driver.ts';

/** Makes drivers with a small pool (256 MiB to 512 MiB) each; `remove` closes them and removes their pools. */
export interface DriverFactory {
  make(): Promise<VolumeDriver>;
  remove(): Promise<void>;
}

const volumeName = () => newIdentifier('vol');
const snapshotName = () => newIdentifier('snp');

/** What every driver whose data lies on the host (`stream` or `extents`) must do. Needs root. */
export function describeDriverContract(name: string, factory: DriverFactory): void {
  describe(`driver ${name}`, () => {
    let source: VolumeDriver;
    let destination: VolumeDriver;

    beforeAll(async () => {
      source = await factory.make();
      destination = await factory.make();
    });
    afterAll(() => factory.remove());

    const write = (driver: VolumeDriver, volume: string, file: string, content: string | Buffer) =>
      writeFileSync(join(driver.livePath(volume), file), content);
    const read = (driver: VolumeDriver, volume: string, file: string) => readFileSync(join(driver.livePath(volume), file), 'utf8');

    /** A volume on the source with one file and one snapshot of it. */
    async function volumeWithSnapshot(content: string | Buffer = 'one'): Promise<{ volume: string; snapshot: string }> {
      const [volume, snapshot] = [volumeName(), snapshotName()];
      await source.createLive(volume);
      write(source, volume, 'file', content);
      await source.createSnapshot(volume, snapshot);
      return { volume, snapshot };
    }

    async function transfer(volume: string, snapshot: string, base: string | null, from = source, to = destination): Promise<number> {
      const receiver = await to.receive(volume, snapshot, base);
      await pipeline(from.send(volume, snapshot, base), receiver.sink);
      return (await receiver.complete()).bytes;
    }

    describe('live copies and snapshots', () => {
      it('creates, lists, protects and deletes a live copy, each any number of times', async () => {
        const volume = volumeName();
        expect(await source.inspect(volume)).toMatchObject({ live: 'absent', snapshots: [] });
        await source.createLive(volume);
        write(source, volume, 'file', 'kept');
        await source.createLive(volume);
        expect(read(source, volume, 'file')).toBe('kept');
        expect((await source.list()).find((copy) => copy.volume === volume)?.live).toBe('writable');

        await source.setLiveReadOnly(volume, true);
        await source.setLiveReadOnly(volume, true);
        expect((await source.inspect(volume)).live).toBe('readonly');
        expect(() => write(source, volume, 'file', 'changed')).toThrow(/EROFS/);
        await source.setLiveReadOnly(volume, false);
        write(source, volume, 'file', 'changed');

        await source.deleteLive(volume);
        await source.deleteLive(volume);
        expect((await source.list()).map((copy) => copy.volume)).not.toContain(volume);
      });

      it('keeps snapshots in order, unchanging, and makes live copies from them', async () => {
        const { volume, snapshot } = await volumeWithSnapshot();
        const later = Array.from({ length: 3 }, snapshotName);
        for (const [index, next] of later.entries()) {
          write(source, volume, 'file', `later ${index}`);
          await source.createSnapshot(volume, next);
          await source.createSnapshot(volume, next);
        }
        expect((await source.inspect(volume)).snapshots).toEqual([snapshot, ...later]);

        await expect(source.createLiveFrom(volume, snapshot)).rejects.toMatchObject({ code: 'wrong-state' });
        await source.deleteLive(volume);
        await expect(source.createLiveFrom(volume, snapshotName())).rejects.toMatchObject({ code: 'not-found' });
        await source.createLiveFrom(volume, snapshot);
        expect(read(source, volume, 'file')).toBe('one');
        write(source, volume, 'file', 'changed');

        await source.deleteSnapshot(volume, snapshot);
        await source.deleteSnapshot(volume, snapshot);
        const added = snapshotName();
        await source.createSnapshot(volume, added);
        expect((await source.inspect(volume)).snapshots).toEqual([...later, added]);
        await source.deleteVolume(volume);
        await source.deleteVolume(volume);
        expect((await source.list()).map((copy) => copy.volume)).not.toContain(volume);
      });

      it('says what has changed from one snapshot to another', async () => {
        const { volume, snapshot } = await volumeWithSnapshot();
        write(source, volume, 'file', 'changed');
        write(source, volume, 'a new \n one', 'added');
        const later = snapshotName();
        await source.createSnapshot(volume, later);
        expect(await source.changesBetween(volume, snapshot, later)).toMatchObject([
          { path: 'a new \n one', change: 'added', bytes: 5 },
          { path: 'file', change: 'changed' },
        ]);
        expect(await source.changesBetween(volume, later, snapshot)).toMatchObject([{ path: 'a new \n one', change: 'removed' }, { path: 'file' }]);
        await expect(source.changesBetween(volume, snapshot, snapshotName())).rejects.toMatchObject({ code: 'not-found' });
      });

      it('says not-found for what is missing', async () => {
        const volume = volumeName();
        await expect(source.createSnapshot(volume, snapshotName())).rejects.toMatchObject({ code: 'not-found' });
        await expect(source.setLiveReadOnly(volume, true)).rejects.toMatchObject({ code: 'not-found' });
        await expect(destination.receive(volume, snapshotName(), snapshotName())).rejects.toMatchObject({ code: 'not-found' });
        await expect(consume(source.send(volume, snapshotName(), null))).rejects.toMatchObject({ code: 'not-found' });
      });

      it.each(['../escape', 'vol_short', '', 'vol_/../../../../../etc', `vol_${'0'.repeat(24)}\n`])('refuses the identifier %j', async (hostile) => {
        await expect(source.createLive(hostile)).rejects.toMatchObject({ code: 'invalid-request' });
        await expect(source.deleteVolume(hostile)).rejects.toMatchObject({ code: 'invalid-request' });
        await expect(destination.receive(volumeName(), hostile, null)).rejects.toMatchObject({ code: 'invalid-request' });
        await expect(destination.receive(hostile, snapshotName(), null)).rejects.toMatchObject({ code: 'invalid-request' });
      });
    });

    describe('transfer', () => {
      it('keeps bytes, owners, modes, times, attributes, access lists, links, holes and special files, whole and as a delta', async () => {
        const volume = volumeName();
        const [first, second] = [snapshotName(), snapshotName()];
        await source.createLive(volume);
        makeEverything(source.livePath(volume));
        await source.createSnapshot(volume, first);
        changeSome(source.livePath(volume));
        await source.createSnapshot(volume, second);
        const expected = manifest(source.livePath(volume));

        await transfer(volume, first, null);
        await transfer(volume, second, first);
        expect((await destination.inspect(volume)).snapshots).toEqual([first, second]);
        await destination.createLiveFrom(volume, second);
        expect(manifest(destination.livePath(volume))).toBe(expected);
        expect(expected).toContain('user.colour');
      });

      it('goes back and forth, each time as a delta', async () => {
        const { volume, snapshot } = await volumeWithSnapshot(Buffer.alloc(4 << 20, 'x'));
        let [here, there, base] = [source, destination, snapshot];
        await transfer(volume, base, null);
        for (let round = 0; round < 4; round++) {
          await there.createLiveFrom(volume, base);
          write(there, volume, `round ${round}`, 'new');
          const next = snapshotName();
          await there.createSnapshot(volume, next);
          await here.deleteLive(volume);
          const bytes = await transfer(volume, next, base, there, here);
          expect(bytes).toBeLessThan(1 << 20);
          [here, there, base] = [there, here, next];
        }
        await there.createLiveFrom(volume, base);
        expect([0, 1, 2, 3].map((round) => read(there, volume, `round ${round}`))).toEqual(['new', 'new', 'new', 'new']);
      });

      it('gives the same bytes each time', async () => {
        const { volume, snapshot } = await volumeWithSnapshot(Buffer.alloc(3 << 20, 'y'));
        const hashes = await Promise.all([1, 2].map(async () => hash(await consume(source.send(volume, snapshot, null)))));
        expect(hashes[0]).toBe(hashes[1]);
      });

      it('estimates more for more', async () => {
        const { volume, snapshot } = await volumeWithSnapshot(Buffer.alloc(3 << 20, 'z'));
        write(source, volume, 'second', Buffer.alloc(1 << 20, 'a'));
        const next = snapshotName();
        await source.createSnapshot(volume, next);
        const whole = await source.estimateDelta(volume, next, null);
        expect(whole).toBeGreaterThanOrEqual(4 << 20);
        const delta = await source.estimateDelta(volume, next, snapshot);
        expect(delta).toBeGreaterThanOrEqual(1 << 20);
        expect(delta).toBeLessThan(2 << 20);
        expect((await source.volumeUsage(volume)).referencedBytes).toBeGreaterThanOrEqual(4 << 20);
      });

      it.each([
        ['garbage', () => Buffer.alloc(100_000, 'garbage')],
        ['nothing', () => Buffer.alloc(0)],
        ['a stream cut in the middle', (whole: Buffer) => whole.subarray(0, whole.length / 2)],
        ['a stream without its last byte', (whole: Buffer) => whole.subarray(0, -1)],
        ['a stream without its last command', (whole: Buffer) => whole.subarray(0, -10)],
        ['a stream with a flipped bit', flipBit],
      ])('publishes nothing of %s, and the next try works', async (_, damage) => {
        const { volume, snapshot } = await volumeWithSnapshot(Buffer.alloc(1 << 20, 'b'));
        const whole = await consume(source.send(volume, snapshot, null));
        const receiver = await destination.receive(volume, snapshot, null);
        receiver.sink.write(damage(whole));
        await expect(receiver.complete()).rejects.toMatchObject({ code: 'stream-corrupt' });
        expect(await destination.inspect(volume)).toMatchObject({ live: 'absent', snapshots: [] });
        expect((await destination.list()).map((copy) => copy.volume)).not.toContain(volume);
        await transfer(volume, snapshot, null);
        expect((await destination.inspect(volume)).snapshots).toEqual([snapshot]);
      });

      it('discards at any time, any number of times, and then refuses to complete', async () => {
        const { volume, snapshot } = await volumeWithSnapshot();
        const receiver = await destination.receive(volume, snapshot, null);
        receiver.sink.write((await consume(source.send(volume, snapshot, null))).subarray(0, 100));
        await Promise.all([receiver.discard(), receiver.discard()]);
        await receiver.discard();
        await expect(receiver.complete()).rejects.toMatchObject({ code: 'wrong-state' });
        expect((await destination.inspect(volume)).snapshots).toEqual([]);
      });

      it('receives two volumes at once, and one snapshot twice', async () => {
        const [one, two] = [await volumeWithSnapshot('first'), await volumeWithSnapshot('second')];
        await Promise.all([one, two, one].map(({ volume, snapshot }) => transfer(volume, snapshot, null)));
        for (const { volume, snapshot } of [one, two]) expect((await destination.inspect(volume)).snapshots).toEqual([snapshot]);
      });

      it('ends a stream that nobody reads on', async () => {
        const { volume, snapshot } = await volumeWithSnapshot(Buffer.alloc(8 << 20, 'c'));
        const stream = source.send(volume, snapshot, null);
        await new Promise((resolve) => stream.once('data', resolve));
        stream.destroy();
        await finished(stream).catch(() => undefined);
        await source.deleteVolume(volume);
      });

      it('says pool-full when the pool is, keeps nothing of it, and leaves other volumes alone', async () => {
        const resident = await volumeWithSnapshot('resident');
        await transfer(resident.volume, resident.snapshot, null);
        await destination.createLiveFrom(resident.volume, resident.snapshot);
        const { capacityBytes, usedBytes } = await destination.usage();
        const filler = volumeName();
        await destination.createLive(filler);
        execFileSync('fallocate', ['-l', String(Math.floor((capacityBytes - usedBytes) * 0.4)), join(destination.livePath(filler), 'filler')]);

        const large = await volumeWithSnapshot();
        for (let part = 0; part < 3; part++) write(source, large.volume, `part ${part}`, Buffer.alloc(Math.floor(capacityBytes * 0.15), part));
        const next = snapshotName();
        await source.createSnapshot(large.volume, next);
        const receiver = await destination.receive(large.volume, next, null);
        await pipeline(source.send(large.volume, next, null), receiver.sink).catch(() => undefined);
        await expect(receiver.complete()).rejects.toMatchObject({ code: 'pool-full' });
        expect((await destination.inspect(large.volume)).snapshots).toEqual([]);
        expect(read(destination, resident.volume, 'file')).toBe('resident');
        await destination.deleteVolume(filler);
        await source.deleteVolume(large.volume);
        write(destination, resident.volume, 'file', 'still writable');
        await transfer(...(await smallTransfer()));
      });

      async function smallTransfer(): Promise<[string, string, null]> {
        const { volume, snapshot } = await volumeWithSnapshot();
        return [volume, snapshot, null];
      }
    });

    it('holds a writer to its size limit, whatever the live copy was made from, and no other', async () => {
      if (!source.info.sizeLimit) return;
      const { volume, snapshot } = await volumeWithSnapshot(Buffer.alloc(8 << 20, 'd'));
      const other = volumeName();
      await source.createLive(other);
      await source.setSizeLimit(other, null);
      await source.deleteLive(volume);
      await source.createLiveFrom(volume, snapshot);
      await source.setSizeLimit(volume, 12 << 20);
      const fill = (target: string) =>
        execFileSync('dd', ['if=/dev/urandom', `of=${join(source.livePath(target), 'more')}`, 'bs=1M', 'count=8', 'conv=fsync'], { stdio: 'pipe' });
      expect(() => fill(volume)).toThrow(/quota|No space/);
      fill(other);
      await source.setSizeLimit(volume, null);
      fill(volume);
    });
  });
}

async function consume(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function hash(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}

function flipBit(whole: Buffer): Buffer {
  const copy = Buffer.from(whole);
  const middle = copy.length >> 1;
  copy[middle] = (copy[middle] ?? 0) ^ 1;
  return copy;
}

function makeEverything(root: string): void {
  const run = (...argv: [string, ...string[]]) => execFileSync(argv[0], argv.slice(1), { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] });
  mkdirSync(join(root, 'directory'));
  for (let index = 0; index < 200; index++) writeFileSync(join(root, 'directory', `file ${index}`), `content ${index}`);
  writeFileSync(join(root, 'naïve — 名前\n'), 'odd name');
  writeFileSync(join(root, 'large'), Buffer.alloc(5 << 20, 'pattern'));
  run('truncate', '-s', '64M', 'sparse');
  run('dd', 'if=/dev/urandom', 'of=sparse', 'bs=4K', 'count=1', 'seek=1000', 'conv=notrunc', 'status=none');
  run('ln', 'large', 'hard link');
  run('ln', '-s', '../nowhere', 'symbolic link');
  run('mkfifo', 'fifo');
  run('mknod', 'device', 'c', '1', '3');
  run('chown', '1234:4321', 'large');
  run('chmod', '4751', 'directory/file 1');
  run('chmod', '0700', '.');
  run('touch', '-h', '-d', '2001-02-03T04:05:06.123456789Z', 'directory/file 2', 'symbolic link');
  run('setfattr', '-n', 'user.colour', '-v', 'blue', 'large');
  run('setfacl', '-m', 'u:1234:r,g:77:rw', 'directory/file 3');
  run('setfacl', '-d', '-m', 'u:1234:rwx', 'directory');
}

function changeSome(root: string): void {
  const run = (...argv: [string, ...string[]]) => execFileSync(argv[0], argv.slice(1), { cwd: root });
  run('mv', 'directory/file 4', 'renamed');
  run('rm', 'directory/file 5');
  run('truncate', '-s', '3M', 'large');
  run('chmod', '0640', 'directory/file 6');
  run('setfattr', '-x', 'user.colour', 'large');
  run('setfattr', '-n', 'user.colour', '-v', 'red', 'renamed');
  run('dd', 'if=/dev/urandom', 'of=sparse', 'bs=4K', 'count=3', 'seek=10000', 'conv=notrunc', 'status=none');
  writeFileSync(join(root, 'directory', 'file 7'), 'replaced');
}

/** Everything that must survive, as text: type, mode, owner, size, blocks, links, times, target, content hash, attributes and access lists. */
function manifest(root: string): string {
  if (!existsSync(root)) return 'missing';
  const bash = (command: string) => execFileSync('bash', ['-c', command], { cwd: root, encoding: 'utf8' });
  return [
    bash(`find . -mindepth 1 -printf '%p|%y|%m|%U:%G|%s|%n|%T@|%l\\n' | grep -v '|d|' | sort`),
    bash(`find . -type d -printf '%p|%m|%U:%G|%T@\\n' | sort`),
    bash(`find . -type f -print0 | sort -z | xargs -0 sha256sum`),
    bash(`stat -c '%n %t:%T' device; du -k sparse; stat -c %h large`),
    bash(
      `find . -print0 | sort -z | xargs -0 getfattr -h -d -m '^(user|security|trusted)'; find . ! -type l -print0 | sort -z | xargs -0 getfacl -n`,
    ),
  ].join('\n');
}
