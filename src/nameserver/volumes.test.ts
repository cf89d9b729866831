import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import { unprotected } from '../model/records.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { TestNameServer } from './test-name-server.ts';

let store: Store;
let server: TestNameServer;
let h1: string;
let h2: string;
let h3: string;

beforeEach(async () => {
  const clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  server = await TestNameServer.start(store, clock);
  [h1, h2, h3] = [await server.addHost('h1'), await server.addHost('h2'), await server.addHost('h3')];
});

afterEach(() => store.close());

const volume = 'data';
const create = (name: string, host: string | null, more: object = {}) => server.as(host).createVolume({ body: { name, ...more } });
const createHeld = (host: string) => create(volume, host, { host });

describe('creating', () => {
  it('places the volume at once where it is asked for, else nowhere', async () => {
    expect(await createHeld(h1)).toMatchObject({ epoch: 1, placement: { state: 'held', host: h1, base: null } });
    expect(await create('free', null)).toMatchObject({ epoch: 0, placement: { state: 'free' } });
  });

  it('answers the volume that is there, from whichever host it is asked again', async () => {
    const first = await createHeld(h1);
    expect(await create(volume, h2, { host: h2 })).toEqual(first);
    expect(await create(volume, h2, { class: 'default' })).toEqual(first);
  });

  it('refuses the name with other parameters, naming them', async () => {
    await create(volume, null, { sizeBytes: 1024 });
    await expect(create(volume, null, { sizeBytes: 2048 })).rejects.toMatchObject({
      code: 'already-exists',
      message: expect.stringContaining('1.0 KiB') as string,
    });
    await expect(create(volume, null, { sizeBytes: 1024, class: 'none' })).rejects.toMatchObject({ code: 'invalid-option' });
  });

  it('takes size from the class and keeps to its maximum', async () => {
    const parameters = { class: 'small' };
    const body = { description: '', driver: 'btrfs', sizeBytes: 1024, maximumSizeBytes: 4096, protection: unprotected };
    await server.as(null).putClass({ parameters, body });
    expect(await create('a', null, { class: 'small' })).toMatchObject({ sizeBytes: 1024, class: 'small' });
    expect(await create('b', null, { class: 'small', sizeBytes: 4096 })).toMatchObject({ sizeBytes: 4096 });
    await expect(create('c', null, { class: 'small', sizeBytes: 4097 })).rejects.toMatchObject({
      code: 'invalid-option',
      message: expect.stringContaining('"size"') as string,
    });
    await expect(server.as(null).putClass({ parameters, body: { ...body, sizeBytes: 8192 } })).rejects.toMatchObject({ code: 'invalid-option' });
    expect((await server.as(null).listClasses({})).items.map(({ name }) => name)).toEqual(['default', 'small']);
  });

  it('makes one volume of a hundred parallel creates from three hosts', async () => {
    const hosts = [h1, h2, h3];
    const made = await Promise.all(Array.from({ length: 100 }, (_, index) => create(volume, hosts[index % 3]!, { host: hosts[index % 3] })));
    expect(new Set(made.map(({ id }) => id)).size).toBe(1);
    expect((await server.as(null).listVolumes({})).items).toHaveLength(1);
    const { items } = await server.as(null).listEvents({ query: { after: 0, limit: 1000 } });
    expect(items.filter(({ type }) => type === 'volume.created')).toHaveLength(1);
  });

  it('makes a hundred volumes in parallel, each with its event, in an order without gaps', async () => {
    await Promise.all(Array.from({ length: 100 }, (_, index) => create(`v${index}`, h1, { host: h1 })));
    expect((await server.as(null).listVolumes({})).items).toHaveLength(100);
    const { items } = await server.as(null).listEvents({ query: { after: 0, limit: 1000 } });
    expect(items.filter(({ type }) => type === 'volume.created')).toHaveLength(100);
    expect(items.map(({ sequence }) => sequence)).toEqual(Array.from({ length: items.length }, (_, index) => index + 1));
  });

  it.each(['../x', 'a/b', '', 'x'.repeat(300), 'ü'])('refuses the name %j', async (name) => {
    await expect(create(name, h1)).rejects.toMatchObject({ code: 'invalid-name' });
  });
});

