import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { newIdentifier } from '../../model/identifiers.ts';
import { describeDriverContract } from '../../ports/driver.contract.ts';
import type { VolumeDriver } from '../../ports/driver.ts';
import { execute } from '../../system/execute.ts';
import { createBtrfsDriver } from './driver.ts';
import type { BtrfsDriverOptions } from './driver.ts';

const poolSize = 384 * 1024 ** 2;

/** Pools that vanish with the test, whatever state it leaves them in. */
function poolWorkshop() {
  let scratch: string | undefined;
  const drivers: VolumeDriver[] = [];
  let number = 0;
  return {
    get scratch(): string {
      scratch ??= mkdtempSync(join(tmpdir(), 'supercargo-driver-'));
      return scratch;
    },
    driver(changes: Partial<BtrfsDriverOptions> = {}): VolumeDriver {
      const name = join(this.scratch, `pool${number++}`);
      const driver = createBtrfsDriver({ directory: name, source: { kind: 'file', path: `${name}.img`, sizeBytes: poolSize }, ...changes });
      drivers.push(driver);
      return driver;
    },
    async make(): Promise<VolumeDriver> {
      const driver = this.driver();
      await driver.open();
      return driver;
    },
    async remove(): Promise<void> {
      for (const driver of drivers.splice(0)) await driver.close();
      if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
      scratch = undefined;
    },
  };
}

describeDriverContract('btrfs', poolWorkshop());

