import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Host } from '../model/records.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { TestNameServer } from './test-name-server.ts';

const sessionMilliseconds = 15_000;
const pool = { driver: 'btrfs', location: '/dev/x', capacityBytes: 1_000_000, usedBytes: 1000 };
let clock: ManualClock;
let store: Store;
let server: TestNameServer;
let stop: { controller: AbortController; done: Promise<void> };
const sessions = new Map<string, string>();
let [h1, h2, h3] = ['', '', ''];

beforeEach(async () => {
  clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  server = await TestNameServer.start(store, clock);
  const controller = new AbortController();
  stop = { controller, done: server.run(controller.signal) };
  [h1, h2, h3] = [await server.addHost('h1'), await server.addHost('h2'), await server.addHost('h3')];
  for (const host of [h1, h2, h3]) sessions.set(host, newIdentifier('ses'));
  await beat(h1, h2, h3);
});

afterEach(async () => {
  stop.controller.abort();
  await clock.advance(0);
  await stop.done;
  await store.close();
});

async function beat(...hosts: string[]): Promise<void> {
  for (const host of hosts) {
    const body = { session: sessions.get(host)!, address: `${host.slice(0, 8)}:1`, version: '1', pool, leases: [], held: [] };
    await server.as(host).heartbeat({ body });
  }
}

/** So much time passes, while these hosts are heard every two seconds. */
async function pass(milliseconds: number, ...hosts: string[]): Promise<void> {
  for (let left = milliseconds; left > 0; left -= 2000) {
    await clock.advance(Math.min(left, 2000));
    await beat(...hosts);
  }
  await clock.advance(200);
}

const create = (name: string, host: string, more: object = {}) => server.as(null).createVolume({ body: { name, host, ...more } });
const get = (name: string) => server.as(null).getVolume({ parameters: { volume: name } });
const movesFrom = async (host: string) => (await server.as(null).listMoves({})).items.filter(({ from }) => from === host);
const removeHost = (host: string, lost = false, abandonVolumes = false) =>
  server.as(null).removeHost({ parameters: { host }, body: { lost, abandonVolumes, ...(lost ? { reason: 'stolen' } : {}) } });
const drain = (host: string) => server.as(null).drainHost({ parameters: { host } });

/** A volume whose holder h1 was replaced by h2, and has kept what it had written as a snapshot. */
async function diverged(): Promise<{ id: string; kept: string }> {
  const { id } = await create('data', h1);
  const [snapshot, kept] = [newIdentifier('snp'), newIdentifier('snp')];
  const takenAt = new Date(clock.wallMilliseconds()).toISOString();
  await server.as(h1).recordSnapshot({ parameters: { volume: id }, body: { epoch: 1, snapshot, bytes: 1, takenAt } });
  await server.as(h2).reportCopy({ parameters: { volume: id }, body: { copy: { kind: 'replica', snapshots: [snapshot] }, seen: 0 } });
  await pass(sessionMilliseconds + 1000, h2, h3);
  await server.as(null).failOver({ parameters: { volume: id }, body: { epoch: 1, reason: 'off', holderIsOff: true } });
  await beat(h1);
  await server.as(h1).recordDiverged({ parameters: { volume: id }, body: { epoch: 1, snapshot: kept } });
  return { id, kept };
}

describe('a host that was removed', () => {
  it('is refused whatever it calls, and its watch ends', async () => {
    const watch = server.as(h3).watch({})[Symbol.asyncIterator]();
    expect((await watch.next()).value).toMatchObject({ type: 'reset' });
    await removeHost('h3');
    const refusal = { code: 'forbidden', hint: expect.stringContaining('supercargo join') as string };
    const rest = async (): Promise<never> => {
      for (;;) if ((await watch.next()).done) throw new Error('the watch ended without saying why');
    };
    await expect(rest()).rejects.toMatchObject(refusal);
    await expect(beat(h3)).rejects.toMatchObject(refusal);
    await expect(server.as(h3).renewCertificate({ body: { request: 'r' } })).rejects.toMatchObject(refusal);
    await expect(server.as(h3).listVolumes({})).rejects.toMatchObject(refusal);
    await expect(server.as(h3).watch({})[Symbol.asyncIterator]().next()).rejects.toMatchObject(refusal);
    expect(await store.get(`state/sessions/${h3}`)).toBeUndefined();
  });

  it('leaves its name to a machine that inherits nothing', async () => {
    await create('data', h1);
    await server
      .as(h2)
      .reportCopy({ parameters: { volume: 'data' }, body: { copy: { kind: 'replica', snapshots: [newIdentifier('snp')] }, seen: 0 } });
    await clock.advance(sessionMilliseconds + 100);
    await beat(h1);
    await removeHost('h2', true);
    const again = await server.addHost('h2');
    expect(again).not.toBe(h2);
    expect((await get('data')).copies).toEqual([]);
  });
});

