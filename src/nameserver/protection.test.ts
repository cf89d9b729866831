import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { TestNameServer } from './test-name-server.ts';

const sessionMilliseconds = 15_000;
const marginMilliseconds = 2000;
const pool = { driver: 'btrfs', location: '/dev/x', capacityBytes: 1_000_000, usedBytes: 100 };
const sessions = new Map<string, string>();
let clock: ManualClock;
let store: Store;
let server: TestNameServer;
let stop: { controller: AbortController; done: Promise<void> };
let h1: string;
let h2: string;
let h3: string;

async function begin(): Promise<void> {
  server = await TestNameServer.start(store, clock);
  const controller = new AbortController();
  stop = { controller, done: server.run(controller.signal) };
}

async function end(): Promise<void> {
  stop.controller.abort();
  await clock.advance(0);
  await stop.done;
}

beforeEach(async () => {
  clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  await begin();
  [h1, h2, h3] = [await server.addHost('h1'), await server.addHost('h2'), await server.addHost('h3')];
  for (const host of [h1, h2, h3]) sessions.set(host, newIdentifier('ses'));
  await beat(h1, h2, h3);
  await server.as(null).putClass({ parameters: { class: 'safe' }, body: classOf('auto') });
  await server.as(null).putClass({ parameters: { class: 'calm' }, body: classOf('manual') });
});

afterEach(async () => {
  await end();
  await store.close();
});

function classOf(failover: 'auto' | 'manual') {
  const protection = { replicas: 1, intervalMilliseconds: 5000, failover };
  return { description: '', driver: 'btrfs', sizeBytes: null, maximumSizeBytes: null, protection };
}

async function beat(...hosts: string[]): Promise<void> {
  for (const host of hosts) {
    const body = { session: sessions.get(host)!, address: `${host.slice(0, 8)}:1`, version: '1', pool, leases: await claimsOf(host), held: [] };
    await server.as(host).heartbeat({ body });
  }
}

async function claimsOf(host: string): Promise<{ volume: string; epoch: number }[]> {
  const { items } = await server.as(null).listVolumes({});
  return items
    .filter(({ placement, protection }) => protection.failover === 'auto' && placement.state === 'held' && placement.host === host)
    .map(({ id, epoch }) => ({ volume: id, epoch }));
}

/** So much time passes, while these hosts are heard every two seconds. */
async function pass(milliseconds: number, ...hosts: string[]): Promise<void> {
  for (let left = milliseconds; left > 0; left -= 2000) {
    await clock.advance(Math.min(left, 2000));
    await beat(...hosts);
  }
  await clock.advance(200);
}

const volumeNow = () => server.as(null).getVolume({ parameters: { volume: 'data' } });
const holder = async () => {
  const { placement } = await volumeNow();
  return placement.state === 'held' ? placement.host : placement.state;
};

const [first, second] = [newIdentifier('snp'), newIdentifier('snp')];

/** A volume that h1 holds, whose history is two snapshots: h2 has both, h3 the first only, which it got later. */
async function replicatedVolume(name: 'safe' | 'calm'): Promise<void> {
  const volume = await server.as(h1).createVolume({ body: { name: 'data', class: name, host: h1 } });
  await beat(h1);
  const parameters = { volume: volume.id };
  for (const snapshot of [first, second]) {
    const takenAt = new Date(clock.wallMilliseconds()).toISOString();
    await server.as(h1).recordSnapshot({ parameters, body: { epoch: 1, snapshot, bytes: 10, takenAt } });
    await clock.advance(1000);
  }
  await server.as(h1).reportCopy({ parameters, body: { copy: { kind: 'live', snapshots: [first, second] }, seen: 0 } });
  await server.as(h2).reportCopy({ parameters, body: { copy: { kind: 'replica', snapshots: [first, second] }, seen: 0 } });
  // What is in no history counts for nothing, however new it is.
  await server
    .as(h3)
    .reportCopy({ parameters, body: { copy: { kind: 'replica', snapshots: [first, newIdentifier('snp'), newIdentifier('snp')] }, seen: 0 } });
}

