import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ContainerWish } from '../ports/container-gate.ts';
import { localVolumePaths, readCreate, readInspected, readService } from './container-wish.ts';
import { readGoJson } from './go-json.ts';

const driver = 'supercargo';
const create = (body: object) => readCreate(readGoJson(JSON.stringify(body)), driver);
const wish = (host: object): ContainerWish => create({ HostConfig: host }).wish;
const ours = { fresh: { project: null } };

describe('what a container asks for', () => {
  it.each<[string, object, Partial<ContainerWish>]>([
    ['a volume', { Binds: ['data:/data'] }, { volumes: [{ name: 'data', mode: 'read-write' }] }],
    ['a volume to read', { Binds: ['data:/data:ro,z'] }, { volumes: [{ name: 'data', mode: 'read-only' }] }],
    ['a volume of ours', { Binds: ['data:/data'], VolumeDriver: driver }, { volumes: [{ name: 'data', mode: 'read-write', ...ours }] }],
    ['an anonymous one', { Binds: ['/data'], VolumeDriver: driver }, { volumes: [{ name: null, mode: 'read-write', ...ours }] }],
    ['a place', { Binds: ['/srv:/data:rw'] }, { paths: [{ path: '/srv', mode: 'read-write' }] }],
    ['a mount', { Mounts: [{ Type: 'volume', Source: 'data', ReadOnly: true }] }, { volumes: [{ name: 'data', mode: 'read-only' }] }],
    ['a bind mount', { Mounts: [{ Type: 'bind', Source: '/srv' }] }, { paths: [{ path: '/srv', mode: 'read-write' }] }],
    [
      'a new volume in a project',
      { Mounts: [{ Type: 'volume', Source: 'a', VolumeOptions: { DriverConfig: { Name: driver, Options: { project: 'shop' } } } }] },
      { volumes: [{ name: 'a', mode: 'read-write', fresh: { project: 'shop' } }] },
    ],
    [
      'an alias made on the way',
      { Mounts: [{ Type: 'volume', Source: 'a', VolumeOptions: { DriverConfig: { Options: { o: 'bind', device: '/srv' } } } }] },
      { paths: [{ path: '/srv', mode: 'read-write' }] },
    ],
    ['memory', { Mounts: [{ Type: 'tmpfs', Target: '/tmp' }], Tmpfs: { '/a': '' } }, { volumes: [], paths: [] }],
  ])('is read from %s', (_, host, expected) => expect(wish(host)).toMatchObject(expected));

  it('is the same at the top of the body, where old engines look, and in both places it is both', () => {
    const body = { Binds: ['a:/a'], Privileged: true, HostConfig: { Binds: ['b:/b'], CapAdd: ['ALL'] } };
    expect(create(body).wish).toMatchObject({ volumes: [{ name: 'a' }, { name: 'b' }], powers: ['is privileged', 'has the capability ALL'] });
  });

  it('is read however its members are written, or refused', () => {
    const letters = fc.array(fc.boolean(), { minLength: 12, maxLength: 12 });
    const written = (name: string, which: boolean[]): string =>
      Array.from(name, (letter, index) => (which[index] === true ? letter.toUpperCase() : letter.toLowerCase())).join('');
    fc.assert(
      fc.property(letters, letters, letters, (one, two, three) => {
        const host = { [written('Binds', two)]: ['data:/data'], [written('Privileged', three)]: true };
        expect(create({ [written('HostConfig', one)]: host }).wish).toMatchObject({ volumes: [{ name: 'data' }], powers: ['is privileged'] });
      }),
    );
  });

  it.each<[string, object]>([
    ['a mount of a kind that is not known', { Mounts: [{ Type: 'cluster', Source: 'data' }] }],
    ['a mount without a kind', { Mounts: [{ Source: 'data' }] }],
    ['a bind of too many parts', { Binds: ['/a:/b:ro:x'] }],
    ['binds that are no list', { Binds: 'data:/data' }],
  ])('is refused with %s', (_, host) => expect(() => wish(host)).toThrow('cannot be judged'));

  it('shows its pass in one label, and no label of Swarm', () => {
    expect(create({ Labels: { 'supercargo.pass': 'token' } }).wish.pass).toBe('token');
    expect(create({ Labels: { 'Supercargo.Pass': 'token' } }).wish.pass).toBeNull();
    expect(() => create({ Labels: { 'com.docker.swarm.task.id': 'x' } })).toThrow('for the containers of Swarm');
  });

  it('counts volumes without a name if they are to be ours', () => {
    expect(create({ Volumes: { '/data': {} }, HostConfig: { VolumeDriver: driver } }).wish.volumes).toEqual([
      { name: null, mode: 'read-write', ...ours },
    ]);
    expect(create({ Volumes: { '/data': {} } }).wish.volumes).toEqual([]);
  });

  it('includes the volumes of others', () => {
    expect(create({ HostConfig: { VolumesFrom: ['a', 'b:ro'] } }).volumesFrom).toEqual([
      { container: 'a', readOnly: false },
      { container: 'b', readOnly: true },
    ]);
  });
});

