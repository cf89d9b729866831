import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { TestNameServer } from './test-name-server.ts';

let clock: ManualClock;
let store: Store;
let server: TestNameServer;
let h1: string;
let h2: string;
let id: string;

beforeEach(async () => {
  clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  server = await TestNameServer.start(store, clock);
  [h1, h2] = [await server.addHost('h1'), await server.addHost('h2')];
  id = (await server.as(null).createVolume({ body: { name: 'data', host: 'h1' } })).id;
  await server.as(h1).reportCopy({ parameters: { volume: id }, body: { copy: { kind: 'live', snapshots: [] }, seen: 0 } });
});

afterEach(() => store.close());

const parameters = { volume: 'data' };
const volumeNow = () => server.as(null).getVolume({ parameters });
const want = (name: string | undefined, more: object = {}) =>
  server
    .as(null)
    .createSnapshot({ parameters, body: { ...(name === undefined ? {} : { name }), description: '', labels: {}, waitMilliseconds: 0, ...more } });
const inspect = (snapshot: string) => server.as(null).getSnapshot({ parameters: { volume: 'data', snapshot } });
const remove = (snapshot: string) => server.as(null).deleteSnapshot({ parameters: { volume: 'data', snapshot } });

/** As the holder does it. @returns what it is called on the disk */
async function take(request: string, host = h1): Promise<string> {
  const { lineage, epoch } = await volumeNow();
  const snapshot = newIdentifier('snp');
  const takenAt = new Date(clock.wallMilliseconds()).toISOString();
  const body = { epoch, snapshot, after: lineage.at(-1)?.snapshot ?? null, takenAt };
  await server.as(host).recordSnapshotTaken({ parameters: { volume: id, snapshot: request }, body });
  return snapshot;
}

async function beat(host: string): Promise<void> {
  const body = { session: newIdentifier('ses'), address: 'h:1', version: '1', pool: null, leases: [], held: [] };
  await server.as(host).heartbeat({ body });
}

describe('a snapshot that is asked for', () => {
  it('is answered when its holder has taken it, and the same again', async () => {
    const { id: request } = await want('a');
    const answer = want('a', { waitMilliseconds: 30_000 });
    const snapshot = await take(request);
    expect(await answer).toMatchObject({ state: 'taken', snapshot, hosts: ['h1'], explanation: null, volume: 'data', name: 'a' });
    expect(await want('a')).toMatchObject({ id: request, snapshot });
    expect(await inspect(snapshot)).toMatchObject({ name: 'a' });
  });

  it('waits for a holder that is away, and says so', async () => {
    expect(await want('a')).toMatchObject({
      state: 'waiting',
      explanation: expect.stringContaining('h1 holds the volume and does not answer') as string,
    });
    await beat(h1);
    expect(await inspect('a')).toMatchObject({ state: 'waiting', explanation: 'h1 is about to take it' });
  });

  it('gets a name of its own without one', async () => {
    const names = [(await want(undefined)).name, (await want(undefined)).name];
    expect(names[0]).toMatch(/^\d{4}-\d\d-\d\d-\d{6}$/);
    expect(names[1]).toBe(`${names[0]}-2`);
  });

  it('is refused under a name that is none, and of a volume that nobody ever used', async () => {
    await expect(want('a@b')).rejects.toMatchObject({ code: 'invalid-name' });
    await server.as(null).createVolume({ body: { name: 'free' } });
    const call = { parameters: { volume: 'free' }, body: { description: '', labels: {}, waitMilliseconds: 0 } };
    await expect(server.as(null).createSnapshot(call)).rejects.toMatchObject({ code: 'wrong-state' });
  });

  it('says what its holder could not do, and waits again when it is asked for again', async () => {
    const { id: request } = await want('a');
    const body = { epoch: 1, code: 'pool-full', message: 'No room.', hint: null };
    const call = { parameters: { volume: id, snapshot: request }, body };
    await expect(server.as(h2).recordSnapshotFailed(call)).rejects.toMatchObject({ code: 'stale-epoch' });
    for (let time = 0; time < 2; time += 1) await server.as(h1).recordSnapshotFailed(call);
    expect(await inspect('a')).toMatchObject({ state: 'failed', explanation: 'No room.' });
    await beat(h1);
    expect(await server.as(null).getVolumeStatus({ parameters })).toMatchObject({ blockedBy: expect.stringContaining('data@a') as string });
    expect(await want('a')).toMatchObject({ state: 'waiting', id: request });
  });
});