describe('a host that is lost', () => {
  it('takes volumes along of which there is no other copy if the operator says so, and they are named', async () => {
    const { id } = await create('only', h1);
    await server.as(h2).reportCopy({ parameters: { volume: 'only' }, body: { copy: { kind: 'replica', snapshots: [] }, seen: 0 } });
    await pass(sessionMilliseconds + 1000, h2, h3);
    await expect(removeHost('h1', true)).rejects.toMatchObject({
      code: 'data-missing',
      hint: expect.stringContaining('--abandon-volumes') as string,
    });
    expect(await removeHost('h1', true, true)).toEqual({ failedOver: [], withoutCopy: ['only'] });
    await expect(get('only')).rejects.toMatchObject({ code: 'not-found' });
    // What is left elsewhere, if only a directory, is deleted by its host before the record goes.
    expect(await get(id)).toMatchObject({ placement: { state: 'removing', confirmed: true }, copies: [{ host: h2 }] });
    await server.as(h2).reportCopy({ parameters: { volume: id }, body: { copy: null, seen: 1 } });
    await expect(get(id)).rejects.toMatchObject({ code: 'not-found' });
  });

  it('stays while another copy of its volume is on a host that is only away', async () => {
    const { id } = await create('data', h1);
    const snapshot = newIdentifier('snp');
    const takenAt = new Date(clock.wallMilliseconds()).toISOString();
    await server.as(h1).recordSnapshot({ parameters: { volume: id }, body: { epoch: 1, snapshot, bytes: 1, takenAt } });
    await server.as(h2).reportCopy({ parameters: { volume: id }, body: { copy: { kind: 'replica', snapshots: [snapshot] }, seen: 0 } });
    await pass(sessionMilliseconds + 1000, h3);
    await expect(removeHost('h1', true, true)).rejects.toMatchObject({ code: 'data-missing', message: expect.stringContaining('h2') as string });
    expect((await get('data')).placement).toMatchObject({ state: 'held', host: h1 });
    await beat(h2);
    expect(await removeHost('h1', true)).toEqual({ failedOver: ['data'], withoutCopy: [] });
  });

  it('ends the moves that it was part of', async () => {
    await create('here', h2);
    await server.as(null).createMove({ body: { volume: 'here', to: 'h1' } });
    await pass(sessionMilliseconds + 1000, h2, h3);
    await removeHost('h1', true);
    expect(await get('here')).toMatchObject({ placement: { state: 'held', host: h2 }, copies: [] });
  });
});

describe('a host that stays', () => {
  it('is the one that the name server runs on', async () => {
    const own = await server.addHost('own', true);
    await expect(removeHost('own')).rejects.toMatchObject({ code: 'wrong-state', message: expect.stringContaining('name server') as string });
    expect((await server.as(null).getHost({ parameters: { host: 'own' } })).id).toBe(own);
  });

  it('is one with something that an operator has not decided on yet', async () => {
    const { kept } = await diverged();
    await expect(removeHost('h1')).rejects.toMatchObject({ message: expect.stringContaining(kept) as string });
    await clock.advance(sessionMilliseconds + 100);
    await beat(h2, h3);
    await removeHost('h1', true);
    expect((await get('data')).diverged).toEqual([]);
  });
});

describe('a host that is being removed', () => {
  it('does not get a volume that is made at this moment', async () => {
    const { get } = store;
    const states: string[] = [];
    // Between the last look of the removal and what it writes.
    store.get = async (key) => {
      const entry = await get.call(store, key);
      if (states.length === 0 && key === `state/hosts/${h3}` && (entry?.value as Host | undefined)?.state === 'draining') {
        states.push('making');
        const { placement } = await create('data', 'h3');
        states.push(placement.state);
      }
      return entry;
    };
    await removeHost('h3');
    expect(states).toEqual(['making', 'free']);
    expect((await server.as(null).listHosts({})).items.map(({ name }) => name)).toEqual(['h1', 'h2']);
  });

  it('takes volumes as before if it is not removed after all', async () => {
    const { transact } = store;
    store.transact = async (compares, operations) => {
      if (operations.some((each) => 'delete' in each && each.delete === `state/hosts/${h3}`)) throw new Error('the disk is full');
      return transact.call(store, compares, operations);
    };
    await expect(removeHost('h3')).rejects.toThrow('the disk is full');
    expect(await create('data', 'h3')).toMatchObject({ placement: { state: 'held', host: h3 } });
  });
});

describe('a removed volume whose last copy was on a host that is lost', () => {
  it('is gone with it', async () => {
    const { id } = await create('data', h1);
    const removing = server.as(null).removeVolume({ parameters: { volume: 'data' } });
    await clock.advance(10);
    await server.as(h1).confirmRemoval({ parameters: { volume: id } });
    await removing;
    await pass(sessionMilliseconds + 1000, h2, h3);
    expect((await get(id)).copies).toHaveLength(1);
    await removeHost('h1', true);
    await expect(get(id)).rejects.toMatchObject({ code: 'not-found' });
  });
});

