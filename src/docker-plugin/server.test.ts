import { once } from 'node:events';
import { mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SupercargoError } from '../model/errors.ts';
import { newVolume } from '../model/new-volume.ts';
import type { KnownVolume } from '../ports/volume-verbs.ts';
import { createDockerPlugin } from './server.ts';
import { listenOnPluginSocket } from './socket.ts';
import type { PluginSocket } from './socket.ts';
import { FakeVerbs, openToAll, silentLog } from './test-verbs.ts';

let directory: string;
let path: string;
let verbs: FakeVerbs;
let server: http.Server;
let socket: PluginSocket | undefined;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'supercargo-plugin-'));
  path = join(directory, 'plugins', 'supercargo.sock');
  verbs = new FakeVerbs();
  server = createDockerPlugin({ verbs, ...openToAll, log: silentLog });
  socket = await listenOnPluginSocket(server, path);
});

afterEach(async () => {
  await socket?.close(AbortSignal.abort());
  await rm(directory, { recursive: true, force: true });
});

function known(name: string, mountPoint: string | null = null, createdAt = '2026-11-23T09:00Z'): KnownVolume {
  const volume = newVolume({ id: 'vol_000000000000000000000001', name, createdAt, epoch: 1 });
  return { volume, mountPoint, status: { holder: 'h1' } };
}

async function call(method: string, body?: unknown, agent?: http.Agent) {
  const payload = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  const request = http.request({ socketPath: path, path: `/${method}`, method: 'POST', headers: { host: '' }, ...(agent ? { agent } : {}) });
  request.end(payload);
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  return { status: response.statusCode, body: JSON.parse(await text(response)) as Record<string, unknown>, headers: response.headers };
}

/** Sends bytes as they are; resolves with all that came until the server closed. */
async function raw(bytes: string): Promise<string> {
  const client = connect(path);
  client.end(bytes);
  return text(client);
}

describe('the calls', () => {
  it('answers Activate and then has the sessions of the engine before checked', async () => {
    expect((await call('Plugin.Activate')).body).toEqual({ Implements: ['VolumeDriver', 'authz'] });
    await verbs.called('engineStarted');
  });

  it('says that its volumes are the same on every host', async () => {
    expect((await call('VolumeDriver.Capabilities', {})).body).toEqual({ Capabilities: { Scope: 'global' } });
  });

  it('translates options', async () => {
    expect(await call('VolumeDriver.Create', { Name: 'v', Opts: { size: '10G', class: 'fast', project: 'shop', 'label.team': 'a' } })).toMatchObject({
      status: 200,
      body: { Err: '' },
    });
    await call('VolumeDriver.Create', { Name: 'w', Opts: null });
    await call('VolumeDriver.Create', { Name: 'x', Opts: { from: 'pgdata@nightly' } });
    await call('VolumeDriver.Create', { Name: 'y', Opts: { from: 'pgdata' } });
    expect(verbs.calls).toEqual([
      ['create', { name: 'v', sizeBytes: 10 * 1024 ** 3, class: 'fast', project: 'shop', labels: { team: 'a' } }],
      ['create', { name: 'w' }],
      ['create', { name: 'x', from: { volume: 'pgdata', snapshot: 'nightly' } }],
      ['create', { name: 'y', from: { volume: 'pgdata', snapshot: null } }],
    ]);
  });

  it('shows volumes with times that Go can parse', async () => {
    verbs.known.set('v', known('v', '/mounts/v'));
    const volume = { Name: 'v', Mountpoint: '/mounts/v', CreatedAt: '2026-11-23T09:00:00.000Z', Status: { holder: 'h1' } };
    expect((await call('VolumeDriver.Get', { Name: 'v' })).body).toEqual({ Volume: volume, Err: '' });
    expect((await call('VolumeDriver.List')).body).toEqual({ Volumes: [volume], Err: '' });
    expect((await call('VolumeDriver.Path', { Name: 'v' })).body).toEqual({ Mountpoint: '/mounts/v', Err: '' });
  });

  it('mounts, unmounts and removes, anonymous names too', async () => {
    const name = 'a'.repeat(64);
    expect((await call('VolumeDriver.Mount', { Name: name, ID: 's' })).body).toEqual({ Mountpoint: `/mounts/${name}`, Err: '' });
    await call('VolumeDriver.Unmount', { Name: name, ID: 's' });
    await call('VolumeDriver.Remove', { Name: name });
    expect(verbs.calls).toEqual([
      ['mount', name, 's'],
      ['unmount', name, 's'],
      ['remove', name],
    ]);
  });

  it('answers an error with a status other than 200, message and hint', async () => {
    verbs.onMount = async () => {
      throw new SupercargoError('volume-in-use', 'Container db on h1 uses it.', { hint: 'Stop it.' });
    };
    expect(await call('VolumeDriver.Mount', { Name: 'v', ID: 's' })).toMatchObject({
      status: 500,
      body: { Err: 'Container db on h1 uses it. (Stop it.)' },
    });
  });

  it('says a certain no, and nothing at all while nobody knows', async () => {
    expect(await call('VolumeDriver.Get', { Name: 'v' })).toMatchObject({ status: 404, body: { Err: 'There is no volume "v".' } });
    for (const code of ['name-server-unreachable', 'internal'] as const) {
      verbs.find = () => Promise.reject(new SupercargoError(code, 'away'));
      await expect(call('VolumeDriver.Get', { Name: 'v' })).rejects.toThrow(/socket hang up/);
    }
  });
});