describe('powers', () => {
  it.each<[object, RegExp]>([
    [{ Privileged: true }, /privileged/],
    [{ CapAdd: ['sys_admin'] }, /SYS_ADMIN/],
    [{ CapAdd: ['CAP_DAC_READ_SEARCH'] }, /DAC_READ_SEARCH/],
    [{ CapAdd: ['ONE_TO_COME'] }, /ONE_TO_COME/],
    [{ Devices: [{ PathOnHost: '/dev/loop0' }] }, /devices/],
    [{ DeviceCgroupRules: ['b 7:* rwm'] }, /devices/],
    [{ PidMode: 'host' }, /processes of the host/],
    [{ PidMode: 'container:a' }, /processes of another container/],
    [{ IpcMode: 'container:a' }, /memory of another container/],
    [{ UsernsMode: 'host' }, /user numbers/],
    [{ SecurityOpt: ['apparmor=unconfined'] }, /confinement.*apparmor/],
    [{ SecurityOpt: ['seccomp={}'] }, /confinement.*seccomp/],
    [{ MaskedPaths: [] }, /MaskedPaths/],
    [{ ReadonlyPaths: ['/proc/bus'] }, /ReadonlyPaths/],
    [{ CgroupParent: '/x' }, /cgroup/],
    [{ Runtime: 'kata' }, /runtime/],
  ])('are seen in %j', (host, power) => expect(wish(host).powers).toEqual([expect.stringMatching(power)]));

  it.each<object>([
    { CapAdd: ['NET_ADMIN', 'cap_chown'], Runtime: 'runc', NetworkMode: 'host', PidMode: '', IpcMode: 'private' },
    { SecurityOpt: ['no-new-privileges'], MaskedPaths: null, ReadonlyPaths: null, Devices: [], DeviceCgroupRules: null, CgroupParent: '' },
  ])('are not in %j', (host) => expect(wish(host).powers).toEqual([]));
});

describe('a volume of the engine itself', () => {
  it.each<[object, string[]]>([
    [{}, []],
    [{ type: 'tmpfs', device: 'tmpfs', o: 'size=1m' }, []],
    [{ type: 'nfs', device: ':/export', o: 'addr=10.0.0.1' }, []],
    [{ type: 'none', o: 'bind', device: '/srv' }, ['/srv']],
    [{ type: 'tmpfs', o: 'ro,rbind', device: '/srv' }, ['/srv']],
  ])('with %j shows %j', (options, paths) => {
    expect(localVolumePaths(new Map(Object.entries(options))).map(({ path }) => path)).toEqual(paths);
  });

  it.each<object>([
    { type: 'btrfs', device: '/dev/loop0' },
    { type: 'proc', device: 'proc' },
    { type: 'overlay', device: 'overlay', o: 'lowerdir=/var' },
    { type: 'none', o: 'bind', device: 'var/lib' },
    { device: '/dev/loop0' },
  ])('with %j is refused', (options) => expect(() => localVolumePaths(new Map(Object.entries(options)))).toThrow('cannot be judged'));
});

it('an inspected container shows all its mounts and powers', () => {
  const container = {
    Id: 'abc',
    HostConfig: { Privileged: true },
    Mounts: [
      { Type: 'volume', Name: 'data', RW: false },
      { Type: 'bind', Source: '/srv', RW: true },
      { Type: 'tmpfs', RW: true },
    ],
  };
  expect(readInspected(readGoJson(JSON.stringify(container)))).toEqual({
    id: 'abc',
    wish: { volumes: [{ name: 'data', mode: 'read-only' }], paths: [{ path: '/srv', mode: 'read-write' }], powers: ['is privileged'] },
  });
});

it('a service shows the mounts and powers of its tasks', () => {
  const spec = { Mounts: [{ Type: 'bind', Source: '/srv' }], CapabilityAdd: ['CAP_SYS_ADMIN'], Privileges: { Seccomp: { Mode: 'unconfined' } } };
  expect(readService(readGoJson(JSON.stringify({ TaskTemplate: { ContainerSpec: spec } })), driver)).toMatchObject({
    paths: [{ path: '/srv' }],
    powers: ['has the capability SYS_ADMIN', 'has its confinement changed'],
  });
});
