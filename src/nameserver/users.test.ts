import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { User, UserRole } from '../model/access.ts';
import type { SupercargoError } from '../model/errors.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { TestNameServer } from './test-name-server.ts';
import type { Calls } from './test-name-server.ts';

let store: Store;
let clock: ManualClock;
let server: TestNameServer;
let operator: Calls;

beforeEach(async () => {
  clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  server = await TestNameServer.start(store, clock);
  operator = server.as(null);
  for (const name of ['shop', 'bank']) await operator.createProject({ body: { name, requireGrants: true } });
});
afterEach(() => store.close());

const add = (name: string, role: UserRole, project: string | null = null): Promise<User> => operator.createUser({ body: { name, role, project } });
const as = (user: User): Calls => server.as({ user: user.id });
const login = (token: string, request = 'request') => operator.login({ body: { token, request } });
const invite = async (name: string): Promise<string> =>
  (await operator.createLogin({ parameters: { user: name }, body: { lifetimeMilliseconds: 600_000 } })).token;

describe('a user', () => {
  it('is made once, however often it is asked for, and not with other rights under the same name', async () => {
    const anna = await add('anna', 'operator', 'shop');
    expect(await add('anna', 'operator', 'shop')).toEqual(anna);
    await expect(add('anna', 'viewer', 'shop')).rejects.toMatchObject({ code: 'already-exists' });
    expect((await operator.listUsers({})).items).toEqual([anna]);
  });

  it('is no administrator of one project only, from the start or later', async () => {
    await expect(add('anna', 'admin', 'shop')).rejects.toMatchObject({ code: 'invalid-option' });
    await add('anna', 'operator', 'shop');
    await expect(operator.updateUser({ parameters: { user: 'anna' }, body: { role: 'admin' } })).rejects.toMatchObject({ code: 'invalid-option' });
  });

  it.each(['../x', '', 'a/b', 'x'.repeat(300)])('has no name like %j', async (name) => {
    await expect(add(name, 'viewer')).rejects.toMatchObject({ code: 'invalid-name' });
  });

  it('counts no more once it was removed, whatever its certificate says', async () => {
    const anna = await add('anna', 'admin');
    expect(await as(anna).whoAmI({})).toEqual(anna);
    await operator.deleteUser({ parameters: { user: 'anna' } });
    await expect(as(anna).listVolumes({})).rejects.toMatchObject({ code: expect.stringMatching(/unauthenticated|forbidden/) });
    // A namesake inherits nothing.
    await add('anna', 'viewer');
    await expect(as(anna).listVolumes({})).rejects.toMatchObject({ code: expect.stringMatching(/unauthenticated|forbidden/) });
    expect((await store.list('state/denials/')).entries.map(({ value }) => value)).toMatchObject([{ subject: 'user', value: anna.id }]);
  });

  it('stands in the log with what it did', async () => {
    const anna = await add('anna', 'admin');
    await as(anna).createVolume({ body: { name: 'data' } });
    const { items } = await operator.listAudit({ query: { after: 0, limit: 500 } });
    expect(items.at(-1)).toMatchObject({ action: 'volume.created', actor: 'user anna' });
  });
});

describe('a login', () => {
  it('gives a certificate once; again only for the very request, whose answer was lost', async () => {
    const anna = await add('anna', 'viewer');
    const token = await invite('anna');
    expect(await login(token)).toMatchObject({ certificate: `certificate of ${anna.id}`, user: anna });
    expect(await login(token)).toMatchObject({ certificate: `certificate of ${anna.id}` });
    await expect(login(token, 'another')).rejects.toMatchObject({ code: 'invalid-token' });
  });

  it('is refused when it is too late, forged, or of somebody who was removed', async () => {
    await add('anna', 'viewer');
    const late = await invite('anna');
    clock.setWall(clock.wallMilliseconds() + 601_000);
    await expect(login(late)).rejects.toMatchObject({ code: 'invalid-token' });
    const [id] = (await invite('anna')).split('.');
    await expect(login(`${id}.${'A'.repeat(43)}`)).rejects.toMatchObject({ code: 'invalid-token' });
    const removed = await invite('anna');
    await operator.deleteUser({ parameters: { user: 'anna' } });
    await expect(login(removed)).rejects.toMatchObject({ code: 'not-found' });
  });

  it('is kept as a hash only', async () => {
    await add('anna', 'viewer');
    const [, secret = ''] = (await invite('anna')).split('.');
    expect(JSON.stringify((await store.list('')).entries)).not.toContain(secret);
  });

  it('is no invitation for a host, nor the other way', async () => {
    await add('anna', 'viewer');
    const token = await invite('anna');
    await expect(operator.join({ body: { token, name: 'h9', address: 'h9:1', request: 'r' } })).rejects.toMatchObject({ code: 'invalid-token' });
    const { token: invitation } = await operator.createInvite({ body: { lifetimeMilliseconds: 600_000 } });
    await expect(login(invitation)).rejects.toMatchObject({ code: 'invalid-token' });
  });
});