describe('changing', () => {
  it('is refused to whoever read an older state', async () => {
    await createHeld(h1);
    const tags: string[] = [];
    const parameters = { volume };
    await server.as(null, { onEntityTag: (tag) => tags.push(tag) }).getVolume({ parameters });
    const body = { labels: { team: 'a' } };
    expect(await server.as(null, { ifMatch: tags[0]! }).updateVolume({ parameters, body })).toMatchObject(body);
    await expect(server.as(null, { ifMatch: tags[0]! }).updateVolume({ parameters, body })).rejects.toMatchObject({ code: 'precondition-failed' });
    await expect(server.as(null, { ifMatch: tags[0]! }).removeVolume({ parameters })).rejects.toMatchObject({ code: 'precondition-failed' });
    expect(await server.as(null).updateVolume({ parameters, body: { labels: {} } })).toMatchObject({ labels: {} });
  });

  it('finds a volume by name and by identifier, and says so when there is none', async () => {
    const { id } = await createHeld(h1);
    expect(await server.as(h2).getVolume({ parameters: { volume: id } })).toMatchObject({ name: volume });
    for (const word of ['none', newIdentifier('vol'), '../../etc']) {
      await expect(server.as(h2).getVolume({ parameters: { volume: word } })).rejects.toMatchObject({ code: 'not-found' });
    }
  });
});

describe('claiming', () => {
  it('grants a free volume to exactly one of many hosts that ask at once; one other gets a move', async () => {
    await create(volume, null);
    const answers = await Promise.allSettled([h1, h2, h3, h1, h2, h3].map((host) => server.as(host).claimVolume({ parameters: { volume } })));
    const { placement, epoch } = await server.as(null).getVolume({ parameters: { volume } });
    expect(epoch).toBe(1);
    expect(placement.state).toBe('moving');
    const refused = answers.filter((answer) => answer.status === 'rejected');
    for (const { reason } of refused) expect(reason).toMatchObject({ code: 'move-in-progress' });
    expect((await server.as(null).listMoves({})).items).toHaveLength(1);
  });

  it('is for hosts only', async () => {
    await createHeld(h1);
    await expect(async () => server.as(null).claimVolume({ parameters: { volume } })).rejects.toMatchObject({ code: 'forbidden' });
  });

  it('knows what each host has of it; a report that tells nothing new changes no record, and one that is older than the record is refused', async () => {
    await createHeld(h1);
    const parameters = { volume };
    const report = (seen: number, ...snapshots: string[]) =>
      server.as(h2).reportCopy({ parameters, body: { copy: { kind: 'replica', snapshots }, seen } });
    const snapshot = newIdentifier('snp');
    await report(0);
    await report(1, snapshot);
    const { revision } = await store.list('');
    await report(1, snapshot);
    expect((await store.list('')).revision).toBe(revision);
    await expect(report(0)).rejects.toMatchObject({ code: 'wrong-state' });
    expect(await server.as(null).getVolume({ parameters })).toMatchObject({
      copies: [{ host: h2, snapshots: [snapshot] }],
      copyChanges: { [h2]: 2 },
    });
  });

  it('says where a volume is', async () => {
    await createHeld(h1);
    const where = () => server.as(null).where({ parameters: { volume } });
    expect(await where()).toMatchObject({ state: 'held', host: 'h1', address: 'h1:7472', epoch: 1, replicas: [], move: null });
    await server.as(h2).reportCopy({ parameters: { volume }, body: { copy: { kind: 'replica', snapshots: [newIdentifier('snp')] }, seen: 0 } });
    await server.as(h3).claimVolume({ parameters: { volume } });
    expect(await where()).toMatchObject({ state: 'moving', host: 'h1', replicas: ['h2'], move: { to: h3 } });
  });
});

