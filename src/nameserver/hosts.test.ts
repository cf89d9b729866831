import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { TestNameServer } from './test-name-server.ts';

let store: Store;
let server: TestNameServer;
let h1: string;
const stop = { controller: new AbortController(), done: Promise.resolve() };

beforeEach(async () => {
  const clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  server = await TestNameServer.start(store, clock);
  h1 = await server.addHost('h1');
  stop.controller = new AbortController();
  stop.done = server.run(stop.controller.signal);
});

afterEach(async () => {
  stop.controller.abort();
  await stop.done;
  await store.close();
});

const pool = { driver: 'btrfs', location: '/dev/x', capacityBytes: 1000, usedBytes: 100 };
const beat = (session: string, host = h1, used = 100) =>
  server.as(host).heartbeat({ body: { session, address: 'h1:7472', version: '1', pool: { ...pool, usedBytes: used }, leases: [], held: [] } });
const status = async () => (await server.as(null).getHost({ parameters: { host: 'h1' } })).status;
const eventTypes = async () =>
  (await server.as(null).listEvents({ query: { after: 0, limit: 1000 } })).items.map(({ type, subject }) => `${type} ${subject}`);

describe('a host', () => {
  it('is up while it is heard, down after its session, and up again', async () => {
    expect(await status()).toBe('down');
    const session = newIdentifier('ses');
    await beat(session);
    expect(await status()).toBe('up');
    for (let time = 0; time < 3; time += 1) {
      await server.clock.advance(10_000);
      await beat(session);
    }
    expect(await status()).toBe('up');
    await server.clock.advance(15_100);
    expect(await status()).toBe('down');
    await beat(session);
    expect(await status()).toBe('up');
    expect((await eventTypes()).filter((type) => /host\.(up|down)/.test(type))).toEqual(['host.up h1', 'host.down h1', 'host.up h1']);
  });

  it('stays up when its agent starts again before its session ended', async () => {
    await beat(newIdentifier('ses'));
    await server.clock.advance(10_000);
    const second = newIdentifier('ses');
    await beat(second);
    await server.clock.advance(10_000);
    expect(await status()).toBe('up');
    await beat(second);
    expect((await eventTypes()).filter((type) => type.startsWith('host.down'))).toEqual([]);
  });

  it('reports its pool, which is written only when it changed enough', async () => {
    const session = newIdentifier('ses');
    await beat(session);
    const { revision } = await store.list('');
    await beat(session, h1, 104);
    expect((await store.list('')).revision).toBe(revision);
    await beat(session, h1, 200);
    expect(await server.as(null).listHosts({})).toMatchObject({ items: [{ name: 'h1', version: '1', pool: { usedBytes: 200 } }] });
  });

  it('is told the length that its session began with, also by a name server that starts again with a longer one', async () => {
    const session = newIdentifier('ses');
    expect(await beat(session)).toMatchObject({ sessionMilliseconds: 15_000 });
    stop.controller.abort();
    await stop.done;
    server = await TestNameServer.start(store, server.clock, { sessionMilliseconds: 60_000 });
    stop.controller = new AbortController();
    stop.done = server.run(stop.controller.signal);
    expect(await beat(session)).toMatchObject({ sessionMilliseconds: 15_000 });
    expect(await beat(newIdentifier('ses'))).toMatchObject({ sessionMilliseconds: 60_000 });
  });

  it('hears which of the volumes that it had before it was off are its own still', async () => {
    const { id: held } = await server.as(h1).createVolume({ body: { name: 'held', host: 'h1' } });
    const { id: older } = await server.as(h1).createVolume({ body: { name: 'older', host: 'h1' } });
    const { id: free } = await server.as(h1).createVolume({ body: { name: 'free' } });
    const claims = [
      { volume: held, epoch: 1 },
      { volume: older, epoch: 0 },
      { volume: free, epoch: 0 },
      { volume: newIdentifier('vol'), epoch: 1 },
    ];
    const body = { session: newIdentifier('ses'), address: 'h1:7472', version: '1', pool, leases: [], held: claims };
    expect((await server.as(h1).heartbeat({ body })).held).toEqual([{ volume: held, epoch: 1 }]);
  });

  it('is not made by a heartbeat of one that never joined', async () => {
    await expect(beat(newIdentifier('ses'), newIdentifier('hst'))).rejects.toMatchObject({ code: 'forbidden' });
    await expect(
      server.as(null).heartbeat({ body: { session: newIdentifier('ses'), address: 'a:1', version: '1', pool: null, leases: [], held: [] } }),
    ).rejects.toMatchObject({ code: 'forbidden' });
  });
});