describe('a snapshot that was taken', () => {
  it('goes when it is deleted, in whatever order, and a second time is not found', async () => {
    const requests = [await want('a'), await want('b'), await want('c')];
    const taken: string[] = [];
    for (const request of requests) taken.push(await take(request.id));
    await remove('b');
    await remove(taken[0]!);
    await expect(remove('b')).rejects.toMatchObject({ code: 'not-found' });
    expect((await server.as(null).listSnapshots({ query: {} })).items.map(({ name }) => name)).toEqual(['c']);
    const events = (await server.as(null).listEvents({ query: { after: 0, limit: 100 } })).items.map(({ type }) => type);
    expect(events.filter((type) => type.startsWith('snapshot.'))).toEqual(
      ['requested', 'requested', 'requested', 'taken', 'taken', 'taken', 'deleted', 'deleted'].map((each) => `snapshot.${each}`),
    );
  });

  it('is lost, and said to be, when no host has it any more', async () => {
    await take((await want('a')).id);
    const { copyChanges } = await volumeNow();
    await server.as(h1).reportCopy({ parameters, body: { copy: { kind: 'live', snapshots: [] }, seen: copyChanges[h1] ?? 0 } });
    expect(await inspect('a')).toMatchObject({ state: 'lost', hosts: [] });
    await beat(h1);
    expect(await server.as(null).getVolumeStatus({ parameters })).toMatchObject({
      healthy: false,
      next: expect.stringContaining('snapshot rm data@a') as string,
    });
  });

  it('keeps its host in the cluster where no other one has it', async () => {
    const snapshot = await take((await want('a')).id);
    await server.as(h2).reportCopy({ parameters, body: { copy: { kind: 'replica', snapshots: [snapshot] }, seen: 0 } });
    const { copyChanges } = await volumeNow();
    await server.as(h1).reportCopy({ parameters, body: { copy: { kind: 'live', snapshots: [] }, seen: copyChanges[h1] ?? 0 } });
    await expect(server.as(null).removeHost({ parameters: { host: 'h2' }, body: { lost: false, abandonVolumes: false } })).rejects.toMatchObject({
      code: 'wrong-state',
      message: expect.stringContaining('data@a') as string,
    });
  });

  it('gets its size from the holder only', async () => {
    const { id: request } = await want('a');
    const snapshot = await take(request);
    const call = { parameters: { volume: id, snapshot }, body: { bytes: 7 } };
    await expect(server.as(h2).recordSnapshotBytes(call)).rejects.toMatchObject({ code: 'stale-epoch' });
    await server.as(h1).recordSnapshotBytes(call);
    expect(await inspect('a')).toMatchObject({ bytes: 7 });
  });
});

