import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AccessGrant } from '../../src/model/access.ts';
import type { Host } from '../../testbed/lab.ts';
import { TEST_IMAGE } from '../../testbed/lab.ts';
import type { Completed } from '../../testbed/process.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';

let cluster: Cluster;
let h1: Host;
let h2: Host;
/** Identifier of the application shop/web. */
let web: string;

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 2 });
  [h1, h2] = [cluster.host('h1'), cluster.host('h2')];
  await ask('POST', '/v1/projects', { name: 'shop' });
  for (const name of ['orders', 'stock']) await ask('POST', '/v1/volumes', { name, project: 'shop' });
  web = (await ask<{ id: string }>('POST', '/v1/applications', { project: 'shop', name: 'web' })).id;
  await ask('POST', '/v1/applications', { project: 'shop', name: 'neighbour' });
  await ask('POST', '/v1/applications', { project: 'shop', name: 'tools', privileged: true });
  await cluster.createVolume(h1, 'open');
}, 180_000);

afterAll(() => cluster?.[Symbol.asyncDispose]());

/** The operator's API, on the host of the name server. */
async function ask<Answer>(method: string, path: string, body?: object): Promise<Answer> {
  const data = body === undefined ? [] : ['-H', 'content-type: application/json', '-d', JSON.stringify(body)];
  const socket = ['--unix-socket', '/run/supercargo/name-server.sock'];
  const { stdout } = await h1.run(['curl', '-s', '--fail-with-body', '-X', method, ...socket, ...data, `http://localhost${path}`]);
  return JSON.parse(stdout) as Answer;
}

async function pass(application: string, change: object = {}): Promise<string> {
  const path = `/v1/applications/${encodeURIComponent(`shop/${application}`)}/passes`;
  return (await ask<{ pass: string }>('POST', path, { host: 'h1', ...change })).pass;
}

async function grant(application: string, volume: string, change: object = {}): Promise<string> {
  return (await ask<{ id: string }>('POST', '/v1/grants', { application, volume, reason: 'test', ...change })).id;
}

/** Reached by the engine of a host, as anybody who may speak to it. */
const docker = (host: Host, ...parameters: string[]): Promise<Completed> =>
  host.engine.command(parameters, { allowFailure: true, timeoutMilliseconds: 200_000 });
const labelled = (token: string): string[] => ['--label', `supercargo.pass=${token}`];
const bare = ['run', '--rm', '--network', 'none'];
const withVolume = (mount: string): string[] => ['--volume-driver', 'supercargo', '-v', mount];

/** A container in the background that goes on until it is stopped. */
const keep = (host: Host, name: string, ...options: string[]): Promise<Completed> =>
  docker(host, 'run', '-d', '--init', '--name', name, '--network', 'none', ...options, TEST_IMAGE, 'sleep', '1000000');

/** The engine's API as it is: what no client would send. @returns the answer's status and text */
async function raw(host: Host, path: string, body: string, ...options: string[]): Promise<{ status: number; text: string }> {
  const socket = ['--unix-socket', '/run/docker.sock'];
  const headers = ['-H', 'content-type: application/json', ...options];
  const call = ['curl', '-s', '-w', '\n%{http_code}', '-X', 'POST', ...socket, ...headers, '--data-binary', '@-', `http://localhost${path}`];
  const { stdout } = await host.run(call, { input: body });
  const lines = stdout.trimEnd().split('\n');
  return { status: Number(lines.pop()), text: lines.join('\n') };
}

function expectRefused({ exitCode, stderr }: Completed, reason: RegExp): void {
  expect(stderr).toMatch(reason);
  expect(exitCode).not.toBe(0);
}