describe('removing', () => {
  const remove = (signal?: AbortSignal) => server.as(null, signal === undefined ? {} : { signal }).removeVolume({ parameters: { volume } });
  const report = async (host: string, copy: { kind: 'live' | 'replica'; snapshots: string[] } | null) => {
    const { copyChanges } = await server.as(host).getVolume({ parameters: { volume: id } });
    return server.as(host).reportCopy({ parameters: { volume: id }, body: { copy, seen: copyChanges[host] ?? 0 } });
  };
  let id: string;

  beforeEach(async () => {
    ({ id } = await createHeld(h1));
    await report(h1, { kind: 'live', snapshots: [] });
  });

  /** Lets the removal come as far as it comes by itself. */
  const settle = () => server.clock.advance(0);

  it('is answered when the holder confirmed; the name is free then, the record goes with the last copy', async () => {
    await report(h2, { kind: 'replica', snapshots: [newIdentifier('snp')] });
    const removed = remove();
    await settle();
    await expect(server.as(h2).confirmRemoval({ parameters: { volume: id } })).rejects.toMatchObject({ code: 'wrong-state' });
    await server.as(h1).confirmRemoval({ parameters: { volume: id } });
    await settle();
    expect(await removed).toEqual({});
    expect((await server.as(null).listVolumes({})).items).toEqual([]);
    const again = await createHeld(h2);
    expect(again.id).not.toBe(id);
    await report(h1, null);
    await report(h2, null);
    await expect(server.as(null).getVolume({ parameters: { volume: id } })).rejects.toMatchObject({ code: 'not-found' });
    expect(await server.as(null).getVolume({ parameters: { volume } })).toEqual(again);
  });

  it('is refused in the words of the holder, and the volume stays', async () => {
    const removed = remove();
    await settle();
    await expect(server.as(h2).refuseRemoval({ parameters: { volume: id }, body: { uses: [] } })).rejects.toMatchObject({ code: 'forbidden' });
    await server.as(h1).refuseRemoval({ parameters: { volume: id }, body: { uses: [{ kind: 'container', name: 'db' }] } });
    await expect(removed).rejects.toMatchObject({ code: 'volume-in-use', message: 'Volume "data" is in use on h1 by container db.' });
    expect(await server.as(null).getVolume({ parameters: { volume } })).toMatchObject({ epoch: 1, placement: { state: 'held', host: h1 } });
  });

  it('is given up when the holder is silent, and the volume stays', async () => {
    const removed = remove();
    removed.catch(() => undefined);
    await server.clock.advance(14_900);
    expect((await server.as(null).getVolume({ parameters: { volume } })).placement.state).toBe('removing');
    await server.clock.advance(200);
    await expect(removed).rejects.toMatchObject({ code: 'host-unreachable', message: expect.stringContaining('h1') as string });
    expect(await server.as(null).getVolume({ parameters: { volume } })).toMatchObject({ placement: { state: 'held', host: h1 } });
    await expect(server.as(h1).confirmRemoval({ parameters: { volume: id } })).rejects.toMatchObject({ code: 'wrong-state' });
  });

  it('may be asked for by several at once', async () => {
    const removed = [remove(), remove(), remove()];
    await settle();
    await server.as(h1).confirmRemoval({ parameters: { volume: id } });
    await server.as(h1).confirmRemoval({ parameters: { volume: id } });
    await settle();
    expect(await Promise.all(removed)).toEqual([{}, {}, {}]);
  });

  it('of a free volume is over at once; of a moving one it is refused', async () => {
    await create('free', null);
    await server.as(null).removeVolume({ parameters: { volume: 'free' } });
    await expect(server.as(null).getVolume({ parameters: { volume: 'free' } })).rejects.toMatchObject({ code: 'not-found' });
    await server.as(h2).claimVolume({ parameters: { volume } });
    await expect(remove()).rejects.toMatchObject({ code: 'move-in-progress' });
  });

  it('does not leave the volume half removed when the caller goes away before the holder answers', async () => {
    const caller = new AbortController();
    const removed = remove(caller.signal);
    removed.catch(() => undefined);
    await settle();
    caller.abort(new Error('gone'));
    await server.clock.advance(60_000);
    const { placement } = await server.as(null).getVolume({ parameters: { volume } });
    expect(placement.state).toBe('held');
  });
});