describe('hostile requests', () => {
  const changing = ['Create', 'Mount', 'Unmount', 'Remove'];

  it.each([...changing, 'Get', 'Path'])('refuses %s with an empty body or name, and changes nothing', async (method) => {
    for (const body of [undefined, 'null', '{}', { Name: '' }, { Name: '', ID: 's' }]) {
      expect(await call(`VolumeDriver.${method}`, body)).toMatchObject({ status: 500, body: { Err: expect.stringMatching(/name is empty/) } });
    }
    expect(verbs.calls).toEqual([]);
  });

  it.each(['../x', 'a/b', '/', '.', '-v', ' ', 'v\n', 'ünïcode', '\u0000', 'x'.repeat(300)])('refuses the name %j', async (name) => {
    for (const method of changing) {
      expect(await call(`VolumeDriver.${method}`, { Name: name, ID: 's' })).toMatchObject({
        status: 500,
        body: { Err: expect.stringMatching(/volume name/) },
      });
    }
    expect(verbs.calls).toEqual([]);
  });

  it.each([
    ['{"Name":"v"', /well-formed JSON/],
    ['[]', /not a JSON object/],
    ['"v"', /not a JSON object/],
    ['{"Name":1}', /"Name" must be a text/],
    ['{"Name":["v"]}', /"Name" must be a text/],
    ['{"Name":"v","ID":{}}', /"ID" must be a text/],
    ['{"Name":"v"}', /"ID" must have/],
  ])('refuses to mount %s', async (body, message) => {
    expect(await call('VolumeDriver.Mount', body)).toMatchObject({ status: 500, body: { Err: expect.stringMatching(message) } });
    expect(verbs.calls).toEqual([]);
  });

  it.each([
    [{ siez: '10G' }, /no option "siez".*Known options: size.*class/],
    [{ size: 'ten' }, /Option "size" is not a size: "ten"/],
    [{ size: 10 }, /Option "size" must be a text/],
    [{ from: 'a@b@c' }, /"a@b@c" is not VOLUME@SNAPSHOT/],
    [{ from: '@nightly' }, /The volume name is empty/],
    [{ from: 'pgdata@' }, /The snapshot name is empty/],
    [{ class: '' }, /Option "class" is empty/],
    [{ project: '' }, /Option "project" is empty.*supercargo project ls/],
    [{ 'label.': 'x' }, /no option "label."/],
    ['size=10G', /"Opts" must be an object/],
    [[], /"Opts" must be an object/],
  ])('names what is wrong with the options %j', async (options, message) => {
    expect(await call('VolumeDriver.Create', { Name: 'v', Opts: options })).toMatchObject({
      status: 500,
      body: { Err: expect.stringMatching(message) },
    });
    expect(verbs.calls).toEqual([]);
  });

  it('refuses unknown calls and a body beyond the limit', async () => {
    expect(await call('VolumeDriver.Format', {})).toMatchObject({ status: 404, body: { Err: expect.stringMatching(/no call POST/) } });
    const long = { Name: 'v', Opts: { class: 'x'.repeat(4 * 1024 * 1024) } };
    expect(await call('VolumeDriver.Create', long)).toMatchObject({ status: 500, body: { Err: expect.stringMatching(/longer than 1048576 bytes/) } });
    expect(verbs.calls).toEqual([]);
  });

  it('does without a Host and with an odd one', async () => {
    for (const host of ['', 'Host:\r\n', 'Host: %2Frun%2Fdocker%2Fplugins%2Fs.sock\r\n']) {
      expect(await raw(`POST /Plugin.Activate HTTP/1.1\r\n${host}Content-Length: 0\r\nConnection: close\r\n\r\n`)).toMatch(/^HTTP\/1.1 200/);
    }
  });

  it('changes nothing if the connection ends in the middle of a body', async () => {
    await raw('POST /VolumeDriver.Remove HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"Name":"v"}');
    await call('Plugin.Activate');
    expect(verbs.calls.filter(([verb]) => verb === 'remove')).toEqual([]);
  });
});