describe('a volume that is made from a snapshot', () => {
  const clone = (name: string, from: { volume: string; snapshot?: string }, more: object = {}, caller: string | null = null) =>
    server.as(caller).createVolume({ body: { name, from, ...more } });
  const replica = (host: string, snapshots: string[]) =>
    server.as(host).reportCopy({ parameters, body: { copy: { kind: 'replica', snapshots }, seen: 0 } });

  it('begins on the caller if that has it, else on the holder, and is the same when it is asked for again', async () => {
    await Promise.all([beat(h1), beat(h2)]);
    const snapshot = await take((await want('a')).id);
    const made = await clone('one', { volume: 'data', snapshot: 'a' }, {}, h2);
    expect(made).toMatchObject({
      epoch: 1,
      placement: { state: 'held', host: h1, base: snapshot },
      origin: { volume: id, snapshot, title: 'data@a' },
    });
    expect(await clone('one', { volume: 'data', snapshot: 'a' }, {}, h1)).toEqual(made);
    await replica(h2, [snapshot]);
    expect(await clone('two', { volume: 'data', snapshot }, {}, h2)).toMatchObject({ placement: { host: h2 } });
    expect(await clone('three', { volume: 'data', snapshot: 'a' })).toMatchObject({ placement: { host: h1 } });
    expect(await clone('four', { volume: 'data', snapshot: 'a' }, { host: 'h2' })).toMatchObject({ placement: { host: h2 } });
  });

  it('is known by how it was asked for, also when what it was made from is gone', async () => {
    await beat(h1);
    await take((await want('a')).id);
    const made = await clone('one', { volume: 'data', snapshot: 'a' });
    await expect(remove('a')).rejects.toMatchObject({ code: 'wrong-state', message: expect.stringContaining('"one"') as string });
    await server.as(h1).reportCopy({ parameters: { volume: 'one' }, body: { copy: { kind: 'live', snapshots: [] }, seen: 0 } });
    await remove('a');
    expect(await clone('one', { volume: 'data', snapshot: 'a' })).toMatchObject({ id: made.id });
    for (const from of [{ volume: 'data' }, { volume: 'one' }]) await expect(clone('one', from)).rejects.toMatchObject({ code: 'already-exists' });
    await expect(clone('one', { volume: 'data', snapshot: 'b' })).rejects.toMatchObject({ code: 'not-found' });
  });

  it('cannot begin with what was not taken, is on no host, or on none that answers', async () => {
    const { id: request } = await want('a');
    await expect(clone('one', { volume: 'data', snapshot: 'a' })).rejects.toMatchObject({ code: 'wrong-state' });
    const snapshot = await take(request);
    await expect(clone('one', { volume: 'data', snapshot: 'a' })).rejects.toMatchObject({ code: 'host-unreachable' });
    await expect(clone('one', { volume: 'data', snapshot }, { host: 'h2' })).rejects.toMatchObject({ code: 'invalid-request' });
    const { copyChanges } = await volumeNow();
    await server.as(h1).reportCopy({ parameters, body: { copy: { kind: 'live', snapshots: [] }, seen: copyChanges[h1] ?? 0 } });
    await expect(clone('one', { volume: 'data', snapshot: 'a' })).rejects.toMatchObject({ code: 'data-missing' });
  });

  it('has a snapshot taken first, without one, which goes again if nothing comes of it', async () => {
    await beat(h1);
    const made = clone('one', { volume: 'data' });
    const wanted = await until(async () => (await volumeNow()).snapshots[0]);
    expect(wanted).toMatchObject({ kind: 'safety', name: 'safety-2026-01-01-000000' });
    const snapshot = await take(wanted.id);
    expect(await made).toMatchObject({ placement: { base: snapshot }, origin: { title: 'data' } });
    const again = await clone('one', { volume: 'data' });
    expect(again).toEqual(await made);
    expect((await volumeNow()).snapshots).toHaveLength(1);

    const tooLarge = clone('two', { volume: 'data' }, { class: 'none' });
    const second = await until(async () => (await volumeNow()).snapshots[1]);
    const refused = tooLarge.catch((error: unknown) => error);
    await take(second.id);
    expect(await refused).toMatchObject({ code: 'invalid-option' });
    const late = clone('three', { volume: 'data' });
    await until(async () => (await volumeNow()).snapshots[1]);
    const givenUp = late.catch((error: unknown) => error);
    await clock.advance(20_000);
    expect(await givenUp).toMatchObject({ code: 'host-unreachable' });
    expect((await volumeNow()).snapshots).toHaveLength(1);
  });

  it('is as large as its source, and stays in its project', async () => {
    await beat(h1);
    const { id: project } = await server.as(null).createProject({ body: { name: 'shop' } });
    const source = await server.as(null).createVolume({ body: { name: 'source', host: 'h1', project: 'shop', sizeBytes: 4096 } });
    const at = { volume: source.id };
    await server.as(h1).reportCopy({ parameters: at, body: { copy: { kind: 'live', snapshots: [] }, seen: 0 } });
    const body = { name: 'a', description: '', labels: {}, waitMilliseconds: 0 };
    const { id: request } = await server.as(null).createSnapshot({ parameters: at, body });
    const takenAt = new Date(clock.wallMilliseconds()).toISOString();
    const taken = { epoch: 1, snapshot: newIdentifier('snp'), after: null, takenAt };
    await server.as(h1).recordSnapshotTaken({ parameters: { volume: source.id, snapshot: request }, body: taken });
    expect(await clone('one', { volume: 'source', snapshot: 'a' })).toMatchObject({ project, sizeBytes: 4096 });
    await expect(clone('two', { volume: 'source', snapshot: 'a' }, { project: 'default' })).rejects.toMatchObject({ code: 'forbidden' });
  });
});