describe('a holder that is not heard', () => {
  it('keeps its volume until its session and the margin are over; then the newest of the history takes over', async () => {
    await replicatedVolume('safe');
    await beat(h1);
    await pass(sessionMilliseconds, h2, h3);
    expect(await holder()).toBe(h1);
    await pass(marginMilliseconds - 800, h2, h3);
    expect(await holder()).toBe(h1);
    await pass(2000, h2, h3);
    expect(await holder()).toBe(h2);
    expect(await volumeNow()).toMatchObject({
      epoch: 2,
      leasedEpoch: 2,
      placement: { base: second },
      lastFailover: { from: h1, to: h2, fromEpoch: 1, snapshot: second },
    });
  });

  it('keeps it if it is heard within the margin', async () => {
    await replicatedVolume('safe');
    await beat(h1);
    await pass(sessionMilliseconds + 500, h2, h3);
    await beat(h1);
    await pass(sessionMilliseconds - 4000, h2, h3);
    expect(await holder()).toBe(h1);
  });

  it('is given the whole margin again by a name server that has just begun', async () => {
    await replicatedVolume('safe');
    await beat(h1);
    await pass(sessionMilliseconds, h2, h3);
    for (let restarts = 0; restarts < 3; restarts += 1) {
      await pass(marginMilliseconds - 800, h2, h3);
      expect(await holder()).toBe(h1);
      await end();
      await begin();
    }
    await pass(marginMilliseconds + 2000, h2, h3);
    expect(await holder()).toBe(h2);
  });

  it('is given the whole margin again by a name server that stood still, which first has to hear who is there', async () => {
    await replicatedVolume('safe');
    await beat(h1);
    await pass(sessionMilliseconds + 500, h2, h3);
    await clock.standStill(sessionMilliseconds * 2);
    await beat(h3);
    await clock.advance(1200);
    await beat(h2);
    await pass(marginMilliseconds + 1000, h2, h3);
    expect(await volumeNow()).toMatchObject({ epoch: 2, placement: { host: h2, base: second } });
  });

  it('keeps a volume without automatic failover, whatever time passes', async () => {
    await replicatedVolume('calm');
    await pass(sessionMilliseconds * 4, h2, h3);
    expect(await holder()).toBe(h1);
    expect(await server.as(null).getVolumeStatus({ parameters: { volume: 'data' } })).toMatchObject({
      healthy: false,
      next: /volume failover data --to h2/,
    });
  });

  it('keeps a volume that was put under automatic failover without its word', async () => {
    await replicatedVolume('calm');
    await pass(sessionMilliseconds + 1000, h2, h3);
    await server.as(null).putClass({ parameters: { class: 'calm' }, body: classOf('auto') });
    await pass(sessionMilliseconds * 2, h2, h3);
    expect(await holder()).toBe(h1);
    expect(server.defects).toEqual([]);
  });

  it('keeps a volume of which nobody else has a copy, which is told once', async () => {
    await server.as(h1).createVolume({ body: { name: 'data', class: 'safe', host: h1 } });
    await beat(h1);
    await pass(sessionMilliseconds * 3, h2, h3);
    expect(await holder()).toBe(h1);
    const { items } = await server.as(null).listEvents({ query: { after: 0, limit: 1000 } });
    expect(items.filter(({ type }) => type === 'volume.waits')).toHaveLength(1);
  });

  it('loses its open move first', async () => {
    await replicatedVolume('safe');
    await server.as(null).createMove({ body: { volume: 'data', to: 'h3' } });
    await pass(sessionMilliseconds + marginMilliseconds + 3000, h2, h3);
    expect(await holder()).toBe(h2);
  });
});

