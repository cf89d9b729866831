import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { TestNameServer } from './test-name-server.ts';
import type { Calls } from './test-name-server.ts';

let store: Store;
let server: TestNameServer;
let operator: Calls;
let h1: string;
let h2: string;

beforeEach(async () => {
  const clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  server = await TestNameServer.start(store, clock);
  operator = server.as(null);
  [h1, h2] = [await server.addHost('h1'), await server.addHost('h2')];
  await operator.createProject({ body: { name: 'shop' } });
});

afterEach(() => store.close());

const web = { parameters: { application: 'shop/web' } };
const create = (more: object = {}) => operator.createApplication({ body: { project: 'shop', name: 'web', ...more } });
const grant = (more: object = {}) =>
  operator.createGrant({ body: { application: 'shop/web', volume: null, mode: 'read-only', reason: 'r', ...more } });

describe('applications', () => {
  it('are made once, whoever asks again and however many at once', async () => {
    const made = await Promise.all(Array.from({ length: 20 }, () => create()));
    expect(new Set(made.map(({ id }) => id)).size).toBe(1);
    expect(made[0]).toMatchObject({ name: 'web', privileged: false, revocation: null });
    expect(await create({ privileged: false })).toEqual(made[0]);
    await expect(create({ privileged: true })).rejects.toMatchObject({
      code: 'already-exists',
      message: expect.stringContaining('may not be privileged'),
    });
    const { items } = await operator.listEvents({ query: { after: 0, limit: 100 } });
    expect(items.filter(({ type }) => type === 'application.created')).toMatchObject([{ subject: 'shop/web', actor: 'operator' }]);
  });

  it('have a name of their own in each project', async () => {
    const inShop = await create();
    const inDefault = await create({ project: 'default' });
    expect(inDefault.id).not.toBe(inShop.id);
    expect((await operator.listApplications({ query: {} })).items).toHaveLength(2);
    expect((await operator.listApplications({ query: { project: 'default' } })).items).toEqual([inDefault]);
    await expect(operator.listApplications({ query: { project: 'none' } })).rejects.toMatchObject({ code: 'not-found' });
    await expect(create({ project: 'none' })).rejects.toMatchObject({ code: 'not-found' });
  });

  it.each(['../x', 'a/b', '', 'x'.repeat(300), 'ü', newIdentifier('app')])('refuse the name %j', async (name) => {
    await expect(create({ name })).rejects.toMatchObject({ code: 'invalid-name' });
  });

  it.each(['web', 'shop/web/x', '/web', 'shop/', '../shop/web', `${newIdentifier('prj')}/web`])('are not found as %j', async (application) => {
    await create();
    await expect(operator.deleteApplication({ parameters: { application } })).rejects.toMatchObject({ code: 'invalid-name' });
  });

  it('are not found by what identifies something else', async () => {
    const { project } = await create();
    await expect(operator.deleteApplication({ parameters: { application: project } })).rejects.toMatchObject({ code: 'not-found' });
  });
});

describe('removing an application', () => {
  it('is refused while it has grants that count or will count, and takes those that have ended along', async () => {
    await create();
    const present = await grant();
    const future = await grant({ from: new Date(server.clock.wallMilliseconds() + 60_000).toISOString() });
    await expect(operator.deleteApplication(web)).rejects.toMatchObject({
      code: 'wrong-state',
      message: `Application "shop/web" still has the grants ${[present.id, future.id].sort().join(', ')}.`,
    });
    for (const { id } of [present, future]) await operator.revokeGrant({ parameters: { grant: id }, body: { policy: 'now', reason: 'r' } });
    await operator.deleteApplication(web);
    expect((await store.list('state/grants/')).entries).toEqual([]);
    expect((await store.list('names/grants/')).entries).toEqual([]);
    await expect(operator.deleteApplication(web)).rejects.toMatchObject({ code: 'not-found' });
    const again = await create();
    expect(again.id).not.toBe(present.application);
  });

  it('leaves no grant behind that was made at the same moment', async () => {
    for (let round = 0; round < 40; round += 1) {
      await create();
      const granted = grant().catch(() => undefined);
      // Each time a little later.
      for (let step = 0; step < round; step += 1) await Promise.resolve();
      const removed = operator.deleteApplication(web).catch(() => undefined);
      await Promise.all([granted, removed]);
      const applications = new Set((await operator.listApplications({ query: {} })).items.map(({ id }) => id));
      const grants = (await store.list('state/grants/')).entries.map(({ value }) => value as { id: string; application: string });
      expect(grants.filter(({ application }) => !applications.has(application))).toEqual([]);
      for (const { id } of grants) await operator.revokeGrant({ parameters: { grant: id }, body: { policy: 'now', reason: 'r' } });
    }
  });
});

describe('a pass', () => {
  const pass = (as: Calls, body: object = {}) => as.createPass({ ...web, body: { uses: 'once', lifetimeMilliseconds: 600_000, ...body } });
  const claims = async (made: ReturnType<typeof pass>) => JSON.parse((await made).pass) as object;

  it('names the application, the one host, its uses and its end', async () => {
    const { id } = await create();
    const expires = server.clock.wallMilliseconds() + 600_000;
    expect(await claims(pass(operator, { host: 'h2' }))).toEqual({
      pass: expect.stringMatching(/^pas_/),
      application: id,
      host: h2,
      uses: 'once',
      expires,
    });
    expect(await claims(pass(server.as(h1)))).toMatchObject({ host: h1 });
    expect((await pass(server.as(h1), { host: 'h1', uses: 'many' })).expiresAt).toBe(new Date(expires).toISOString());
  });

  it('is told of in the events, without its text', async () => {
    await create();
    const { pass: text } = await pass(server.as(h1));
    const { items } = await operator.listEvents({ query: { after: 0, limit: 100 } });
    expect(items.at(-1)).toMatchObject({
      type: 'pass.created',
      subject: 'shop/web',
      actor: 'h1',
      message: expect.stringContaining('for one container on h1'),
    });
    expect(JSON.stringify(items)).not.toContain(text);
  });

  it('needs a host, which may be no other than the caller', async () => {
    await create();
    await expect(pass(operator)).rejects.toMatchObject({ code: 'invalid-request', hint: expect.stringContaining('--host') });
    await expect(pass(operator, { host: 'none' })).rejects.toMatchObject({ code: 'not-found' });
    await expect(pass(server.as(h1), { host: 'h2' })).rejects.toMatchObject({ code: 'forbidden' });
  });

  it('for one container lives for an hour at most', async () => {
    await create();
    await expect(pass(server.as(h1), { lifetimeMilliseconds: 3_600_001 })).rejects.toMatchObject({ code: 'invalid-request' });
    await pass(server.as(h1), { lifetimeMilliseconds: 3_600_000 });
    await pass(server.as(h1), { lifetimeMilliseconds: 43_200_000, uses: 'many' });
  });

  it('is refused to an application that was revoked or is not there', async () => {
    await expect(pass(server.as(h1))).rejects.toMatchObject({ code: 'not-found' });
    await create();
    await operator.revokeApplication({ ...web, body: { policy: 'now', reason: 'It was broken into.' } });
    await expect(pass(server.as(h1))).rejects.toMatchObject({ code: 'forbidden', message: expect.stringContaining('It was broken into.') });
    await operator.reinstateApplication({ ...web, body: { reason: 'Mended.' } });
    await pass(server.as(h1));
  });
});
