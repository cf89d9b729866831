import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import type { Move } from '../model/records.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { TestNameServer } from './test-name-server.ts';

let store: Store;
let server: TestNameServer;
let h1: string;
let h2: string;
let h3: string;
let move: Move;

const volume = 'data';
const snapshot = newIdentifier('snp');
const parameters = () => ({ move: move.id });
const getVolume = () => server.as(null).getVolume({ parameters: { volume } });
const release = (host = h1, epoch = 1) => server.as(host).releaseMove({ parameters: parameters(), body: { epoch, snapshot } });
const commit = (host = h2, snapshots = [snapshot]) =>
  server.as(host).commitMove({ parameters: parameters(), body: { copy: { kind: 'replica', snapshots } } });
const abort = (host = h2) => server.as(host).abortMove({ parameters: parameters(), body: { code: 'pool-full', message: 'No room.', hint: null } });

beforeEach(async () => {
  const clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  server = await TestNameServer.start(store, clock);
  [h1, h2, h3] = [await server.addHost('h1'), await server.addHost('h2'), await server.addHost('h3')];
  await server.as(h1).createVolume({ body: { name: volume, host: h1 } });
  const claimed = await server.as(h2).claimVolume({ parameters: { volume } });
  move = claimed.move!;
});

afterEach(() => store.close());