describe('a holder that was replaced', () => {
  it('is told so by its next heartbeat, adds nothing to the history, and has what it kept listed', async () => {
    await replicatedVolume('safe');
    await pass(sessionMilliseconds + marginMilliseconds + 2000, h2, h3);
    const { id } = await volumeNow();
    const claims = [{ volume: id, epoch: 1 }];
    const body = { session: sessions.get(h1)!, address: 'h1:1', version: '1', pool, leases: claims, held: claims };
    expect(await server.as(h1).heartbeat({ body })).toMatchObject({ leases: [], held: [] });
    const kept = newIdentifier('snp');
    const takenAt = new Date(clock.wallMilliseconds()).toISOString();
    const parameters = { volume: id };
    await expect(server.as(h1).recordSnapshot({ parameters, body: { epoch: 1, snapshot: kept, bytes: 1, takenAt } })).rejects.toMatchObject({
      code: 'stale-epoch',
    });
    for (let time = 0; time < 2; time += 1) await server.as(h1).recordDiverged({ parameters, body: { epoch: 1, snapshot: kept } });
    expect((await volumeNow()).diverged).toMatchObject([{ host: h1, snapshot: kept, epoch: 1 }]);
    const restored = await server.as(null).createVolume({ body: { name: 'kept', from: { volume: 'data', snapshot: kept } } });
    expect(restored).toMatchObject({ placement: { state: 'held', host: h1, base: kept }, origin: { volume: id, snapshot: kept } });
    const forget = () => server.as(null).forgetDiverged({ parameters: { volume: 'data', snapshot: kept } });
    await expect(forget()).rejects.toMatchObject({ code: 'wrong-state' });
    await server.as(h1).reportCopy({ parameters: { volume: restored.id }, body: { copy: { kind: 'live', snapshots: [kept] }, seen: 0 } });
    await forget();
    expect((await volumeNow()).diverged).toEqual([]);
  });
});

describe('an operator', () => {
  const order = (body: { epoch?: number; to?: string; holderIsOff?: boolean }) =>
    server.as(null).failOver({ parameters: { volume: 'data' }, body: { epoch: 1, reason: 'burnt down', holderIsOff: false, ...body } });

  it('cannot take a volume from a host that is up', async () => {
    await replicatedVolume('calm');
    await expect(order({ holderIsOff: true })).rejects.toMatchObject({ code: 'wrong-state', message: 'Host "h1" is up.' });
  });

  it('says that the holder is off, and sees what will be lost before and after', async () => {
    await replicatedVolume('calm');
    await pass(sessionMilliseconds + 1000, h2, h3);
    const preview = await server.as(null).previewFailover({ parameters: { volume: 'data' } });
    expect(preview).toMatchObject({ epoch: 1, holder: 'h1', holderStatus: 'down', automatic: false, candidates: [{ host: 'h2' }, { host: 'h3' }] });
    expect(preview.candidates[0]!.lossMilliseconds).toBeGreaterThan(sessionMilliseconds);
    await expect(order({})).rejects.toMatchObject({ hint: expect.stringContaining('--holder-is-off') as string });
    expect(await order({ to: 'h3', holderIsOff: true })).toMatchObject({
      placement: { host: h3, base: first },
      lineage: [{ snapshot: first }],
      diverged: [
        { host: h1, snapshot: second },
        { host: h2, snapshot: second },
      ],
      lastFailover: { reason: 'burnt down', actor: 'operator' },
    });
  });
});

describe('an order that comes late', () => {
  it('does not hit a later holder', async () => {
    await replicatedVolume('calm');
    await pass(sessionMilliseconds + 1000, h2, h3);
    const order = (to: string) =>
      server.as(null).failOver({ parameters: { volume: 'data' }, body: { epoch: 1, to, reason: 'burnt down', holderIsOff: true } });
    await order('h2');
    await pass(sessionMilliseconds + 1000, h3);
    await expect(order('h3')).rejects.toMatchObject({ code: 'stale-epoch', message: expect.stringContaining('held by h2 under epoch 2') as string });
    expect(await holder()).toBe(h2);
  });
});

