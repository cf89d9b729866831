import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { unlimitedQuota } from '../model/access.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { defaultProject } from '../model/records.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import type { EventView, WatchMessage } from '../protocol/routes.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { keys } from './keys.ts';
import { TestNameServer } from './test-name-server.ts';

let store: Store;
let server: TestNameServer;
let h1: string;
let client: AbortController;

beforeEach(async () => {
  const clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  server = await TestNameServer.start(store, clock);
  h1 = await server.addHost('h1');
  client = new AbortController();
});

afterEach(async () => {
  client.abort();
  await store.close();
});

const create = (name: string) => server.as(h1).createVolume({ body: { name, host: h1 } });

async function next<Item>(iterator: AsyncIterator<Item>): Promise<Item> {
  const result = await iterator.next();
  if (result.done === true) throw new Error('the stream ended');
  return result.value;
}

describe('a watch', () => {
  const watch = (reader: string | null = h1): AsyncIterator<WatchMessage> =>
    server.as(reader, { signal: client.signal }).watch({})[Symbol.asyncIterator]();

  it('begins with the whole state, then tells every change in order', async () => {
    await create('one');
    const stream = watch();
    expect(await next(stream)).toMatchObject({ type: 'reset', volumes: [{ name: 'one' }], moves: [], hosts: [{ name: 'h1', status: 'down' }] });
    await create('two');
    expect(await next(stream)).toMatchObject({ type: 'volume', volume: { name: 'two' } });
    const h2 = await server.addHost('h2');
    expect(await next(stream)).toMatchObject({ type: 'host', host: { name: 'h2' } });
    await server.as(h2).claimVolume({ parameters: { volume: 'two' } });
    const messages = [await next(stream), await next(stream)];
    expect(messages.map(({ type }) => type).sort()).toEqual(['move', 'volume']);
    const revisions = messages.map(({ revision }) => revision);
    expect(revisions).toEqual([revisions[0], revisions[0]]);
    await create('free');
    await server.as(h1).updateVolume({ parameters: { volume: 'free' }, body: { labels: { a: 'b' } } });
    expect([await next(stream), await next(stream)]).toMatchObject([
      { type: 'volume', volume: { labels: {} } },
      { type: 'volume', volume: { labels: { a: 'b' } } },
    ]);
  });

  it('tells people who may use what', async () => {
    const stream = watch(null);
    expect(await next(stream)).toMatchObject({ projects: [{ name: 'default', requireGrants: false }], applications: [], grants: [], denials: [] });
    const { repository } = server.context;
    const at = repository.now();
    const project = { ...defaultProject, requireGrants: true, quota: unlimitedQuota, createdAt: at };
    const application = { id: newIdentifier('app'), project: project.id, name: 'web', privileged: false, createdAt: at, revocation: null };
    const right = { application: application.id, volume: null, mode: 'read-only', from: at, until: null, reason: 'r', actor: 'operator' };
    const grant = { id: newIdentifier('grt'), ...right, createdAt: at, revocation: null };
    const denial = { id: newIdentifier('dny'), subject: 'host', value: newIdentifier('hst'), reason: 'r', actor: 'operator', at, until: at };
    await repository.transact(async (transaction) => {
      transaction.put(keys.project(project.id), project);
      transaction.put(keys.application(application.id), application);
      transaction.put(keys.grant(grant.id), grant);
      transaction.put(keys.denial(denial.id), denial);
    });
    const messages = [await next(stream), await next(stream), await next(stream), await next(stream)];
    const [{ revision }] = messages as [WatchMessage];
    expect(messages).toContainEqual({ type: 'project', revision, id: project.id, project });
    expect(messages).toContainEqual({ type: 'application', revision, id: application.id, application });
    expect(messages).toContainEqual({ type: 'grant', revision, id: grant.id, grant });
    expect(messages).toContainEqual({ type: 'denial', revision, id: denial.id, denial });
    expect(await next(watch(null))).toMatchObject({ projects: [project], applications: [application], grants: [grant], denials: [denial] });
    await repository.transact(async (transaction) => transaction.delete(keys.grant(grant.id)));
    expect(await next(stream)).toMatchObject({ type: 'grant', id: grant.id, grant: null });
  });

  it('tells of what is removed', async () => {
    await server.as(null).createVolume({ body: { name: 'free' } });
    const stream = watch();
    await next(stream);
    await server.as(null).removeVolume({ parameters: { volume: 'free' } });
    expect(await next(stream)).toMatchObject({ type: 'volume', volume: null });
  });

  it('tells when a host comes and goes', async () => {
    const stream = watch();
    await next(stream);
    await server.as(h1).heartbeat({ body: { session: newIdentifier('ses'), address: 'h1:7472', version: '', pool: null, leases: [], held: [] } });
    expect(await next(stream)).toMatchObject({ type: 'host', host: { name: 'h1', status: 'up' } });
  });

  it('gives a sign of life when nothing happens, and loses nothing by it', async () => {
    const stream = watch();
    await next(stream);
    const alive = next(stream);
    await server.clock.advance(3100);
    expect(await alive).toMatchObject({ type: 'alive' });
    await create('one');
    expect(await next(stream)).toMatchObject({ type: 'volume', volume: { name: 'one' } });
  });

  it('ends when its reader goes away', async () => {
    const stream = watch();
    await next(stream);
    const last = stream.next();
    client.abort();
    expect(await last).toMatchObject({ done: true });
  });

  it('loses nothing of a hundred changes while its reader is slow', async () => {
    const stream = watch();
    await next(stream);
    await Promise.all(Array.from({ length: 100 }, (_, index) => create(`v${index}`)));
    const names = new Set<string>();
    while (names.size < 100) {
      const message = await next(stream);
      if (message.type === 'volume') names.add(message.volume!.name);
    }
    expect(names.size).toBe(100);
  });
});