describe('a move', () => {
  it('goes from claim to commit, and every call may be repeated', async () => {
    expect(move).toMatchObject({ from: h1, to: h2, epoch: 1, reason: 'mount', phase: 'copying' });
    for (let time = 0; time < 2; time += 1) expect(await server.as(h2).readyMove({ parameters: parameters() })).toMatchObject({ phase: 'ready' });
    for (let time = 0; time < 2; time += 1) expect(await release()).toMatchObject({ phase: 'released', finalSnapshot: snapshot });
    for (let time = 0; time < 2; time += 1) {
      expect(await commit()).toMatchObject({
        move: { phase: 'committed' },
        volume: { epoch: 2, placement: { state: 'held', host: h2, base: snapshot } },
      });
    }
    expect((await getVolume()).copies).toEqual([{ host: h2, kind: 'replica', snapshots: [snapshot] }]);
    const { items } = await server.as(null).listEvents({ query: { after: 0, limit: 100 } });
    expect(items.map(({ type }) => type).filter((type) => type.startsWith('move.'))).toEqual(['move.started', 'move.committed']);
  });

  it('is joined by the same host and by an operator who wants the same', async () => {
    expect((await server.as(h2).claimVolume({ parameters: { volume } })).move).toEqual(move);
    expect((await server.as(null).createMove({ body: { volume, to: 'h2' } })).move).toMatchObject({ id: move.id, reason: 'operator' });
    await expect(server.as(h3).claimVolume({ parameters: { volume } })).rejects.toMatchObject({ code: 'move-in-progress' });
    await expect(server.as(null).createMove({ body: { volume, to: 'nowhere' } })).rejects.toMatchObject({ code: 'not-found' });
  });

  it('gives each party its own part and nobody else any', async () => {
    const forbidden = { code: 'forbidden' };
    const attempts: (() => Promise<unknown>)[] = [
      () => release(h2),
      () => release(h3),
      () => commit(h1),
      () => commit(h3),
      () => abort(h3),
      () => server.as(h1).readyMove({ parameters: parameters() }),
      () => server.as(h2).blockMove({ parameters: parameters(), body: { uses: [] } }),
      () => server.as(h1).createTicket({ parameters: parameters() }),
      () => server.as(h3).createTicket({ parameters: parameters() }),
      () => server.as(null).releaseMove({ parameters: parameters(), body: { epoch: 1, snapshot } }),
    ];
    for (const attempt of attempts) await expect(attempt()).rejects.toMatchObject(forbidden);
    expect(await server.as(null).getMove({ parameters: parameters() })).toEqual(move);
  });

  it('is not committed before its release, nor without the final snapshot', async () => {
    await expect(commit()).rejects.toMatchObject({ code: 'wrong-state' });
    await release();
    await expect(commit(h2, [newIdentifier('snp')])).rejects.toMatchObject({ code: 'wrong-state' });
    expect(await getVolume()).toMatchObject({ epoch: 1, placement: { state: 'moving' } });
  });

  it('is not released under another epoch', async () => {
    await expect(release(h1, 0)).rejects.toMatchObject({ code: 'stale-epoch' });
    await expect(release(h1, 2)).rejects.toMatchObject({ code: 'stale-epoch' });
  });

  it('keeps what uses the volume until the release', async () => {
    const uses = [{ kind: 'container' as const, name: 'db' }];
    expect(await server.as(h1).blockMove({ parameters: parameters(), body: { uses } })).toMatchObject({ blockedBy: uses });
    expect(await release()).toMatchObject({ blockedBy: [] });
  });

  it('leaves the volume with the source when it ends: under the same epoch before the release, under a new one after', async () => {
    expect(await abort()).toMatchObject({ phase: 'aborted', error: { code: 'pool-full' } });
    expect(await abort(h1)).toMatchObject({ error: { code: 'pool-full' } });
    expect(await getVolume()).toMatchObject({ epoch: 1, placement: { state: 'held', host: h1 } });
    await expect(release()).rejects.toMatchObject({ code: 'wrong-state' });
    move = (await server.as(h2).claimVolume({ parameters: { volume } })).move!;
    await release();
    await server.as(null).cancelMove({ parameters: parameters() });
    expect(await getVolume()).toMatchObject({ epoch: 2, placement: { state: 'held', host: h1 } });
    await expect(commit()).rejects.toMatchObject({ code: 'wrong-state' });
  });

  it('cannot be cancelled after its commit', async () => {
    await release();
    await commit();
    await expect(server.as(null).cancelMove({ parameters: parameters() })).rejects.toMatchObject({ code: 'wrong-state' });
    await expect(server.as(h2).createTicket({ parameters: parameters() })).rejects.toMatchObject({ code: 'wrong-state' });
  });

  it('ends one way only when commit and cancel meet', async () => {
    await release();
    const results = await Promise.allSettled([commit(), server.as(null).cancelMove({ parameters: parameters() }), commit(), abort(h1)]);
    const { placement, epoch } = await getVolume();
    const { phase } = await server.as(null).getMove({ parameters: parameters() });
    expect(epoch).toBe(2);
    expect(placement).toMatchObject(phase === 'committed' ? { state: 'held', host: h2 } : { state: 'held', host: h1 });
    expect(results.some(({ status }) => status === 'rejected')).toBe(true);
  });

  it('gives the destination a ticket for exactly this move', async () => {
    const { ticket } = await server.as(h2).createTicket({ parameters: parameters() });
    expect(JSON.parse(ticket)).toEqual({ move: move.id, volume: move.volume, epoch: 1, source: h1, destination: h2 });
  });

  it('shows the progress that its destination reports, the last time after its end', async () => {
    const body = { round: 1, transferredBytes: 5, totalBytes: 10, bytesPerSecond: 1, totalTransferredBytes: 5 };
    await server.as(h2).reportProgress({ parameters: parameters(), body });
    expect(await server.as(null).getMove({ parameters: parameters() })).toMatchObject({ progress: body });
    await abort();
    await server.as(h2).reportProgress({ parameters: parameters(), body: { ...body, transferredBytes: 9 } });
    expect(await server.as(null).getMove({ parameters: parameters() })).toMatchObject({ phase: 'aborted', progress: { transferredBytes: 9 } });
  });
});

describe('a reclaim', () => {
  it('gives the holder a new epoch once, and nobody else', async () => {
    await abort();
    const reclaim = (host: string) => server.as(host).reclaimVolume({ parameters: { volume }, body: { epoch: 1 } });
    expect(await reclaim(h1)).toMatchObject({ epoch: 2 });
    expect(await reclaim(h1)).toMatchObject({ epoch: 2 });
    await expect(reclaim(h2)).rejects.toMatchObject({ code: 'stale-epoch' });
  });
});