describe('replicas', () => {
  it('are put on another host, stay during a short absence, and are made anew after a long one', async () => {
    await replicatedVolume('safe');
    await pass(1000, h1, h2, h3);
    expect((await volumeNow()).replicas).toEqual([h2]);
    await pass(50_000, h1, h3);
    expect((await volumeNow()).replicas).toEqual([h2]);
    await pass(60_000, h1, h3);
    expect((await volumeNow()).replicas).toEqual([h3]);
  });

  it('may be pulled by the hosts that are to have them', async () => {
    await replicatedVolume('safe');
    await pass(1000, h1, h2, h3);
    const { id } = await volumeNow();
    const { ticket, source } = await server.as(h2).createReplicaTicket({ parameters: { volume: id } });
    expect([source, JSON.parse(ticket)]).toEqual([h1, { move: id, volume: id, epoch: 1, source: h1, destination: h2 }]);
    await expect(server.as(h3).createReplicaTicket({ parameters: { volume: id } })).rejects.toMatchObject({ code: 'forbidden' });
  });
});

describe('a host', () => {
  it('that is drained gets nothing new, loses what it has, and can then be removed', async () => {
    await replicatedVolume('safe');
    await expect(server.as(null).removeHost({ parameters: { host: 'h1' }, body: { lost: false, abandonVolumes: false } })).rejects.toMatchObject({
      code: 'wrong-state',
    });
    expect(await server.as(null).drainHost({ parameters: { host: 'h1' } })).toMatchObject({ held: 1 });
    await pass(2000, h1, h2, h3);
    expect((await volumeNow()).placement).toMatchObject({ state: 'moving', from: h1, to: h2 });
    await expect(server.as(h1).createVolume({ body: { name: 'other', host: h1 } })).rejects.toMatchObject({ code: 'wrong-state' });
    await server.as(null).activateHost({ parameters: { host: 'h1' } });
    expect(await server.as(null).getHost({ parameters: { host: 'h1' } })).toMatchObject({ state: 'active' });
  });

  it('is not drained if what it has fits nowhere', async () => {
    await server.as(h1).createVolume({ body: { name: 'big', host: h1, sizeBytes: 5_000_000 } });
    await expect(server.as(null).drainHost({ parameters: { host: 'h1' } })).rejects.toMatchObject({
      message: expect.stringContaining('"big"') as string,
    });
  });

  it('that is given up as lost leaves its volumes to the newest copies, and whoever has its name later inherits nothing', async () => {
    await replicatedVolume('calm');
    const remove = () => server.as(null).removeHost({ parameters: { host: 'h1' }, body: { lost: true, abandonVolumes: false, reason: 'stolen' } });
    await expect(remove()).rejects.toMatchObject({ message: 'Host "h1" is up.' });
    await pass(sessionMilliseconds + 1000, h2, h3);
    expect(await remove()).toMatchObject({ failedOver: ['data'] });
    expect(await holder()).toBe(h2);
    await expect(beat(h1)).rejects.toMatchObject({ code: 'forbidden' });
    const again = await server.addHost('h1');
    expect(again).not.toBe(h1);
    expect(JSON.stringify(await volumeNow())).not.toContain(again);
  });

  it('is not given up while it has the only copy of something', async () => {
    await server.as(h1).createVolume({ body: { name: 'data', host: h1 } });
    await pass(sessionMilliseconds + 1000, h2, h3);
    await expect(
      server.as(null).removeHost({ parameters: { host: 'h1' }, body: { lost: true, abandonVolumes: false, reason: 'stolen' } }),
    ).rejects.toMatchObject({
      code: 'data-missing',
      message: expect.stringContaining('"data"') as string,
    });
    const body = { lost: true, abandonVolumes: true, reason: 'stolen' };
    expect(await server.as(null).removeHost({ parameters: { host: 'h1' }, body })).toEqual({ failedOver: [], withoutCopy: ['data'] });
    await expect(volumeNow()).rejects.toMatchObject({ code: 'not-found' });
    expect((await server.as(null).listHosts({})).items.map(({ name }) => name)).toEqual(['h2', 'h3']);
  });
});
