import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { containerIdIn, findHierarchies, groupsOf, isFrozen, isToldToFreeze, killMembers, membersOf, tellToFreeze, tellToThaw } from './cgroups.ts';

const common = 'rw,nosuid shared:9 -';

describe('findHierarchies', () => {
  it('finds the v1 freezer wherever it is mounted, and v2, and prefers the freezer', () => {
    const mountInfo = `
30 25 0:26 / /sys/fs/cgroup/unified ${common} cgroup2 cgroup2 rw,nsdelegate
31 25 0:27 / /sys/fs/cgroup/memory ${common} cgroup cgroup rw,memory
32 25 0:28 /docker/a /sys/fs/cgroup/devices,freezer ${common} cgroup cgroup rw,devices,freezer
33 25 0:29 / /home/freezer ${common} ext4 /dev/vda rw
`.trimStart();
    expect(findHierarchies(mountInfo)).toEqual([
      { version: 1, mountPoint: '/sys/fs/cgroup/devices,freezer', root: '/docker/a' },
      { version: 2, mountPoint: '/sys/fs/cgroup/unified', root: '/' },
    ]);
  });
});

describe('groupsOf', () => {
  it('knows no cgroup for the root of a tree, for what is not mounted, or for a process that is gone', () => {
    const text = readFileSync('/proc/self/cgroup', 'utf8');
    const path = /^0::(.*)$/m.exec(text)?.[1] ?? '/';
    expect(groupsOf(process.pid, [{ version: 2, mountPoint: '/mnt', root: path }])).toEqual([]);
    expect(groupsOf(process.pid, [{ version: 2, mountPoint: '/mnt', root: '/elsewhere' }])).toEqual([]);
    expect(groupsOf(2 ** 22 + 1, [{ version: 2, mountPoint: '/mnt', root: '/' }])).toEqual([]);
  });
});

describe('a cgroup v2 as its files show it', () => {
  let directory: string;
  const file = (name: string) => join(directory, name);
  const group = () => ({ version: 2 as const, directory });

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'supercargo-cgroup-'));
    writeFileSync(file('cgroup.procs'), '12\n34\n');
    writeFileSync(file('cgroup.freeze'), '0\n');
    writeFileSync(file('cgroup.events'), 'populated 1\nfrozen 0\n');
    mkdirSync(file('below'));
    writeFileSync(file('below/cgroup.procs'), '56\n0\n');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it('is frozen only when the kernel says so', () => {
    tellToFreeze(group());
    expect(readFileSync(file('cgroup.freeze'), 'utf8').trim()).toBe('1');
    expect([isToldToFreeze(group()), isFrozen(group())]).toEqual([true, false]);
    writeFileSync(file('cgroup.events'), 'populated 1\nfrozen 1\n');
    expect(isFrozen(group())).toBe(true);
    tellToThaw(group());
    expect(isToldToFreeze(group())).toBe(false);
  });

  it('has its members and those below', () => {
    expect(membersOf(group())).toEqual([12, 34, 56, 0]);
  });

  it('is killed as a whole where the kernel can, and process by process where it cannot', async () => {
    const child = spawn('sleep', ['60']);
    await once(child, 'spawn');
    const ended = once(child, 'exit');
    writeFileSync(file('cgroup.procs'), `${child.pid}\n`);
    writeFileSync(file('below/cgroup.procs'), '');
    writeFileSync(file('cgroup.kill'), '');
    killMembers(group());
    expect(readFileSync(file('cgroup.kill'), 'utf8')).toBe('1');
    expect(child.exitCode).toBeNull();

    rmSync(file('cgroup.kill'));
    killMembers(group());
    expect((await ended)[1]).toBe('SIGKILL');
  });

  it('is told apart from one of a kernel that cannot freeze', () => {
    rmSync(file('cgroup.freeze'));
    expect(() => tellToFreeze(group())).toThrow('ENOENT');
  });

  it('is as good as frozen and killed when it is gone, and is not made again', () => {
    rmSync(directory, { recursive: true });
    tellToFreeze(group());
    killMembers(group());
    tellToThaw(group());
    expect([isFrozen(group()), isToldToFreeze(group()), membersOf(group())]).toEqual([true, false, []]);
  });
});

describe('containerIdIn', () => {
  const id = 'ab'.repeat(32);

  it.each([
    ['cgroup v1', `12:pids:/docker/${id}\n11:cpu:/docker/${id}\n`, id],
    ['cgroup v2 under systemd', `0::/system.slice/docker-${id}.scope\n`, id],
    ['an engine within a container', `0::/docker/${'ef'.repeat(32)}/docker/${id}\n`, id],
    ['no container', '0::/user.slice/session-1.scope\n', undefined],
  ])('reads %s', (_, text, expected) => {
    expect(containerIdIn(text)).toBe(expected);
  });
});