describe('before the engine asks us', () => {
  it('changes nothing for projects that require no grant, and refuses every mount of those that do', async () => {
    await ask('PATCH', '/v1/projects/shop', { requireGrants: true });
    expect((await docker(h1, ...bare, ...withVolume('open:/data'), TEST_IMAGE, 'true')).exitCode).toBe(0);
    await waitUntil('h1 knows that the project requires grants', async () => {
      const { stderr } = await docker(h1, ...bare, ...withVolume('orders:/data'), TEST_IMAGE, 'true');
      return /does not ask who may use it/.test(stderr);
    });
    await grant('shop/web', 'orders');
    expectRefused(
      await docker(h1, ...bare, ...labelled(await pass('web')), ...withVolume('orders:/data'), TEST_IMAGE, 'true'),
      /authorization-plugin=supercargo/,
    );
  });

  it('starts an engine that asks', async () => {
    for (const host of [h1, h2]) {
      await host.engine.stop();
      await host.startDocker(['--authorization-plugin=supercargo']);
    }
    const { stdout } = await h1.docker('info', '--format', '{{.Plugins.Authorization}}');
    expect(stdout).toContain('supercargo');
  });
});

describe('a host that has no part in a volume', () => {
  /** As whoever has its key: the agent's socket passes everything on under its certificate. */
  const told = async (path: string): Promise<string> =>
    (await h2.run(['curl', '-s', '--unix-socket', '/run/supercargo/agent.sock', `http://localhost/v1/${path}`])).stdout;

  it('is told of none of it: neither by name nor in a list, of volumes, rights or events', async () => {
    const lists = await Promise.all(['volumes', 'moves', 'projects', 'applications', 'grants', 'events?limit=1000'].map(told));
    expect(lists.join()).toContain('open');
    expect(lists.join()).not.toMatch(/orders|stock|shop/);
    expect((await told('projects/shop')) + (await told('volumes/absent'))).toMatch(/not-found.*not-found/s);
    const { stdout } = await h2.docker('volume', 'ls', '--format', '{{.Name}}');
    expect(stdout.split('\n')).toContain('open');
    expect(stdout).not.toMatch(/orders|stock/);
  });

  it('is told of it while an operator lets an application have it there', async () => {
    await pass('web', { host: 'h2', lifetimeMilliseconds: 10_000 });
    const listed = async (): Promise<boolean> => (await h2.docker('volume', 'ls', '--format', '{{.Name}}')).stdout.split('\n').includes('orders');
    await waitUntil('h2 lists the volume', listed);
    expect(JSON.parse((await h2.docker('volume', 'inspect', 'orders')).stdout)).toMatchObject([{ Driver: 'supercargo' }]);
    await waitUntil('h2 has forgotten it', async () => !(await listed()));
  });
});

describe('a container with a pass and a grant', () => {
  it('gets its volume, and again after it was stopped, without another pass', async () => {
    await waitUntil('the agent has seen that the engine asks', async () => {
      const { exitCode } = await keep(h1, 'web', ...labelled(await pass('web')), ...withVolume('orders:/data'));
      if (exitCode !== 0) await docker(h1, 'rm', '-f', 'web');
      return exitCode === 0;
    });
    await h1.docker('exec', 'web', 'sh', '-c', 'echo secret > /data/file');
    await h1.docker('stop', '-t', '1', 'web');
    await h1.docker('start', 'web');
    await h1.docker('restart', '-t', '1', 'web');
    await h1.docker('cp', 'web:/data/file', '-');
    expect((await h1.docker('exec', 'web', 'cat', '/data/file')).stdout).toBe('secret\n');
  });

  it('may use a pass for many containers if it is made for that', async () => {
    const token = await pass('web', { uses: 'many' });
    for (let round = 0; round < 2; round += 1)
      await h1.docker(...bare, ...labelled(token), ...withVolume('orders:/data'), TEST_IMAGE, 'cat', '/data/file');
  });

  it('is judged as before while the name server is away, and after the agent was killed', async () => {
    const [once, spent] = [await pass('web', { host: 'h2' }), await pass('web', { host: 'h2' })];
    await docker(h1, 'rm', '-f', 'web');
    await h2.docker(...bare, ...labelled(spent), ...withVolume('orders:/data'), TEST_IMAGE, 'true');
    await cluster.killDaemon(h1);
    await cluster.restartDaemon(h2);
    try {
      expectRefused(await docker(h2, ...bare, ...labelled(spent), ...withVolume('orders:/data'), TEST_IMAGE, 'true'), /was used before/);
      expectRefused(await docker(h2, ...bare, ...withVolume('orders:/data'), TEST_IMAGE, 'true'), /does not prove whose it is/);
      await h2.docker(...bare, ...labelled(once), ...withVolume('orders:/data'), TEST_IMAGE, 'cat', '/data/file');
    } finally {
      await cluster.up(h1);
    }
    await cluster.connected();
  });
});

