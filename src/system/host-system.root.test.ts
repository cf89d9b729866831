import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createHostSystem } from './host-system.ts';

const isolated = 'SUPERCARGO_TEST_ISOLATED';

// The scan covers every process of the host. In namespaces of its own the test sees only its own, and its mounts go away with them.
describe.runIf(process.env[isolated] === undefined)('host system', () => {
  it('passes in mount and process namespaces of its own', () => {
    const vitest = join(import.meta.dirname, '../../node_modules/vitest/vitest.mjs');
    const inNamespaces = ['--mount', '--pid', '--fork', '--mount-proc', '--kill-child', '--propagation', 'shared'];
    const run = [process.execPath, vitest, 'run', '--project', 'root', import.meta.filename];
    execFileSync('unshare', [...inNamespaces, ...run], { env: { ...process.env, [isolated]: randomBytes(6).toString('hex') }, stdio: 'inherit' });
  });
});

describe.runIf(process.env[isolated] !== undefined)('host system, isolated', () => {
  const host = createHostSystem();
  const scratch = join(tmpdir(), `supercargo-host-${process.env[isolated]}`);
  const pool = join(scratch, 'pool');
  const live = join(pool, 'live');
  const mountPoint = join(scratch, 'mounts', 'vol');
  const holders: ChildProcess[] = [];

  beforeAll(() => {
    execFileSync('mount', ['--make-private', '/']);
    execFileSync('mount', ['--make-shared', '/']);
    mkdirSync(pool, { recursive: true });
    execFileSync('fallocate', ['-l', '128M', `${pool}.img`]);
    execFileSync('mkfs.btrfs', ['-q', '-K', `${pool}.img`], { stdio: 'ignore' });
    execFileSync('mount', ['-o', 'loop', `${pool}.img`, pool]);
    for (const name of ['live', 'other']) execFileSync('btrfs', ['-q', 'subvolume', 'create', join(pool, name)]);
    mkdirSync(join(live, 'sub'));
    writeFileSync(join(live, 'file'), 'x'.repeat(8192));
    writeFileSync(join(pool, 'other', 'file'), 'other');
  });
  afterAll(() => {
    execFileSync('umount', [pool]);
    rmSync(scratch, { recursive: true, force: true });
  });
  beforeEach(() => host.mountVolume(live, mountPoint));
  afterEach(async () => {
    await Promise.all(holders.splice(0).map(end));
    await host.unmountVolume(mountPoint);
    await host.forgetMountPoint(mountPoint);
  });

  /** Starts a program that says "ready" and then waits. */
  async function hold(...argv: [string, ...string[]]): Promise<ChildProcess> {
    const child = spawn(argv[0], argv.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] });
    holders.push(child);
    await new Promise((resolve, reject) => {
      child.stdout?.once('data', resolve);
      child.once('exit', () => reject(new Error(`${argv.join(' ')} ended`)));
    });
    return child;
  }
  function end(child: ChildProcess): Promise<unknown> {
    const ended = new Promise((resolve) => child.once('close', resolve));
    child.stdin?.end();
    return child.exitCode === null ? ended : Promise.resolve();
  }
  const waiting = 'echo ready; read line';
  const uses = () => host.usesOf(live, mountPoint);

  it('mounts, checks, and unmounts, each any number of times', async () => {
    await host.mountVolume(live, mountPoint);
    expect(await host.isMounted(live, mountPoint)).toBe(true);
    expect(await host.isMounted(join(pool, 'other'), mountPoint)).toBe(false);
    expect(statSync(join(mountPoint, 'file')).size).toBe(8192);
    await expect(host.mountVolume(join(pool, 'other'), mountPoint)).rejects.toMatchObject({ code: 'command-failed' });
    await expect(host.mountVolume(join(pool, 'none'), mountPoint)).rejects.toMatchObject({ code: 'data-missing' });
    await host.unmountVolume(mountPoint);
    await host.unmountVolume(mountPoint);
    expect(statSync(mountPoint).mode & 0o777).toBe(0);
    await host.forgetMountPoint(mountPoint);
    await host.forgetMountPoint(mountPoint);
    expect(existsSync(mountPoint)).toBe(false);
    expect(await host.isMounted(live, mountPoint)).toBe(false);
  });

  it('leaves no directory to write to when the mount is lost', () => {
    execFileSync('umount', [mountPoint]);
    expect(statSync(mountPoint).mode & 0o777).toBe(0);
    expect(() => writeFileSync(join(mountPoint, 'file'), 'lost')).toThrow(/EPERM/);
    expect(() => chmodSync(mountPoint, 0o755)).toThrow(/EPERM/);
  });

  it('works through a symbolic link', async () => {
    symlinkSync(scratch, join(scratch, 'link'));
    const linked = (path: string) => path.replace(scratch, join(scratch, 'link'));
    expect(await host.isMounted(linked(live), linked(mountPoint))).toBe(true);
    await hold('bash', '-c', `exec 3<${live}/file; ${waiting}`);
    expect(await host.usesOf(linked(live), linked(mountPoint))).toHaveLength(1);
  });

  it('does not count its own mount, nor other volumes', async () => {
    await hold('bash', '-c', `exec 3<${pool}/other/file; cd ${pool}; ${waiting}`);
    expect(await uses()).toEqual([]);
    expect(await host.usesOf(join(pool, 'none'), mountPoint)).toEqual([]);
  });

  it.each([
    ['a descriptor opened through the mount', `exec 3<${mountPoint}/file; ${waiting}`],
    ['a descriptor opened through the pool', `exec 3>>${live}/file; ${waiting}`],
    ['a descriptor of a deleted file', `exec 3>${live}/gone; rm ${live}/gone; ${waiting}`],
    ['a working directory', `cd ${live}/sub; ${waiting}`],
  ])('sees %s', async (_, script) => {
    const child = await hold('bash', '-c', script);
    expect(await uses()).toEqual([{ kind: 'process', name: `bash (process ${child.pid})`, processNumber: child.pid }]);
  });

  it('sees a mapping whose descriptor is closed', async () => {
    const script = `
import mmap, os, sys
f = os.open(sys.argv[1], os.O_RDWR); m = mmap.mmap(f, 8192); os.close(f)
print("ready", flush=True); sys.stdin.read()`;
    // mmap.mmap keeps a duplicate of the descriptor unless told otherwise, so all above 2 are closed.
    const child = await hold('python3', '-c', script.replace('os.close(f)', 'os.closerange(3, 64)'), join(live, 'file'));
    expect((await uses()).map((use) => use.processNumber)).toEqual([child.pid]);
  });

  it('sees a program that runs from it, and a root', async () => {
    execFileSync('cp', ['/bin/busybox', join(live, 'busybox')]);
    const child = await hold(join(live, 'busybox'), 'sh', '-c', waiting);
    const rooted = await hold('chroot', live, '/busybox', 'sh', '-c', waiting);
    expect((await uses()).map((use) => use.processNumber).toSorted()).toEqual([child.pid, rooted.pid].toSorted());
  });

  it.each([
    ['all of it', ''],
    ['a directory in it', '/sub'],
  ])('sees another mount namespace that holds %s, after the host has unmounted too', async (_, below) => {
    const script = `mkdir -p ${scratch}/inside; mount --bind ${live}${below} ${scratch}/inside; umount ${mountPoint}; ${waiting}`;
    const child = await hold('unshare', '--mount', '--propagation', 'private', 'bash', '-c', script);
    const expected = [{ kind: 'container', name: `bash (process ${child.pid})`, processNumber: child.pid }];
    expect(await uses()).toEqual(expected);
    await host.unmountVolume(mountPoint);
    expect(await uses()).toEqual(expected);
  });

  it('counts a copied mount table only if unmounting here does not reach it', async () => {
    await hold('unshare', '--mount', '--propagation', 'slave', 'bash', '-c', waiting);
    expect(await uses()).toEqual([]);
    const child = await hold('unshare', '--mount', '--propagation', 'private', 'bash', '-c', waiting);
    expect((await uses()).map((use) => use.processNumber)).toEqual([child.pid]);
  });

  it('sees a second mount in its own namespace', async () => {
    const second = join(scratch, 'second');
    mkdirSync(second);
    execFileSync('mount', ['--bind', live, second]);
    try {
      expect(await uses()).toEqual([{ kind: 'mount-session', name: `mount at ${second}`, processNumber: 0 }]);
    } finally {
      execFileSync('umount', [second]);
    }
  });

  it('refuses to unmount what is busy', async () => {
    await hold('bash', '-c', `cd ${mountPoint}; ${waiting}`);
    await expect(host.unmountVolume(mountPoint)).rejects.toMatchObject({ code: 'volume-in-use' });
    expect(await host.isMounted(live, mountPoint)).toBe(true);
  });
});
