import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { judgeUse } from '../model/judge-use.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { pruneGrants } from './grants.ts';
import { TestNameServer } from './test-name-server.ts';
import type { Calls } from './test-name-server.ts';

let store: Store;
let server: TestNameServer;
let operator: Calls;

beforeEach(async () => {
  const clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  server = await TestNameServer.start(store, clock);
  operator = server.as(null);
  await operator.createProject({ body: { name: 'shop', requireGrants: true } });
  for (const name of ['web', 'mail']) await operator.createApplication({ body: { project: 'shop', name } });
  for (const name of ['orders', 'letters']) await operator.createVolume({ body: { name, project: 'shop' } });
  await operator.createVolume({ body: { name: 'plain' } });
});

afterEach(() => store.close());

const inSeconds = (seconds: number): string => new Date(server.clock.wallMilliseconds() + seconds * 1000).toISOString();
const grant = (more: object = {}) =>
  operator.createGrant({ body: { application: 'shop/web', volume: 'orders', mode: 'read-write', reason: 'Ticket 7.', ...more } });
const list = async (query: object) => (await operator.listGrants({ query })).items.map(({ id }) => id);
const revoke = (id: string) => operator.revokeGrant({ parameters: { grant: id }, body: { policy: 'now', reason: 'r' } });

describe('a grant', () => {
  it('says who may do what from when on, why, and who said so', async () => {
    const made = await grant({ until: inSeconds(60) });
    const now = inSeconds(0);
    expect(made).toMatchObject({ mode: 'read-write', from: now, until: inSeconds(60), reason: 'Ticket 7.', actor: 'operator', revocation: null });
    const { items } = await operator.listEvents({ query: { after: 0, limit: 100 } });
    expect(items.at(-1)).toMatchObject({
      type: 'grant.created',
      subject: 'shop/web',
      message: `Application "shop/web" may read and write volume "orders" from ${now} until ${inSeconds(60)} (${made.id}). Ticket 7.`,
    });
  });

  it('is what the decision about a use rests on', async () => {
    const [web] = (await operator.listApplications({ query: { project: 'shop' } })).items.filter(({ name }) => name === 'web');
    const judge = async () => {
      const project = await operator.getProject({ parameters: { project: 'shop' } });
      const volume = await operator.getVolume({ parameters: { volume: 'orders' } });
      const { items: grants } = await operator.listGrants({ query: {} });
      return judgeUse({ volume, project, application: web!, grants, mode: 'read-write', now: server.clock.wallMilliseconds() }).allowed;
    };
    expect(await judge()).toBe(false);
    const { id } = await grant();
    expect(await judge()).toBe(true);
    await revoke(id);
    expect(await judge()).toBe(false);
  });

  it('is made once, whoever asks again and however many at once', async () => {
    const made = await Promise.all(Array.from({ length: 20 }, () => grant()));
    expect(new Set(made.map(({ id }) => id)).size).toBe(1);
    await server.clock.advance(5000);
    expect(await grant()).toEqual(made[0]);
    const future = await grant({ from: inSeconds(60) });
    await server.clock.advance(90_000);
    expect(await grant({ from: future.from })).toEqual(future);
    const { items } = await operator.listEvents({ query: { after: 0, limit: 100 } });
    expect(items.filter(({ type }) => type === 'grant.created')).toHaveLength(2);
  });

  it('is another if anything about it is other', async () => {
    const others = [
      {},
      { volume: null },
      { volume: 'letters' },
      { mode: 'read-only' },
      { until: inSeconds(60) },
      { until: inSeconds(61) },
      { from: inSeconds(1) },
      { reason: 'Ticket 8.' },
      { application: 'shop/mail' },
    ];
    const made = await Promise.all(others.map((other) => grant(other)));
    expect(new Set(made.map(({ id }) => id)).size).toBe(others.length);
  });

  it('is made anew once the one before has ended', async () => {
    const first = await grant();
    await revoke(first.id);
    await server.clock.advance(1000);
    const second = await grant();
    expect(second).toMatchObject({ revocation: null });
    expect(second.id).not.toBe(first.id);
    expect(await list({})).toEqual([first.id, second.id]);
  });

  it('has an end after its beginning, and a beginning that is not past', async () => {
    await expect(grant({ until: inSeconds(0) })).rejects.toMatchObject({
      code: 'invalid-request',
      message: expect.stringContaining('not after its beginning'),
    });
    await expect(grant({ from: inSeconds(60), until: inSeconds(59) })).rejects.toMatchObject({ code: 'invalid-request' });
    await expect(grant({ from: inSeconds(-1) })).rejects.toMatchObject({
      code: 'invalid-request',
      message: expect.stringContaining('which is past'),
    });
    await expect(grant({ from: inSeconds(-10), until: inSeconds(-5) })).rejects.toMatchObject({ code: 'invalid-request' });
    expect(await list({})).toEqual([]);
  });

  it('is for what there is', async () => {
    for (const more of [{ application: 'shop/none' }, { application: newIdentifier('app') }, { volume: 'none' }, { application: 'none/web' }]) {
      await expect(grant(more)).rejects.toMatchObject({ code: 'not-found' });
    }
    await expect(grant({ application: '../web' })).rejects.toMatchObject({ code: 'invalid-name' });
  });

  it('is not made for an application that was revoked', async () => {
    const parameters = { application: 'shop/web' };
    await operator.revokeApplication({ parameters, body: { policy: 'graceful', reason: 'It was broken into.' } });
    await expect(grant()).rejects.toMatchObject({ code: 'wrong-state', message: expect.stringContaining('It was broken into.') });
    await operator.reinstateApplication({ parameters, body: { reason: 'Mended.' } });
    await grant();
  });
});