describe('an attack', () => {
  const state = '/var/lib/supercargo';
  /** What a thief tries without a pass that counts for the volume. */
  const mounts: [string, string[]][] = [
    ['-v', withVolume('orders:/data')],
    ['-v without the driver', ['-v', 'orders:/data']],
    ['--mount', ['--mount', 'type=volume,source=orders,target=/data,volume-driver=supercargo']],
    ['--mount of a new volume in the project', ['--mount', 'type=volume,source=new,target=/data,volume-driver=supercargo,volume-opt=project=shop']],
    ['a read-only mount', withVolume('orders:/data:ro')],
    ['--volumes-from', ['--volumes-from', 'victim']],
    [
      'labels that only look like a pass',
      ['--label', 'supercargo.pass=shop/web', '--label', 'supercargo.application=shop/web', ...withVolume('orders:/data')],
    ],
    ['the labels of Swarm', ['--label', 'com.docker.swarm.task.id=x', ...withVolume('orders:/data')]],
    ['a bind of the mounts', ['-v', `${state}/mounts:/data`]],
    ['a bind of the pool', ['-v', `${state}/pool:/data:ro`]],
    ['a bind of an ancestor', ['-v', '/var:/data:ro']],
    ['a bind of everything', ['--mount', 'type=bind,source=/,target=/data,readonly']],
    ['a bind by a symbolic link', ['-v', '/run/link:/data']],
    ['a bind of the engine', ['-v', '/var/run/docker.sock:/run/docker.sock']],
    ['a bind of the plugin', ['-v', '/run/docker/plugins:/data']],
    ['a bind of the processes', ['-v', '/proc:/data']],
    ['a bind of the system, to change it', ['-v', '/etc:/data']],
    ['a volume that was an alias before', ['-v', 'alias:/data']],
    ['--privileged', ['--privileged']],
    ['--cap-add', ['--cap-add', 'SYS_ADMIN']],
    ['--device', ['--device', '/dev/loop-control']],
    ['--pid host', ['--pid', 'host']],
    ['--pid of a neighbour', ['--pid', 'container:victim']],
    ['--ipc of a neighbour', ['--ipc', 'container:victim']],
    ['--security-opt', ['--security-opt', 'systempaths=unconfined']],
    ['--cgroup-parent', ['--cgroup-parent', '/docker']],
  ];

  beforeAll(async () => {
    await ask('PATCH', '/v1/projects/shop', { requireGrants: false });
    await h1.run(['ln', '-s', `${state}/mounts`, '/run/link']);
    const alias = ['-o', 'type=none', '-o', 'o=bind', '-o', `device=${state}/mounts`];
    await waitUntil('nothing is required', async () => (await docker(h1, 'volume', 'create', ...alias, 'alias')).exitCode === 0);
    await ask('PATCH', '/v1/projects/shop', { requireGrants: true });
    await waitUntil('a grant is required', async () => (await docker(h1, 'volume', 'create', ...alias, 'other')).exitCode !== 0);
    await keep(h1, 'victim', ...labelled(await pass('web')), ...withVolume('orders:/data'));
  });
  afterAll(() => docker(h1, 'rm', '-f', 'victim'));

  it.each(mounts)('by %s is refused', async (_, options) => {
    const { stdout, stderr, exitCode } = await docker(h1, ...bare, ...options, TEST_IMAGE, 'cat', '/data/file');
    expect(stderr).toMatch(/authorization denied by plugin supercargo/);
    expect(stdout).not.toContain('secret');
    expect(exitCode).not.toBe(0);
  });

  it('with a pass that does not count is refused', async () => {
    const attempt = (token: string, mount = 'orders:/data'): Promise<Completed> =>
      docker(h1, ...bare, ...labelled(token), ...withVolume(mount), TEST_IMAGE, 'true');
    expectRefused(await attempt(await pass('neighbour')), /has no grant for volume "orders"/);
    expectRefused(await attempt(await pass('web', { host: 'h2' })), /for another host/);
    expectRefused(await attempt(await pass('web'), 'stock:/data'), /has no grant for volume "stock"/);
    const short = await pass('web', { uses: 'many', lifetimeMilliseconds: 1000 });
    await waitUntil('the pass has expired', async () => (await attempt(short)).stderr.includes('it has expired'));
    const once = await pass('web');
    expect((await attempt(once)).exitCode).toBe(0);
    expectRefused(await attempt(once), /was used before/);
    await grant('shop/web', 'stock', { mode: 'read-only' });
    expectRefused(await waitForGrant(() => attempt2('stock:/data')), /may only read volume "stock"/);
    expect((await attempt2('stock:/data:ro')).exitCode).toBe(0);
  });

  const attempt2 = async (mount: string): Promise<Completed> =>
    docker(h1, ...bare, ...labelled(await pass('web')), ...withVolume(mount), TEST_IMAGE, 'true');

  /** The agent hears of a grant a moment after it was made. */
  async function waitForGrant(attempt: () => Promise<Completed>): Promise<Completed> {
    let last = await attempt();
    await waitUntil('the grant has arrived', async () => {
      last = await attempt();
      return !last.stderr.includes('has no grant');
    });
    return last;
  }

  it('by an alias of another driver is refused', async () => {
    const create = (...options: string[]): Promise<Completed> => docker(h1, 'volume', 'create', ...options.flatMap((each) => ['-o', each]), 'thief');
    expectRefused(await create('o=bind', `device=${state}/pool`), /Supercargo keeps/);
    expectRefused(await create('type=tmpfs', 'o=bind', 'device=/var/lib'), /authorization denied/);
    expectRefused(await create('type=overlay', 'device=overlay', `o=lowerdir=${state},upperdir=/srv/u,workdir=/srv/w`), /mounts "overlay" itself/);
    expectRefused(await create('type=btrfs', 'device=/dev/loop0'), /mounts "\/dev\/loop0" itself/);
    expectRefused(await docker(h1, 'volume', 'rm', 'orders'), /supercargo volume rm orders/);
  });

  it('by what no client would send is refused', async () => {
    const image = `"Image":"${TEST_IMAGE}"`;
    const binds = '["orders:/data"]';
    const attempts: [path: string, body: string, ...options: string[]][] = [
      ['/containers/create', `{${image},"hostconfig":{"binds":${binds}}}`],
      ['/containers/create', `{${image},"HostConfig":{"Binds":[]},"hoſtconfig":{"Binds":${binds}}}`],
      ['/containers/create', `{${image},"HostConfig":{"Binds":${binds},"binds":[]}}`],
      ['/containers/create', `{${image},"Binds":${binds}}`],
      ['/containers/create', `{${image},"privileged":true}`],
      ['/containers/create', `{${image},"HostConfig":{"Mounts":[{"Type":"volume","Source":"orders","Target":"/data"}]}}`],
      ['/v1.41/containers/%63reate', `{${image},"HostConfig":{"Binds":${binds}}}`],
      ['/containers/create?name=/auth', `{${image},"HostConfig":{"Binds":${binds}}}`],
      ['/containers/create', `{${image},"HostConfig":{"Binds":${binds}}}`, '-H', 'transfer-encoding: chunked'],
      ['/containers/create', `{${image},"HostConfig":{"Binds":${binds}},"Env":["${'x'.repeat(1024 * 1024)}"]}`],
      ['/containers/create', `{${image},"HostConfig":{"Binds":${binds}}}`, '-H', 'content-type: application/json; charset=utf-8'],
      ['/containers/create', `{${image}} {${image},"HostConfig":{"Binds":${binds}}}`],
      ['/v1.18/containers/create', `{${image}}`],
      ['/containers/victim/exec', '{"Cmd":["sh"],"Privileged":true}'],
      ['/containers/victim/start', '{"Binds":["/:/host"]}'],
      ['/services/create', '{"TaskTemplate":{"ContainerSpec":{"Image":"x","Mounts":[{"Type":"volume","Source":"orders","Target":"/d"}]}}}'],
      ['/services/create', '{"TaskTemplate":{"ContainerSpec":{"Image":"x","Mounts":[{"Type":"bind","Source":"/","Target":"/d"}]}}}'],
      ['/swarm/init', '{"ListenAddr":"127.0.0.1"}'],
      ['/plugins/pull?remote=x', '[]'],
    ];
    for (const [path, body, ...options] of attempts) {
      const { status, text } = await raw(h1, path, body, ...options);
      expect([path, body.slice(0, 200), text, status].join(' ')).toMatch(
        /denied by plugin supercargo.* 403$|failed with error.* 500$|invalid.* 400$/s,
      );
    }
    const { stdout } = await h1.docker('ps', '-aq', '--filter', 'volume=orders');
    expect(stdout.trim().split('\n')).toHaveLength(1);
  });

  it('of an application that may be privileged is none', async () => {
    await h1.docker(...bare, ...labelled(await pass('tools')), '--pid', 'host', TEST_IMAGE, 'true');
  });
});