describe('following events', () => {
  const follow = (last: number): AsyncIterator<EventView | null> =>
    server.as(null, { signal: client.signal }).followEvents({ query: { last } })[Symbol.asyncIterator]();

  it('begins with the last ones and goes on with those that come', async () => {
    await create('one');
    await create('two');
    const stream = follow(1);
    expect(await next(stream)).toMatchObject({ type: 'volume.created', subject: 'two' });
    await create('three');
    expect(await next(stream)).toMatchObject({ type: 'volume.created', subject: 'three', actor: 'h1' });
    const alive = next(stream);
    await server.clock.advance(3100);
    expect(await alive).toBeNull();
  });

  it('begins with none if none are wanted', async () => {
    const stream = follow(0);
    const first = next(stream);
    await server.clock.advance(0);
    await create('one');
    expect(await first).toMatchObject({ subject: 'one' });
  });

  it('is continued where a listing ended', async () => {
    await create('one');
    const { items } = await server.as(null).listEvents({ query: { after: 0, limit: 2 } });
    expect(items).toHaveLength(2);
    const rest = await server.as(null).listEvents({ query: { after: items[1]!.sequence, limit: 100 } });
    expect(rest.items.at(-1)).toMatchObject({ subject: 'one' });
  });
});

describe('a name server that is started again', () => {
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'supercargo-ns-'));
  });

  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it('knows everything that it had acknowledged, and goes on numbering events where it was', async () => {
    const path = join(directory, 'store.db');
    const clock = new ManualClock();
    const first = openSqliteStore({ path, clock });
    const before = await TestNameServer.start(first, clock);
    const [a, b] = [await before.addHost('a'), await before.addHost('b')];
    await before.as(a).createVolume({ body: { name: 'data', host: a } });
    const { move } = await before.as(b).claimVolume({ parameters: { volume: 'data' } });
    await before.as(a).releaseMove({ parameters: { move: move!.id }, body: { epoch: 1, snapshot: newIdentifier('snp') } });
    const state = await first.list('');
    await first.close();

    const second = openSqliteStore({ path, clock });
    const after = await TestNameServer.start(second, clock);
    expect((await second.list('')).entries).toEqual(state.entries);
    await after.as(a).createVolume({ body: { name: 'more', host: a } });
    const { items } = await after.as(null).listEvents({ query: { after: 0, limit: 100 } });
    expect(items.map(({ sequence }) => sequence)).toEqual(Array.from({ length: items.length }, (_, index) => index + 1));
    await second.close();
  });

  it('calls off a removal that the one before still asked for', async () => {
    const created = await create('data');
    server
      .as(null)
      .removeVolume({ parameters: { volume: 'data' } })
      .catch(() => undefined);
    await server.clock.advance(0);
    expect((await server.as(null).getVolume({ parameters: { volume: 'data' } })).placement.state).toBe('removing');
    const after = await TestNameServer.start(store, server.clock);
    expect(await after.as(null).getVolume({ parameters: { volume: 'data' } })).toEqual(created);
    await server.clock.advance(20_000);
  });
});