describe('a cluster in which nobody needs a grant', () => {
  it('allows every request of the engine at once, however it looks', async () => {
    for (const body of [{ RequestMethod: 'POST', RequestUri: '/containers/create', RequestBody: 'bm8ganNvbg==' }, {}, { RequestUri: 7 }]) {
      expect((await call('AuthZPlugin.AuthZReq', body)).body).toEqual({ Allow: true, Msg: '', Err: '' });
      expect((await call('AuthZPlugin.AuthZRes', body)).body).toEqual({ Allow: true, Msg: '', Err: '' });
    }
  });

  it('takes the answers of the engine, which may be long', async () => {
    const ResponseBody = 'x'.repeat(5 * 1024 * 1024);
    expect(await call('AuthZPlugin.AuthZRes', { ResponseBody })).toMatchObject({ status: 200, body: { Allow: true } });
  });
});

describe('connections', () => {
  it('has no timer that could close an idle one', () => {
    expect([server.keepAliveTimeout, server.headersTimeout, server.requestTimeout, server.timeout]).toEqual([0, 0, 0, 0]);
  });

  it('keeps one for many calls, failed ones too', async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    let connections = 0;
    server.on('connection', () => (connections += 1));
    for (let round = 0; round < 3; round += 1) {
      await call('VolumeDriver.Create', { Name: 'v' }, agent);
      await call('VolumeDriver.Create', '{', agent);
    }
    expect(connections).toBe(1);
    agent.destroy();
  });

  it('serves others while a mount waits', async () => {
    const release = Promise.withResolvers<string>();
    verbs.onMount = () => release.promise;
    const mounting = call('VolumeDriver.Mount', { Name: 'v', ID: 's' });
    await verbs.called('mount');
    verbs.known.set('v', known('v'));
    const answers = await Promise.all(Array.from({ length: 50 }, () => call('VolumeDriver.Get', { Name: 'v' })));
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    release.resolve('/mounts/v');
    expect((await mounting).body['Mountpoint']).toBe('/mounts/v');
  });

  it('tells the mount that its client has gone', async () => {
    const reason = new Promise((resolve) => {
      verbs.onMount = (_, signal) =>
        new Promise((__, reject) => {
          signal.addEventListener('abort', () => {
            resolve(signal.reason);
            reject(signal.reason as Error);
          });
        });
    });
    const client = connect(path);
    const body = JSON.stringify({ Name: 'v', ID: 's' });
    client.write(`POST /VolumeDriver.Mount HTTP/1.1\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    await verbs.called('mount');
    client.destroy();
    expect(String(await reason)).toMatch(/closed the connection/);
    expect(verbs.calls).toEqual([['mount', 'v', 's']]);
  });

  it('gives back a mount that succeeded after its client had gone', async () => {
    const gone = Promise.withResolvers<void>();
    verbs.onMount = async (name, signal) => {
      signal.addEventListener('abort', () => gone.resolve());
      await gone.promise;
      return `/mounts/${name}`;
    };
    const request = http.request({ socketPath: path, path: '/VolumeDriver.Mount', method: 'POST' });
    request.on('error', () => {});
    request.end(JSON.stringify({ Name: 'v', ID: 's' }));
    await verbs.called('mount');
    request.destroy();
    await verbs.called('unmount');
    expect(verbs.calls.at(-1)).toEqual(['unmount', 'v', 's']);
  });
});

describe('the socket', () => {
  it('is for root only', async () => {
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it('closes idle connections, lets calls in flight finish, and removes the file', async () => {
    const idle = connect(path);
    await once(idle, 'connect');
    const release = Promise.withResolvers<string>();
    verbs.onMount = () => release.promise;
    const agent = new http.Agent({ keepAlive: true });
    const mounting = call('VolumeDriver.Mount', { Name: 'v', ID: 's' }, agent);
    await verbs.called('mount');
    const closed = socket?.close();
    socket = undefined;
    await text(idle);
    release.resolve('/mounts/v');
    expect(await mounting).toMatchObject({ status: 200, headers: { connection: 'close' } });
    await closed;
    await expect(stat(path)).rejects.toThrow(/ENOENT/);
    agent.destroy();
  });

  it('does not take the place of a living process, nor of a file', async () => {
    const other = createDockerPlugin({ verbs, ...openToAll, log: silentLog });
    await expect(listenOnPluginSocket(other, path)).rejects.toMatchObject({ code: 'wrong-state', hint: expect.stringMatching(/supercargo down/) });
    const file = join(directory, 'file');
    await writeFile(file, 'precious');
    await expect(listenOnPluginSocket(other, file)).rejects.toMatchObject({ code: 'wrong-state' });
  });

  it('replaces what a killed process left', async () => {
    const stale = join(directory, 'stale.sock');
    const left = createServer();
    left.listen(stale);
    await once(left, 'listening');
    // The file survives the server under another name, as it does a killed process.
    await rename(stale, `${stale}.moved`);
    left.close();
    await once(left, 'close');
    const opened = await listenOnPluginSocket(createDockerPlugin({ verbs, ...openToAll, log: silentLog }), `${stale}.moved`);
    expect((await stat(`${stale}.moved`)).isSocket()).toBe(true);
    await opened.close();
  });
});
