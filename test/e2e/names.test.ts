import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createConnection } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Volume } from '../../src/model/records.ts';
import { TEST_IMAGE } from '../../testbed/lab.ts';
import type { Host } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import { sendToPlugin } from './support/plugin-socket.ts';

let cluster: Cluster;
let h1: Host;

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 1 });
  h1 = cluster.host('h1');
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

const volumes = (): Promise<Volume[]> => cluster.json<Volume[]>(h1, 'volume', 'ls');
const names = async (): Promise<string[]> => (await volumes()).map(({ name }) => name).sort();

/** Every path that was ever written on the host's disk, but for Docker's and our own folders; and those of its memory file system. */
function writtenPaths(): string[] {
  const disk = cluster.lab.rack.path('h1/disk');
  const isForeign = (path: string): boolean => /^private\/var\/(?:lib\/(?:docker|containerd|supercargo)\/|log\/)/.test(path);
  const onDisk = (readdirSync(disk, { recursive: true }) as string[]).filter((path) => !isForeign(path));
  const inMemory = (readdirSync(h1.path('/run'), { recursive: true }) as string[]).filter(
    (path) => !/^docker\/(?:runtime|containerd|netns)/.test(path),
  );
  return [...onDisk, ...inMemory.map((path) => join('run', path))].sort();
}

/** What lies in our own folder, without the insides of the pool. */
function ownPaths(): string[] {
  return ['/var/lib/supercargo', '/var/lib/supercargo/agent', '/var/lib/supercargo/mounts', '/var/lib/supercargo/pool/volumes']
    .flatMap((folder) => readdirSync(h1.path(folder)).map((name) => join(folder, name)))
    .filter((path) => !/\.db(?:-\w+)?$|\/vol_[0-9a-f]{24}$/.test(path))
    .sort();
}

const badNames = [
  '../x',
  '..',
  '.',
  '.hidden',
  'a/b',
  '/etc/passwd',
  'a\\b',
  'x'.repeat(129),
  'x'.repeat(300),
  'größe',
  '数据',
  '\u202Eevil',
  'a b',
  'a\nb',
  'a\0b',
  '-rf',
  '$(id)',
  '',
  null,
  7,
  ['a'],
  { a: 1 },
];
const namedCalls = [
  'VolumeDriver.Create',
  'VolumeDriver.Get',
  'VolumeDriver.Path',
  'VolumeDriver.Mount',
  'VolumeDriver.Unmount',
  'VolumeDriver.Remove',
];
const badBodies = [
  { what: 'nothing', body: undefined },
  { what: 'an empty text', body: '' },
  { what: 'null', body: 'null' },
  { what: 'an empty object', body: '{}' },
  { what: 'an array', body: '["volume"]' },
  { what: 'a number', body: '42' },
  { what: 'a text', body: '"volume"' },
  { what: 'truncated JSON', body: '{"Name":"truncated","ID":"aa' },
  { what: 'two documents', body: '{"Name":"two"}{"Name":"three"}' },
  { what: 'no JSON', body: 'Name=form&ID=1' },
  { what: 'bytes that are no text', body: '{"Name":"\uFFFD\u0000' },
  { what: 'two megabytes', body: `{"Name":"${'x'.repeat(2_000_000)}"}` },
  { what: 'a prototype', body: '{"__proto__":{"Name":"polluted","ID":"1"}}' },
];

describe('hostile calls', () => {
  it('are refused with a clear error each and leave nothing anywhere', async () => {
    await cluster.createVolume(h1, 'bystander');
    await cluster.inContainer(h1, 'bystander', 'echo safe > /data/file');
    const before = { names: await names(), written: writtenPaths(), own: ownPaths() };
    const calls = [
      ...namedCalls.flatMap((call) => badNames.map((Name) => ({ call, body: { Name, ID: 'session', Opts: {} } as unknown }))),
      ...namedCalls.flatMap((call) => badBodies.map(({ body }) => ({ call, body: body as unknown }))),
      ...['', 3, {}, 'x'.repeat(300)].map((ID) => ({ call: 'VolumeDriver.Mount', body: { Name: 'bystander', ID } })),
      ...[7, 'size=1G', ['size'], { size: 64 }, { size: null }].map((Opts) => ({ call: 'VolumeDriver.Create', body: { Name: 'options', Opts } })),
      { call: 'VolumeDriver.NoSuchCall', body: {} },
      { call: '../../etc/passwd', body: {} },
    ];
    for (const { call, body } of calls) {
      const { status, text } = await sendToPlugin(h1, { call, body });
      const tried = `${call} ${JSON.stringify(body)?.slice(0, 80)}: ${status} ${text}`;
      expect(status, tried).toBeGreaterThanOrEqual(400);
      const { Err } = JSON.parse(text) as { Err: string };
      expect(Err.length, tried).toBeGreaterThan(10);
      expect(Err, tried).not.toMatch(/undefined|TypeError|Cannot read|\.ts\b|internal/);
    }
    expect({ names: await names(), written: writtenPaths(), own: ownPaths() }).toEqual(before);
    expect((await cluster.inContainer(h1, 'bystander', 'cat /data/file')).stdout).toBe('safe\n');
    expect(cluster.log(h1)).not.toContain('"level":50');
  });

  it('succeed where the contract lets a body be missing, with or without a Content-Type', async () => {
    for (const body of [undefined, '', 'null', '{}']) {
      for (const headers of [{}, { 'content-type': 'text/plain' }, { 'content-type': 'application/json' }]) {
        expect(await sendToPlugin(h1, { call: 'Plugin.Activate', body, headers })).toMatchObject({
          status: 200,
          text: '{"Implements":["VolumeDriver","authz"]}',
        });
        expect(await sendToPlugin(h1, { call: 'VolumeDriver.Capabilities', body, headers })).toMatchObject({ status: 200 });
        const list = await sendToPlugin(h1, { call: 'VolumeDriver.List', body, headers });
        expect(JSON.parse(list.text)).toMatchObject({ Err: '', Volumes: [{ Name: 'bystander' }] });
      }
    }
  });

  it('that end in the middle change nothing', async () => {
    const socket = createConnection(h1.path('/run/docker/plugins/supercargo.sock'));
    socket.end('POST /VolumeDriver.Create HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{"Name":"cut-off"}');
    await text(socket);
    expect(await names()).toEqual(['bystander']);
  });
});