describe('btrfs pool', () => {
  const workshop = poolWorkshop();
  afterEach(() => workshop.remove());
  const options = (name: string, changes: Partial<BtrfsDriverOptions> = {}): BtrfsDriverOptions => ({
    directory: join(workshop.scratch, name),
    source: { kind: 'file', path: join(workshop.scratch, `${name}.img`), sizeBytes: poolSize },
    ...changes,
  });

  it('is fully allocated, private to root, and found again with its data', async () => {
    const driver = workshop.driver(options('pool'));
    await driver.open();
    const file = statSync(join(workshop.scratch, 'pool.img'));
    expect(file.blocks * 512).toBeGreaterThanOrEqual(poolSize);
    expect(file.mode & 0o777).toBe(0o600);
    expect(statSync(join(workshop.scratch, 'pool')).mode & 0o777).toBe(0o700);
    const volume = newIdentifier('vol');
    await driver.createLive(volume);
    await driver.open();
    await driver.close();
    await driver.close();
    expect(existsSync(join(workshop.scratch, 'pool', 'volumes'))).toBe(false);
    await driver.open();
    expect((await driver.list()).map((copy) => copy.volume)).toEqual([volume]);
  });

  it('stays fully allocated when everything mounted is trimmed', async () => {
    await workshop.driver(options('pool')).open();
    try {
      execFileSync('fstrim', [join(workshop.scratch, 'pool')], { stdio: 'pipe' });
    } catch {
      // Refusing to trim is one way of staying allocated.
    }
    const file = statSync(join(workshop.scratch, 'pool.img'));
    expect(file.blocks * 512).toBeGreaterThanOrEqual(poolSize);
  });

  it('says with figures that a pool does not fit, and leaves nothing', async () => {
    const driver = workshop.driver(options('pool', { source: { kind: 'file', path: join(workshop.scratch, 'pool.img'), sizeBytes: 2 ** 50 } }));
    await expect(driver.open()).rejects.toMatchObject({ code: 'pool-full', message: expect.stringMatching(/1\.0 PiB.*free/) });
    expect(readdirSync(workshop.scratch).filter((name) => name.includes('img'))).toEqual([]);
  });

  it.each(['fallocate', 'mkfs.btrfs', 'mount'])('recovers from a crash just before and just after %s', async (program) => {
    for (const moment of ['before', 'after']) {
      const name = `${moment}-${program}`;
      const crashing = createBtrfsDriver(
        options(name, {
          execute: async (called, ...rest) => {
            if (called !== program) return execute(called, ...rest);
            if (moment === 'after') await execute(called, ...rest);
            // A process that was killed runs no clean-up: what it would remove is put back below.
            throw new Error('crash');
          },
        }),
      );
      await expect(crashing.open()).rejects.toThrow('crash');
      const image = join(workshop.scratch, `${name}.img`);
      if (!existsSync(image)) writeFileSync(`${image}.new`, 'half made');
      const driver = workshop.driver(options(name));
      await driver.open();
      expect(existsSync(`${image}.new`)).toBe(false);
      await driver.createLive(newIdentifier('vol'));
      if (program === 'mount' && moment === 'after') execFileSync('umount', [join(workshop.scratch, name)]);
    }
  });

  it('takes an empty device, finds it again, and refuses one that holds something', async () => {
    const image = join(workshop.scratch, 'disk');
    writeFileSync(image, '');
    truncateSync(image, poolSize);
    const device = execFileSync('losetup', ['--find', '--show', image], { encoding: 'utf8' }).trim();
    try {
      const driver = createBtrfsDriver(options('pool', { source: { kind: 'device', path: device } }));
      await driver.open();
      const volume = newIdentifier('vol');
      await driver.createLive(volume);
      await driver.close();
      await driver.open();
      expect((await driver.list()).map((copy) => copy.volume)).toEqual([volume]);
      await driver.close();
      execFileSync('mkfs.ext4', ['-q', '-F', device]);
      await expect(driver.open()).rejects.toMatchObject({ code: 'wrong-state', message: expect.stringContaining('ext4') });
    } finally {
      execFileSync('losetup', ['--detach', device]);
    }
  });

  it('refuses new volumes when nearly full, but deletes', async () => {
    const driver = workshop.driver(options('pool'));
    await driver.open();
    const volume = newIdentifier('vol');
    await driver.createLive(volume);
    const fill = (part: number) => execFileSync('fallocate', ['-l', '16M', join(driver.livePath(volume), `part${part}`)], { stdio: 'pipe' });
    expect(() => {
      for (let part = 0; part < poolSize; part++) fill(part);
    }).toThrow(/No space/);
    await expect(driver.createLive(newIdentifier('vol'))).rejects.toMatchObject({ code: 'pool-full' });
    await driver.deleteVolume(volume);
    expect(await driver.list()).toEqual([]);
  });

  it('removes on opening what a crashed receiver left', async () => {
    const driver = workshop.driver(options('pool'));
    await driver.open();
    const staging = join(workshop.scratch, 'pool', 'incoming', 'snp_left.over');
    mkdirSync(staging);
    execFileSync('btrfs', ['-q', 'subvolume', 'create', join(staging, 'data')]);
    await driver.open();
    expect(readdirSync(join(workshop.scratch, 'pool', 'incoming'))).toEqual([]);
    expect(await driver.list()).toEqual([]);
  });

  it('keeps nothing of a receive whose program was killed', async () => {
    const driver = workshop.driver(options('pool'));
    await driver.open();
    const volume = newIdentifier('vol');
    const receiver = await driver.receive(volume, newIdentifier('snp'), null);
    const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ').map(Number);
    const program = children.find((child) => readFileSync(`/proc/${child}/cmdline`, 'utf8').includes(join(workshop.scratch, 'pool', 'incoming')));
    process.kill(program!, 'SIGKILL');
    await expect(receiver.complete()).rejects.toMatchObject({ code: 'stream-corrupt' });
    expect(readdirSync(join(workshop.scratch, 'pool', 'incoming'))).toEqual([]);
    expect(await driver.list()).toEqual([]);
  });

  it('deletes a volume in which its users made subvolumes, read-only or not', async () => {
    const driver = workshop.driver(options('pool'));
    await driver.open();
    const volume = newIdentifier('vol');
    await driver.createLive(volume);
    const inside = (name: string) => join(driver.livePath(volume), name);
    await driver.createSnapshot(volume, newIdentifier('snp'));
    execFileSync('btrfs', ['-q', 'subvolume', 'create', inside('nested')]);
    execFileSync('btrfs', ['-q', 'subvolume', 'create', inside('nested/odd\nname')]);
    execFileSync('btrfs', ['-q', 'subvolume', 'snapshot', '-r', inside('nested'), inside('snapshot')]);
    await driver.setLiveReadOnly(volume, true);
    await driver.deleteVolume(volume);
    expect(await driver.list()).toEqual([]);
    expect(execFileSync('btrfs', ['subvolume', 'list', join(workshop.scratch, 'pool')], { encoding: 'utf8' })).toBe('');
  });

  it('takes no snapshot that would lack a subvolume inside the volume, and never deletes one with the live copy', async () => {
    const driver = workshop.driver(options('pool'));
    await driver.open();
    const volume = newIdentifier('vol');
    await driver.createLive(volume);
    const nested = join(driver.livePath(volume), 'nested');
    execFileSync('btrfs', ['-q', 'subvolume', 'create', nested]);
    writeFileSync(join(nested, 'file'), 'precious');
    await expect(driver.createSnapshot(volume, newIdentifier('snp'))).rejects.toMatchObject({
      code: 'not-supported',
      message: expect.stringContaining('nested'),
    });
    await expect(driver.deleteLive(volume)).rejects.toMatchObject({ code: 'wrong-state' });
    expect(readFileSync(join(nested, 'file'), 'utf8')).toBe('precious');
    expect((await driver.inspect(volume)).snapshots).toEqual([]);
  });

  it('is not passed on to other mount namespaces', async () => {
    await workshop.driver(options('pool')).open();
    const line = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .find((text) => text.includes(` ${join(workshop.scratch, 'pool')} `));
    expect(line).not.toContain('shared:');
  });
});
