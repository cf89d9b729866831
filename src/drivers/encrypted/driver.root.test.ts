import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { describeIsolated } from '../../../test/support/isolated.ts';
import { newIdentifier } from '../../model/identifiers.ts';
import type { VolumeDriver } from '../../ports/driver.ts';
import type { VolumeKey } from '../../ports/volume-cipher.ts';
import { systemClock } from '../../system/clock.ts';
import { createBtrfsDriver } from '../btrfs/driver.ts';
import { createLuksCipher } from '../luks/cipher.ts';
import { EncryptedDriver } from './driver.ts';

const newKey = () => randomBytes(32).toString('base64') as VolumeKey;
const plain = newIdentifier('vol');

describeIsolated(import.meta.filename, () => {
  let scratch: string;
  let volume: string;
  let keys: VolumeKey[];
  let hosts: { pool: VolumeDriver; driver: EncryptedDriver }[];

  beforeEach(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'supercargo-encrypted-'));
    [volume, keys] = [newIdentifier('vol'), [newKey()]];
    hosts = ['a', 'b'].map((name) => {
      const directory = join(scratch, name);
      const pool = createBtrfsDriver({ directory, source: { kind: 'file', path: `${directory}.img`, sizeBytes: 512 * 1024 ** 2 } });
      const cipher = createLuksCipher({ directory: `${directory}-open`, clock: systemClock });
      const encryptionOf = (id: string) => (id === plain ? null : { sizeBytes: 64 * 1024 ** 2 });
      return { pool, driver: new EncryptedDriver(pool, cipher, { encryptionOf, release: async () => keys }) };
    });
    for (const { driver } of hosts) await driver.open();
    await a().createLive(volume);
  });
  afterEach(async () => {
    for (const { driver } of hosts) {
      await driver.deleteVolume(volume);
      await driver.close();
    }
    rmSync(scratch, { recursive: true });
  });

  const a = () => hosts[0]!.driver;
  const b = () => hosts[1]!.driver;
  const file = (driver: VolumeDriver) => join(driver.livePath(volume), 'file');
  const read = (driver: VolumeDriver) => readFileSync(file(driver), 'utf8');
  async function transfer(snapshot: string, base: string | null): Promise<void> {
    const receiver = await b().receive(volume, snapshot, base);
    await pipeline(a().send(volume, snapshot, base), receiver.sink);
    await receiver.complete();
  }
  async function snapshotWith(content: string): Promise<string> {
    writeFileSync(file(a()), content);
    const snapshot = newIdentifier('snp');
    await a().createSnapshot(volume, snapshot);
    return snapshot;
  }

  it('travel as ciphertext, with all that was written before the snapshot although it was not flushed', async () => {
    const first = await snapshotWith('one');
    await transfer(first, null);
    expect(await a().hasChangedSince(volume, first)).toBe(false);
    writeFileSync(file(a()), 'two');
    expect(await a().hasChangedSince(volume, first)).toBe(true);
    const second = await snapshotWith('two');
    await transfer(second, first);
    await b().createLiveFrom(volume, second);
    expect(existsSync(b().livePath(volume))).toBe(false);
    expect([await b().openLive(volume), await b().openLive(volume), read(b())]).toEqual([true, false, 'two']);
  });

  it('are closed before their image is made read-only, and are not lost when they are made again', async () => {
    writeFileSync(file(a()), 'one');
    await a().setLiveReadOnly(volume, true);
    expect(existsSync(a().livePath(volume))).toBe(false);
    await expect(a().openLive(volume)).rejects.toThrow(/Read-only file system/);
    await a().setLiveReadOnly(volume, false);
    await a().createLive(volume);
    await a().openLive(volume);
    expect(read(a())).toBe('one');
  });

  it('open from a snapshot with the key of its time, and go on with the newest', async () => {
    const before = await snapshotWith('one');
    const old = keys[0]!;
    keys = [newKey(), old];
    await a().rekeyLive(volume);
    await a().setLiveReadOnly(volume, true);
    await a().deleteLive(volume);
    await a().createLiveFrom(volume, before);
    await a().openLive(volume);
    expect(read(a())).toBe('one');
    await a().setLiveReadOnly(volume, true);
    await a().setLiveReadOnly(volume, false);
    keys = [old];
    await expect(a().openLive(volume)).rejects.toMatchObject({ code: 'data-missing' });
  });

  it('leave the others as they are', async () => {
    const { driver, pool } = hosts[0]!;
    await driver.createLive(plain);
    expect([driver.livePath(plain), await driver.openLive(plain)]).toEqual([pool.livePath(plain), false]);
    writeFileSync(join(pool.livePath(plain), 'file'), 'one');
    await driver.setSizeLimit(plain, 32 * 1024 ** 2);
    expect(() => writeFileSync(join(pool.livePath(plain), 'large'), randomBytes(48 * 1024 ** 2))).toThrow(
      expect.objectContaining({ errno: -constants.errno.EDQUOT }),
    );
    await driver.setSizeLimit(volume, 1024);
    writeFileSync(file(driver), randomBytes(8 * 1024 ** 2));
    await driver.deleteVolume(plain);
  });
});