describe('a volume that is to go back to a snapshot', () => {
  const revert = (snapshot: string) =>
    server
      .as(null)
      .revertVolume({ parameters, body: { snapshot } })
      .catch((error: unknown) => error);
  const asked = () => until(async () => (await volumeNow()).reverting ?? undefined);
  const commit = (snapshot: string, epoch = 1) => server.as(h1).commitRevert({ parameters: { volume: id }, body: { epoch, snapshot } });

  it('is answered when its holder has closed it', async () => {
    const target = await take((await want('a')).id);
    const [answers, last] = [[revert('a'), revert('a')], newIdentifier('snp')];
    expect(await asked()).toMatchObject({ snapshot: target });
    for (let time = 0; time < 2; time += 1) await commit(last);
    for (const answer of answers) expect(await answer).toMatchObject({ epoch: 2, placement: { base: target }, reverting: null });
    expect(await inspect('safety-2026-01-01-000000')).toMatchObject({
      snapshot: last,
      hosts: ['h1'],
      description: expect.stringContaining('back to a') as string,
    });
  });

  it('is refused with the word of the holder, which is not remembered', async () => {
    await take((await want('a')).id);
    const answer = revert('a');
    await asked();
    const body = { epoch: 1, code: 'volume-in-use', message: 'In use by container db.', hint: 'Stop it.' };
    await server.as(h1).refuseRevert({ parameters: { volume: id }, body });
    expect(await answer).toMatchObject({ code: 'volume-in-use', message: 'In use by container db.', hint: 'Stop it.' });
    expect(await volumeNow()).toMatchObject({ reverting: null, epoch: 1 });
  });

  it('is called off after a while, by a move, and by the end of the name server', async () => {
    await take((await want('a')).id);
    const late = revert('a');
    await asked();
    await clock.advance(20_000);
    expect(await late).toMatchObject({ code: 'host-unreachable' });
    await expect(commit(newIdentifier('snp'))).rejects.toMatchObject({ code: 'wrong-state' });

    const moved = revert('a');
    await asked();
    const { move } = await server.as(null).createMove({ body: { volume: 'data', to: 'h2' } });
    expect(await moved).toMatchObject({ code: 'wrong-state' });
    await server.as(null).cancelMove({ parameters: { move: move!.id } });

    void revert('a');
    await asked();
    await TestNameServer.start(store, clock);
    expect(await volumeNow()).toMatchObject({ reverting: null });
  });
});

async function until<Found>(look: () => Promise<Found | undefined>): Promise<Found> {
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
  }
}
