import { beforeEach, describe, expect, it } from 'vitest';
import { SupercargoError } from '../model/errors.ts';
import { Authorization } from './authorization.ts';
import type { AuthorizationAnswer, AuthorizationOptions } from './authorization.ts';

/** What the gate was asked, and the engine's containers and volumes by name. */
let asked: unknown[][];
let refusal: Error | null;
let containers: Record<string, object>;
let volumes: Record<string, object>;
let authorization: Authorization;

const victim = { Id: 'victim-id', HostConfig: {}, Mounts: [{ Type: 'volume', Name: 'orders', RW: true }] };

beforeEach(() => {
  [asked, refusal] = [[], null];
  containers = { victim };
  volumes = { alias: { Driver: 'local', Options: { type: 'none', o: 'bind', device: '/secret' } }, orders: { Driver: 'supercargo', Options: null } };
  const note =
    (verb: string) =>
    async (...parameters: unknown[]): Promise<void> => {
      asked.push([verb, ...parameters]);
      if (refusal !== null) throw refusal;
    };
  const text = (all: Record<string, object>, name: string): string | null => (name in all ? JSON.stringify(all[name]) : null);
  const options: AuthorizationOptions = {
    gate: {
      guarding: true,
      create: note('create'),
      created: note('created'),
      start: note('start'),
      use: note('use'),
      isProtected: (name) => name === 'orders',
    },
    engine: { inspectContainer: async (name) => text(containers, name), inspectVolume: async (name) => text(volumes, name) },
    driver: 'supercargo',
  };
  authorization = new Authorization(options);
});

function request(call: string, body?: object | string): Record<string, unknown> {
  const [RequestMethod, RequestUri] = call.split(' ');
  const text = typeof body === 'object' ? JSON.stringify(body) : body;
  return { RequestMethod, RequestUri, ...(text === undefined ? {} : { RequestBody: Buffer.from(text).toString('base64') }) };
}
const ask = (call: string, body?: object | string): Promise<AuthorizationAnswer> => authorization.request(request(call, body));
const denied = (reason: string) => ({ Allow: false, Msg: expect.stringContaining(reason), Err: '' });
const orders = { name: 'orders', mode: 'read-write' };

describe('before a request is done', () => {
  it('has a new container judged with the volumes of others, and with what hides behind volumes of the engine', async () => {
    const HostConfig = { Binds: ['alias:/a'], VolumesFrom: ['victim:ro'] };
    expect(await ask('POST /containers/create', { HostConfig, Labels: { 'supercargo.pass': 'p' } })).toEqual({ Allow: true, Msg: '', Err: '' });
    const wish = {
      pass: 'p',
      powers: [],
      volumes: [
        { name: 'alias', mode: 'read-write' },
        { ...orders, mode: 'read-only' },
      ],
    };
    expect(asked).toEqual([['create', expect.any(String), { ...wish, paths: [{ path: '/secret', mode: 'read-write' }] }]]);
  });

  it('has a container that is started, restarted or copied from judged by its identifier, as it is', async () => {
    for (const call of ['POST /containers/victim/start', 'POST /containers/victim/restart', 'GET /containers/victim/archive?path=/']) {
      expect(await ask(call)).toMatchObject({ Allow: true });
      expect(asked.pop()).toEqual(['start', 'victim-id', { volumes: [orders], paths: [], powers: [] }]);
    }
    expect(await ask('POST /containers/victim/exec', { Privileged: true })).toMatchObject({ Allow: true });
    expect(asked.pop()).toEqual(['start', 'victim-id', { volumes: [], paths: [], powers: ['runs a privileged program'] }]);
  });

  it('passes on what the gate refuses, and says of a defect that it is one', async () => {
    refusal = new SupercargoError('forbidden', 'Refused: because.', { hint: 'Do that.' });
    expect(await ask('POST /containers/victim/start')).toEqual({ Allow: false, Msg: 'Refused: because. (Do that.)', Err: '' });
    refusal = new Error('a defect');
    expect(await ask('POST /containers/victim/start')).toMatchObject({ Allow: false, Err: expect.stringContaining('a defect') });
  });

  it.each<[string, string, object | string | undefined, string]>([
    ['a container without a body that is shown', 'POST /containers/create', undefined, 'does not show its body'],
    ['a container with an empty one', 'POST /containers/create', ' ', 'does not show its body'],
    ['a container by a member named twice', 'POST /containers/create', '{"HostConfig":{},"hostconfig":{}}', 'stands in it 2 times'],
    ['a container from one that is not there', 'POST /containers/create', { HostConfig: { VolumesFrom: ['x'] } }, 'no container "x"'],
    ['a start with a body', 'POST /containers/victim/start', { Binds: ['/:/x'] }, 'with a body'],
    ['a start of what is not there', 'POST /containers/x/start', undefined, 'no container "x"'],
    ['an order to Swarm', 'POST /swarm/join', {}, 'a manager of a Swarm'],
    ['a plugin', 'POST /plugins/pull', {}, 'plugins of the engine'],
    ['the removal of a volume', 'DELETE /volumes/orders', undefined, 'supercargo volume rm orders'],
    [
      'a service with a volume',
      'POST /services/create',
      { TaskTemplate: { ContainerSpec: { Mounts: [{ Type: 'volume', Source: 'orders' }] } } },
      'services of Swarm cannot use it',
    ],
    ['a disk as a volume', 'POST /volumes/create', { Driver: 'local', DriverOpts: { type: 'btrfs', device: '/dev/loop0' } }, 'mounts "/dev/loop0"'],
    ['an order of unknown kind', 'POST', {}, 'does not tell RequestUri'],
  ])('refuses %s', async (_, call, body, reason) => {
    expect(await ask(call, body)).toEqual(denied(reason));
    expect(asked).toEqual([]);
  });

  it('has an alias judged when it is made, and a change of a container', async () => {
    await ask('POST /volumes/create', { DriverOpts: { o: 'bind', device: '/secret' } });
    await ask('POST /containers/victim/update', { Devices: [{}] });
    expect(asked).toEqual([
      ['use', { paths: [{ path: '/secret', mode: 'read-write' }], powers: [] }],
      ['use', { paths: [], powers: ['gets devices of the host'] }],
    ]);
  });

  it('lets everything else go', async () => {
    for (const call of ['GET /containers/json', 'POST /build', 'DELETE /volumes/other', 'DELETE /containers/victim', 'POST /swarm/leave']) {
      expect(await ask(call)).toMatchObject({ Allow: true });
    }
    expect(await ask('POST /containers/victim/exec', { Privileged: false })).toMatchObject({ Allow: true });
    expect(asked).toEqual([]);
  });
});

describe('after a request was done', () => {
  const create = request('POST /containers/create', { HostConfig: { Binds: ['orders:/a'] } });
  const answer = (body: object): string => Buffer.from(JSON.stringify(body)).toString('base64');

  it('tells the gate which container came of it, or that none did', async () => {
    await authorization.request(create);
    const key = asked[0]?.[1];
    await authorization.response({ ...create, ResponseStatusCode: 201, ResponseBody: answer({ Id: 'c1', Warnings: [] }) });
    await authorization.response({ ...create, ResponseStatusCode: 404, ResponseBody: answer({ message: 'No such image' }) });
    expect(asked.slice(1)).toEqual([
      ['created', key, 'c1'],
      ['created', key, null],
    ]);
  });

  it('has nothing to say about others', async () => {
    expect(await authorization.response({ ...request('GET /containers/json'), ResponseStatusCode: 200 })).toMatchObject({ Allow: true });
    expect(asked).toEqual([]);
  });
});