describe('joining', () => {
  const invite = async (lifetimeMilliseconds = 60_000) => (await server.as(null).createInvite({ body: { lifetimeMilliseconds } })).token;
  const join = (token: string, name = 'h2', request = 'request 2') => server.as(null).join({ body: { token, name, address: 'h2:7472', request } });
  const refused = { code: 'invalid-token' };

  it('makes a host of whoever has a token, once', async () => {
    const token = await invite();
    const answer = await join(token);
    expect(answer).toMatchObject({
      cluster: { name: 'test' },
      host: { name: 'h2', address: 'h2:7472' },
      nameServer: 'ns:7470',
      authorities: ['authority'],
    });
    expect(answer.certificate).toBe(`certificate of ${answer.host.id}`);
    await expect(join(token, 'h3', 'request 3')).rejects.toMatchObject(refused);
    expect((await server.as(null).listHosts({})).items.map(({ name }) => name)).toEqual(['h1', 'h2']);
  });

  it('gives the same identity again to the same key, for a host that lost the answer', async () => {
    const token = await invite();
    const first = await join(token);
    const again = await join(token);
    expect(again.host).toEqual(first.host);
    expect((await eventTypes()).filter((type) => type === 'host.joined h2')).toHaveLength(1);
  });

  it('lets exactly one in of many who use one token at once', async () => {
    const token = await invite();
    const results = await Promise.allSettled(Array.from({ length: 10 }, (_, index) => join(token, `n${index}`, `request ${index}`)));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });

  it('refuses a token that is wrong, tampered with or expired, with one and the same answer', async () => {
    const token = await invite();
    const flipped = token.slice(0, -1) + (token.endsWith('A') ? 'B' : 'A');
    const answers: unknown[] = [await join(flipped).catch(String)];
    await server.clock.advance(60_000);
    answers.push(await join(token).catch(String));
    expect(new Set(answers).size).toBe(1);
    await expect(join('nonsense')).rejects.toMatchObject({ code: 'invalid-token' });
  });

  it('does not use the token up for a name that is taken or an address that is none', async () => {
    const token = await invite();
    await expect(join(token, 'h1')).rejects.toMatchObject({ code: 'already-exists' });
    await expect(server.as(null).join({ body: { token, name: 'h2', address: 'nowhere', request: 'r' } })).rejects.toMatchObject({
      code: 'invalid-request',
    });
    await expect(join(token, '../x')).rejects.toMatchObject({ code: 'invalid-name' });
    expect((await join(token)).host.name).toBe('h2');
  });

  it('renews certificates of hosts that belong to the cluster', async () => {
    expect(await server.as(h1).renewCertificate({ body: { request: 'new' } })).toMatchObject({ certificate: `certificate of ${h1}` });
    await expect(server.as(newIdentifier('hst')).renewCertificate({ body: { request: 'new' } })).rejects.toMatchObject({ code: 'forbidden' });
    await expect(server.as(null).renewCertificate({ body: { request: 'new' } })).rejects.toMatchObject({ code: 'forbidden' });
  });

  it('keeps no secret that could be used again', async () => {
    const token = await invite();
    const secret = token.split('.').at(-1)!;
    expect(secret.length).toBeGreaterThan(10);
    expect(JSON.stringify(await store.list(''))).not.toContain(secret);
  });
});