describe('a host that is drained', () => {
  it('keeps its labels, and its state when it gets others', async () => {
    await server.as(null).labelHost({ parameters: { host: 'h1' }, body: { labels: { zone: 'a' } } });
    await drain('h1');
    await server.as(null).labelHost({ parameters: { host: 'h1' }, body: { labels: { zone: 'b' } } });
    expect(await server.as(null).getHost({ parameters: { host: 'h1' } })).toMatchObject({ state: 'draining', labels: { zone: 'b' } });
  });

  it('is refused with the sizes of what fits nowhere, and with the replicas that nobody else can have', async () => {
    await create('big', h1, { sizeBytes: 5 * 1024 * 1024 });
    await expect(drain('h1')).rejects.toMatchObject({ message: expect.stringContaining('"big" (5.0 MiB)') as string });
    const protection = { replicas: 2, intervalMilliseconds: 5000, failover: 'manual' as const };
    const body = { description: '', driver: 'btrfs', sizeBytes: null, maximumSizeBytes: null, protection };
    await server.as(null).putClass({ parameters: { class: 'twice' }, body });
    await create('safe', h1, { class: 'twice' });
    await pass(4000, h1, h2, h3);
    expect((await get('safe')).replicas.sort()).toEqual([h2, h3].sort());
    await expect(drain('h2')).rejects.toMatchObject({ message: expect.stringContaining('replicas of "safe"') as string });
    expect(await server.as(null).getHost({ parameters: { host: 'h2' } })).toMatchObject({ state: 'active' });
  });

  it('takes no volume that is not there yet', async () => {
    await create('here', h1);
    await create('there', h2);
    await drain('h1');
    const code = { code: 'wrong-state', message: expect.stringContaining('being drained') as string };
    await expect(server.as(h1).claimVolume({ parameters: { volume: 'there' } })).rejects.toMatchObject(code);
    await expect(server.as(null).createMove({ body: { volume: 'there', to: 'h1' } })).rejects.toMatchObject(code);
    await expect(server.as(h1).createVolume({ body: { name: 'new', host: h1 } })).rejects.toMatchObject(code);
    expect((await server.as(h1).claimVolume({ parameters: { volume: 'here' } })).volume.name).toBe('here');
    expect(await create('elsewhere', h1)).toMatchObject({ placement: { state: 'free' } });
  });

  it('waits before it tries a move again that has ended without success', async () => {
    await create('data', h1);
    await drain('h1');
    await pass(2000, h1, h2, h3);
    const [move] = await movesFrom(h1);
    await server.as(move!.to).abortMove({ parameters: { move: move!.id }, body: { code: 'pool-full', message: 'full', hint: null } });
    await pass(6000, h1, h2, h3);
    expect(await movesFrom(h1)).toHaveLength(1);
    await pass(60_000, h1, h2, h3);
    expect(await movesFrom(h1)).toHaveLength(2);
  });

  it('goes on with other volumes while some wait for their users', async () => {
    for (const name of ['v1', 'v2', 'v3', 'v4', 'v5']) await create(name, h1);
    await drain('h1');
    await pass(4000, h1, h2, h3);
    const moves = await movesFrom(h1);
    expect(moves).toHaveLength(2);
    const uses = [{ kind: 'container' as const, name: 'db' }];
    for (const { id } of moves) await server.as(h1).blockMove({ parameters: { move: id }, body: { uses } });
    await pass(4000, h1, h2, h3);
    expect(await movesFrom(h1)).toHaveLength(4);
  });
});

describe('what a replaced holder has kept', () => {
  it('is not given up before the volume that is made from it is there', async () => {
    const { kept } = await diverged();
    await server.as(null).createVolume({ body: { name: 'before', from: { volume: 'data', snapshot: kept } } });
    const forget = () => server.as(null).forgetDiverged({ parameters: { volume: 'data', snapshot: kept } });
    await expect(forget()).rejects.toMatchObject({ code: 'wrong-state', message: expect.stringContaining('"before"') as string });
    await expect(server.as(null).removeVolume({ parameters: { volume: 'data' } })).rejects.toMatchObject({ code: 'wrong-state' });
    await server.as(h1).reportCopy({ parameters: { volume: 'before' }, body: { copy: { kind: 'live', snapshots: [kept] }, seen: 0 } });
    await forget();
    expect((await get('data')).diverged).toEqual([]);
  });

  it('becomes a volume where it is, also on a host that is being drained, and nowhere else', async () => {
    const { id, kept } = await diverged();
    const from = { volume: 'data', snapshot: kept };
    await drain('h1');
    await expect(server.as(null).createVolume({ body: { name: 'before', from, host: 'h2' } })).rejects.toMatchObject({ code: 'invalid-request' });
    const made = await server.as(null).createVolume({ body: { name: 'before', from } });
    expect(made).toMatchObject({ placement: { state: 'held', host: h1, base: kept }, origin: { volume: id, snapshot: kept } });
    expect(await server.as(null).createVolume({ body: { name: 'before', from } })).toEqual(made);
    await expect(server.as(null).createVolume({ body: { name: 'data', from } })).rejects.toMatchObject({ code: 'already-exists' });
  });
});
