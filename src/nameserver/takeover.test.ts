import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import { newVolume } from '../model/new-volume.ts';
import { volumeRecord } from '../model/records.ts';
import type { Volume } from '../model/records.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { ClusterMirror } from './cluster-mirror.ts';
import { keys } from './keys.ts';
import { endLostMove, takeOver } from './takeover.ts';
import type { TakeoverRequest } from './takeover.ts';
import { TestNameServer } from './test-name-server.ts';

let clock: ManualClock;
let store: Store;
let server: TestNameServer;
let [h1, h2] = ['', ''];
let volume: Volume;

/** Held by h1, which is not heard, with a replica on h2, which is. */
beforeEach(async () => {
  clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  server = await TestNameServer.start(store, clock);
  [h1, h2] = [await server.addHost('h1'), await server.addHost('h2')];
  const createdAt = new Date(clock.wallMilliseconds()).toISOString();
  const snapshot = newIdentifier('snp');
  volume = newVolume({
    id: newIdentifier('vol'),
    name: 'data',
    createdAt,
    epoch: 3,
    leasedEpoch: 3,
    placement: { state: 'held', host: h1, base: null },
    protection: { replicas: 1, intervalMilliseconds: 10_000, failover: 'auto' },
    replicas: [h2],
    lineage: [{ snapshot, epoch: 3, takenAt: createdAt, bytes: 1 }],
    copies: [{ host: h2, kind: 'replica', snapshots: [snapshot] }],
  });
  await put(volume);
  await setSession(h2, true);
});

afterEach(() => store.close());

const put = (changed: Volume) => store.transact([], [{ put: keys.volume(changed.id), value: changed }]);
const setSession = (host: string, up: boolean) =>
  store.transact([], [up ? { put: keys.session(host), value: { session: newIdentifier('ses') } } : { delete: keys.session(host) }]);
const attempt = (more: Partial<TakeoverRequest> = {}) =>
  takeOver(server.context, { volume: volume.id, epoch: 3, from: h1, to: h2, actor: 'name server', reason: 'tried', ...more });
const recorded = async () => volumeRecord.parse((await store.get(keys.volume(volume.id)))?.value);
const refused = { code: 'wrong-state' };

describe('a takeover', () => {
  it('is one change, with what is lost at most in its event', async () => {
    await clock.advance(12_000);
    expect(await attempt()).toMatchObject({ epoch: 4, leasedEpoch: 4, placement: { state: 'held', host: h2 } });
    const { items } = await server.as(null).listEvents({ query: { after: 0, limit: 100 } });
    expect(items.at(-1)).toMatchObject({ type: 'volume.failed-over', message: expect.stringContaining('written in the last 12 s') as string });
  });

  it.each<[string, () => Promise<unknown>, Partial<TakeoverRequest>]>([
    ['the holder is heard again', () => setSession(h1, true), {}],
    ['the holder is heard again, whatever an operator says', () => setSession(h1, true), { holderIsOff: true }],
    ['the destination is not heard any more', () => setSession(h2, false), {}],
    ['the holder has made no promise under this epoch', () => put({ ...volume, leasedEpoch: 2 }), {}],
    ['no machine may decide any more', () => put({ ...volume, protection: { ...volume.protection, failover: 'manual' } }), {}],
    ['its holder has it under another epoch', () => put({ ...volume, epoch: 4, leasedEpoch: 4 }), {}],
    ['it has another holder', () => put({ ...volume, placement: { state: 'held', host: h2, base: null } }), {}],
    [
      'another copy is the better one by now',
      () => put({ ...volume, labels: { changed: 'yes' } }),
      { stillRight: (now) => now.labels['changed'] === undefined },
    ],
  ])('does not happen if %s', async (_, change, more) => {
    await change();
    const before = await recorded();
    await expect(attempt(more)).rejects.toMatchObject(refused);
    expect(await recorded()).toEqual(before);
  });

  it.each<[string, (host: { h1: string; h2: string }) => string, boolean]>([
    ['the holder is heard', (hosts) => hosts.h1, true],
    ['the destination is not heard', (hosts) => hosts.h2, false],
  ])('does not happen if %s between its looks and its change', async (_, which, up) => {
    const { transact } = store;
    let raced = false;
    store.transact = async (compares, operations) => {
      if (!raced && operations.some((each) => 'put' in each && each.put === keys.volume(volume.id))) {
        raced = true;
        await setSession(which({ h1, h2 }), up);
      }
      return transact.call(store, compares, operations);
    };
    await expect(attempt()).rejects.toMatchObject(refused);
    expect(raced).toBe(true);
    expect(await recorded()).toEqual(volume);
  });
});

describe('the end of a move whose source is lost', () => {
  it('gives the volume back to the source, unless it is heard again', async () => {
    await setSession(h1, true);
    const { move } = await server.as(null).createMove({ body: { volume: volume.id, to: h2 } });
    const end = () => endLostMove(server.context, move!.id, 'name server', 'A replica takes over.');
    await expect(end()).rejects.toMatchObject(refused);
    await setSession(h1, false);
    await end();
    await end();
    expect(await recorded()).toMatchObject({ epoch: 3, placement: { state: 'held', host: h1 } });
  });
});

describe('the time that a host is known to be away', () => {
  it('begins anew with every session that ends', async () => {
    const mirror = new ClusterMirror(server.context);
    const stop = new AbortController();
    const following = mirror.follow(stop.signal, () => undefined);
    const away = () => mirror.hosts.find(({ id }) => id === h1)?.downMilliseconds;
    await clock.advance(5000);
    expect(away()).toBe(5000);
    await setSession(h1, true);
    await clock.advance(1000);
    expect(away()).toBeNull();
    await setSession(h1, false);
    await clock.advance(1000);
    expect(away()).toBe(1000);
    stop.abort();
    await following;
  });

  it('begins anew with a session that was over before anybody looked', async () => {
    const mirror = new ClusterMirror(server.context);
    const { promise, resolve } = Promise.withResolvers<void>();
    const change = { key: keys.session(h1), revision: 1 };
    store.watch = async function* () {
      await promise;
      yield [
        { ...change, value: { session: newIdentifier('ses') } },
        { ...change, value: undefined },
      ];
    };
    const following = mirror.follow(new AbortController().signal, () => undefined);
    await clock.advance(5000);
    resolve();
    await following;
    expect(mirror.hosts.find(({ id }) => id === h1)?.downMilliseconds).toBe(0);
  });
});