describe('a right that is taken away', () => {
  const names = async (): Promise<string[]> => (await h1.docker('ps', '--format', '{{.Names}}')).stdout.split('\n');

  it('ends its containers at once, and no other container of the same volume', async () => {
    for (const name of ['web', 'neighbour']) await docker(h1, 'rm', '-f', name);
    const right = await grant('shop/neighbour', 'orders');
    await waitUntil('both run', async () => {
      await docker(h1, 'rm', '-f', 'neighbour');
      return (await keep(h1, 'neighbour', ...labelled(await pass('neighbour')), ...withVolume('orders:/data'))).exitCode === 0;
    });
    expect((await keep(h1, 'web', ...labelled(await pass('web')), ...withVolume('orders:/data'))).stderr).toBe('');
    const began = performance.now();
    const { revision, grant: revoked } = await ask<{ revision: number; grant: AccessGrant }>('POST', `/v1/grants/${right}/revoke`, {
      policy: 'now',
      reason: 'test',
    });
    await waitUntil('h1 has acknowledged', async () => {
      const { items } = await ask<{ items: { name: string; acknowledged: boolean }[] }>('GET', `/v1/access/acknowledgements?revision=${revision}`);
      return items.find(({ name }) => name === 'h1')?.acknowledged === true;
    });
    const seen = Math.round(performance.now() - began);
    const ended = /"time":"([^"]+)","who":"shop\/neighbour[^"]*","what":"volume orders","verdict":"end"/.exec(cluster.log(h1))?.[1] ?? '';
    const taken = Date.parse(ended) - Date.parse(revoked.revocation?.at ?? '');
    process.stdout.write(`the container was dead ${taken} ms after the order; it was seen to be acknowledged after ${seen} ms\n`);
    await waitUntil('the engine has noticed', async () => !(await names()).includes('neighbour'));
    expect(await names()).toContain('web');
    expectRefused(await docker(h1, 'start', 'neighbour'), /it was revoked/);
  });

  it('gracefully leaves them until they stop', async () => {
    await ask('POST', `/v1/applications/${web}/revoke`, { policy: 'graceful', reason: 'test' });
    await waitUntil('h1 has heard of it', async () => /was revoked/.test((await docker(h1, 'restart', 'web')).stderr));
    expect((await h1.docker('exec', 'web', 'cat', '/data/file')).stdout).toBe('secret\n');
    await h1.docker('stop', '-t', '1', 'web');
    expectRefused(await docker(h1, 'start', 'web'), /application "web" was revoked/);
  });
});

describe('a pass', () => {
  it('is in no log of ours', () => {
    for (const host of [h1, h2]) expect(cluster.log(host)).not.toMatch(/eyJhbGciOi/);
  });
});