describe('a role', () => {
  const attempts: [string, (calls: Calls) => Promise<unknown>, UserRole][] = [
    ['looks at volumes', (calls) => calls.listVolumes({}), 'viewer'],
    ['makes a volume', (calls) => calls.createVolume({ body: { name: 'mine' } }), 'operator'],
    ['makes an application', (calls) => calls.createApplication({ body: { project: 'shop', name: 'web', privileged: false } }), 'operator'],
    ['makes a privileged application', (calls) => calls.createApplication({ body: { project: 'shop', name: 'root', privileged: true } }), 'admin'],
    ['reads the audit log', (calls) => calls.listAudit({ query: { after: 0, limit: 1 } }), 'operator'],
    ['invites a host', (calls) => calls.createInvite({ body: { lifetimeMilliseconds: 1000 } }), 'admin'],
    ['makes a user', (calls) => calls.createUser({ body: { name: 'ben', role: 'viewer', project: null } }), 'admin'],
    ['raises itself', (calls) => calls.updateUser({ parameters: { user: 'anna' }, body: { role: 'admin' } }), 'admin'],
    ['opens a project', (calls) => calls.updateProject({ parameters: { project: 'shop' }, body: { requireGrants: false } }), 'admin'],
  ];
  const order: UserRole[] = ['viewer', 'operator', 'admin'];

  it.each(attempts.flatMap(([what, call, least]) => order.map((role) => [role, what, call, least] as const)))(
    '%s: %s, or is refused',
    async (role, _, call, least) => {
      const anna = await add('anna', role);
      const outcome = await call(as(anna)).then(
        () => 'done',
        (error: unknown) => (error as SupercargoError).code,
      );
      expect(outcome).toBe(order.indexOf(role) >= order.indexOf(least) ? 'done' : 'forbidden');
    },
  );

  it('never makes a user an agent', async () => {
    const anna = await add('anna', 'admin');
    await operator.createVolume({ body: { name: 'data' } });
    await expect(as(anna).claimVolume({ parameters: { volume: 'data' } })).rejects.toMatchObject({ code: 'forbidden' });
  });
});

describe('an operator of one project', () => {
  let ben: User;

  beforeEach(async () => {
    ben = await add('ben', 'operator', 'shop');
    for (const [name, project] of [
      ['orders', 'shop'],
      ['accounts', 'bank'],
    ] as const) {
      await operator.createVolume({ body: { name, project } });
      await operator.createApplication({ body: { project, name: 'web', privileged: false } });
    }
  });

  it('sees what is in it, and nothing else', async () => {
    expect((await as(ben).listVolumes({})).items.map(({ name }) => name)).toEqual(['orders']);
    expect((await as(ben).listProjects({})).items.map(({ name }) => name)).toEqual(['shop']);
    expect((await as(ben).listApplications({ query: {} })).items).toHaveLength(1);
    expect((await as(ben).getVolume({ parameters: { volume: 'orders' } })).name).toBe('orders');
  });

  it('is told of what others have as if it were not there', async () => {
    const calls = as(ben);
    const theirs = { parameters: { volume: 'accounts' } };
    const missing = { parameters: { volume: 'nothing' } };
    for (const attempt of ['getVolume', 'where', 'getVolumeStatus', 'removeVolume'] as const) {
      const [foreign, none] = await Promise.all([theirs, missing].map((input) => calls[attempt](input).catch((error: unknown) => error)));
      expect([foreign, none]).toMatchObject([{ code: 'not-found' }, { code: 'not-found' }]);
    }
    const id = (await operator.getVolume(theirs)).id;
    await expect(calls.getVolume({ parameters: { volume: id } })).rejects.toMatchObject({ code: 'not-found' });
    await expect(calls.createMove({ body: { volume: 'accounts', to: 'h1' } })).rejects.toMatchObject({ code: 'not-found' });
  });

  it('gives no application a volume of another project, nor a volume of its own to one of another', async () => {
    const body = { mode: 'read-only' as const, reason: 'test', volume: 'accounts', application: 'shop/web' };
    await expect(as(ben).createGrant({ body })).rejects.toMatchObject({ code: 'not-found' });
    await expect(as(ben).createGrant({ body: { ...body, volume: 'orders', application: 'bank/web' } })).rejects.toMatchObject({ code: 'not-found' });
    expect(await as(ben).createGrant({ body: { ...body, volume: 'orders' } })).toMatchObject({ actor: 'user ben' });
  });

  it('makes volumes in its project, and nowhere else', async () => {
    expect(await as(ben).createVolume({ body: { name: 'mine', project: 'shop' } })).toMatchObject({ name: 'mine' });
    await expect(as(ben).createVolume({ body: { name: 'theirs', project: 'bank' } })).rejects.toMatchObject({ code: 'not-found' });
    const taken = { code: 'already-exists', message: 'The name "accounts" is taken, by a volume of another project.' };
    await expect(as(ben).createVolume({ body: { name: 'accounts', project: 'shop', sizeBytes: 1 } })).rejects.toMatchObject(taken);
    await expect(as(ben).createVolume({ body: { name: 'open' } })).rejects.toMatchObject({ code: 'not-found' });
  });

  it('may not follow the whole cluster', async () => {
    const watching = server.as({ user: ben.id }).watch({});
    await expect(watching[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'forbidden' });
  });
});