describe('options', () => {
  it.each([
    { option: 'colour=blue', message: /There is no option "colour"/ },
    { option: 'Size=1G', message: /There is no option "Size"/ },
    { option: 'size=', message: /Option "size" is not a size: ""/ },
    { option: 'size=-1', message: /Option "size" is not a size: "-1"/ },
    { option: 'size=lots', message: /Option "size" is not a size: "lots"/ },
    { option: 'size=1e9', message: /Option "size" is not a size: "1e9"/ },
    { option: 'size=99999P', message: /Option "size" is not a size/ },
    { option: 'size=100T', message: /does not fit: the pool of h1 has/ },
    { option: 'class=', message: /Option "class" is empty/ },
    { option: 'class=no-such-class', message: /Option "class" names a class that does not exist: "no-such-class"/ },
  ])('$option is refused by name, and nothing is created', async ({ option, message }) => {
    const refused = await h1.engine.command(['volume', 'create', '-d', 'supercargo', '-o', option, 'refused'], { allowFailure: true });
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toMatch(message);
    expect(await names()).not.toContain('refused');
    expect((await h1.docker('volume', 'ls', '-q')).stdout).not.toMatch(/^refused$/m);
  });

  it('size limits the volume and nothing else, and cannot be changed by creating it again', async () => {
    await cluster.createVolume(h1, 'limited', 'size=64M');
    await cluster.createVolume(h1, 'neighbour', 'size=64M');
    await cluster.startContainer(h1, 'next-door', 'neighbour', 'while :; do date > /data/now; sync; usleep 50000; done');
    const overfull = await cluster.inContainer(h1, 'limited', 'dd if=/dev/urandom of=/data/fill bs=1M count=100; sync', true);
    expect(overfull.stderr).toMatch(/quota exceeded|no space left/i);
    const { stdout } = await cluster.inContainer(
      h1,
      'limited',
      'du -m /data/fill | cut -f 1; rm /data/fill; sync; echo again > /data/small && cat /data/small',
    );
    const [filled, small] = stdout.trim().split('\n');
    expect(Number(filled)).toBeGreaterThan(40);
    expect(Number(filled)).toBeLessThanOrEqual(64);
    expect(small).toBe('again');
    expect((await h1.docker('exec', 'next-door', 'sh', '-c', 'dd if=/dev/zero of=/data/own bs=1M count=40 && sync && echo fine')).stdout).toBe(
      'fine\n',
    );
    await h1.docker('rm', '-f', 'next-door');

    await cluster.createVolume(h1, 'limited', 'size=64M');
    const { status, text } = await sendToPlugin(h1, { call: 'VolumeDriver.Create', body: { Name: 'limited', Opts: { size: '128M' } } });
    expect(status).toBe(500);
    expect((JSON.parse(text) as { Err: string }).Err).toContain('There is a volume "limited" already, with size 64.0 MiB');
    expect((await volumes()).find(({ name }) => name === 'limited')?.sizeBytes).toBe(64 * 1024 ** 2);
  });
});

describe('anonymous volumes', () => {
  it('get their name of 64 digits and go with their container', async () => {
    const before = await names();
    const options = ['--name', 'anonymous', '--network', 'none', '--mount', 'type=volume,volume-driver=supercargo,target=/seeded'];
    await h1.docker('run', '--rm', '-d', '--init', ...options, TEST_IMAGE, 'sleep', '1000000');
    const added = (await volumes()).filter(({ name }) => !before.includes(name));
    expect(added.map(({ name }) => name)).toEqual([expect.stringMatching(/^[0-9a-f]{64}$/)]);
    // Docker copies what the image has there into a new volume.
    expect((await h1.docker('exec', 'anonymous', 'cat', '/seeded/folder/symbolic-link')).stdout).toBe('seeded by the image\n');
    await h1.docker('stop', '--time', '0', 'anonymous');
    await waitUntil('the anonymous volume has gone', async () => (await names()).join() === before.join());
    await waitUntil('its data has gone', async () => !(await cluster.status(h1)).volumes.some(({ id }) => id === added[0]!.id));
    expect((await h1.docker('volume', 'ls', '-q')).stdout).not.toContain(added[0]!.name);
  });
});