describe('grants', () => {
  it('are listed by application, by the volumes that they reach, and by project', async () => {
    await operator.createApplication({ body: { project: 'default', name: 'report' } });
    const one = (await grant()).id;
    const all = (await grant({ volume: null })).id;
    const mail = (await grant({ application: 'shop/mail', volume: 'letters' })).id;
    const across = (await grant({ application: 'default/report', volume: 'orders', mode: 'read-only' })).id;
    const elsewhere = (await grant({ application: 'default/report', volume: null })).id;
    const sorted = async (query: object) => (await list(query)).sort();
    expect(await sorted({})).toEqual([one, all, mail, across, elsewhere].sort());
    expect(await sorted({ application: 'shop/web' })).toEqual([one, all].sort());
    expect(await sorted({ volume: 'orders' })).toEqual([one, all, across].sort());
    expect(await sorted({ volume: 'plain' })).toEqual([elsewhere]);
    expect(await sorted({ project: 'shop' })).toEqual([one, all, mail, across].sort());
    expect(await sorted({ project: 'default' })).toEqual([across, elsewhere].sort());
    expect(await sorted({ project: 'shop', volume: 'letters', application: 'shop/mail' })).toEqual([mail]);
    await expect(list({ volume: 'none' })).rejects.toMatchObject({ code: 'not-found' });
  });
});

describe('old grants', () => {
  const day = 86_400_000;

  it('go a month after they ended, and at once with their volume', async () => {
    const lasting = await grant();
    const ended = await grant({ until: inSeconds(60), volume: 'letters' });
    const revoked = await grant({ volume: null });
    const bound = await grant({ volume: 'plain' });
    await revoke(revoked.id);
    await pruneGrants(server.context);
    expect((await list({})).sort()).toEqual([lasting.id, ended.id, revoked.id, bound.id].sort());
    await operator.removeVolume({ parameters: { volume: 'plain' } });
    await pruneGrants(server.context);
    expect((await list({})).sort()).toEqual([lasting.id, ended.id, revoked.id].sort());
    server.clock.setWall(server.clock.wallMilliseconds() + 30 * day + 1);
    await pruneGrants(server.context);
    expect((await list({})).sort()).toEqual([lasting.id, ended.id].sort());
    server.clock.setWall(server.clock.wallMilliseconds() + day);
    await pruneGrants(server.context);
    expect(await list({})).toEqual([lasting.id]);
    expect((await store.list('names/grants/')).entries.map(({ value }) => value)).toEqual([{ id: lasting.id }]);
  });

  it('go by themselves', async () => {
    await grant({ volume: 'plain' });
    await operator.removeVolume({ parameters: { volume: 'plain' } });
    const stop = new AbortController();
    const running = server.run(stop.signal);
    await server.clock.advance(0);
    expect(await list({})).toEqual([]);
    stop.abort();
    await server.clock.advance(0);
    await running;
  });
});
