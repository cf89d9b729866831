import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CrashPoint } from '../../src/agent/context.ts';
import type { Completed, Host } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import { expectClean } from './support/invariants.ts';
import { Records } from './support/records.ts';
import { standsStill, standStillAt, standStillEnvironment } from './support/stand-still.ts';

type Operation = 'create' | 'start' | 'move' | 'remove';

/** In failover.test.ts and snapshots.test.ts. */
type TestedElsewhere = 'diverged-kept' | 'snapshot-recorded' | 'named-snapshot-made' | 'named-snapshot-recorded' | 'revert-reported';

/** Where each place is come to, and during what. The type makes this complete: a new crash point does not compile until it is listed. */
const crashPoints: Record<Exclude<CrashPoint, TestedElsewhere>, { dies: 'source' | 'destination'; during: Operation[] }> = {
  'live-created': { dies: 'destination', during: ['create', 'start', 'move'] },
  'live-reported': { dies: 'destination', during: ['create', 'start', 'move'] },
  'grant-taken': { dies: 'destination', during: ['create', 'start', 'move'] },
  'reference-added': { dies: 'destination', during: ['create', 'start'] },
  mounted: { dies: 'destination', during: ['create', 'start'] },
  'releasing-recorded': { dies: 'source', during: ['start', 'move'] },
  unmounted: { dies: 'source', during: ['start', 'move'] },
  'made-read-only': { dies: 'source', during: ['start', 'move'] },
  'final-snapshot-made': { dies: 'source', during: ['start', 'move'] },
  'release-recorded': { dies: 'source', during: ['start', 'move'] },
  'release-reported': { dies: 'source', during: ['start', 'move'] },
  'snapshot-prepared': { dies: 'destination', during: ['start', 'move'] },
  'stream-begun': { dies: 'destination', during: ['start', 'move'] },
  'stream-received': { dies: 'destination', during: ['start', 'move'] },
  'snapshot-published': { dies: 'destination', during: ['start', 'move'] },
  'marked-ready': { dies: 'destination', during: ['start', 'move'] },
  committed: { dies: 'destination', during: ['start', 'move'] },
  'removal-confirmed': { dies: 'source', during: ['remove'] },
  'copy-deleted': { dies: 'source', during: ['remove'] },
};

let cluster: Cluster;
let serial = 0;

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 3, environment: { all: standStillEnvironment } });
});
afterAll(() => cluster[Symbol.asyncDispose]());

/** Kills the daemon at the place where it stands still, starts it again, and hands back how what was under way has ended. */
async function recover<Result>(host: Host, underWay: Promise<Result>): Promise<Result> {
  await standsStill(host);
  await cluster.restartDaemon(host);
  await cluster.connected();
  return underWay;
}

async function newVolume(host: Host, sizeKilobytes = 2048): Promise<Records> {
  serial += 1;
  const name = `crash${serial}`;
  await cluster.createVolume(host, name);
  await cluster.inContainer(host, name, `dd if=/dev/urandom of=/data/bulk bs=1k count=${sizeKilobytes} 2>/dev/null; sync`);
  const records = new Records(cluster, name);
  await records.append(host, 10);
  return records;
}

/** After whatever happened: the volume is in one place, and starts on either host, with all that was acknowledged. */
async function expectUsable(records: Records, destination: Host, source: Host): Promise<void> {
  await records.append(destination);
  expect(await expectClean(cluster, records.volume)).toBe(destination.name);
  await records.append(source);
  expect(await expectClean(cluster, records.volume)).toBe(source.name);
  await cluster.run(source, 'volume', 'rm', records.volume);
}

async function whileStarting(place: CrashPoint, [source, destination]: readonly [Host, Host], dying: Host): Promise<void> {
  const records = await newVolume(source);
  standStillAt(dying, place);
  const started = await recover<Completed>(dying, records.tryAppend(destination));
  // dockerd repeats a call whose connection broke: the start may succeed after all, or fail; both are right.
  records.note(started);
  await expectUsable(records, destination, source);
}

async function whileMoving(place: CrashPoint, [source, destination]: readonly [Host, Host], dying: Host): Promise<void> {
  const records = await newVolume(source);
  standStillAt(dying, place);
  await records.startWriter(source, 'writer');
  const mover = destination === dying ? source : destination;
  await cluster.run(mover, 'volume', 'move', records.volume, '--to', destination.name, '--detach');
  await records.stopWriter(source, 'writer');
  await recover(dying, Promise.resolve());
  const holder = await expectClean(cluster, records.volume);
  expect([source.name, destination.name]).toContain(holder);
  await expectUsable(records, destination, source);
}

async function whileCreating(place: CrashPoint, host: Host, other: Host): Promise<void> {
  serial += 1;
  const records = new Records(cluster, `crash${serial}`);
  standStillAt(host, place);
  const first = cluster.createVolume(host, records.volume).then(() => records.tryAppend(host));
  const ended = await recover(
    host,
    first.catch(() => null),
  );
  if (ended !== null) records.note(ended);
  await cluster.createVolume(host, records.volume);
  await records.append(host);
  await expectUsable(records, other, host);
}

async function whileRemoving(place: CrashPoint, holder: Host, replica: Host): Promise<void> {
  const records = await newVolume(replica);
  await records.append(holder);
  standStillAt(holder, place);
  const removal = holder.docker('volume', 'rm', records.volume).then(
    () => true,
    () => false,
  );
  await recover(holder, removal);
  await waitUntil(
    'the volume is gone from both hosts',
    async () => {
      await holder.docker('volume', 'rm', records.volume).catch(() => undefined);
      const left = await Promise.all([holder, replica].map((host) => cluster.volumeOn(host, records.volume)));
      const known = await cluster.query<{ items: { name: string }[] }>(holder, '/v1/volumes');
      return left.every((each) => each === undefined) && known.items.every(({ name }) => name !== records.volume);
    },
    60_000,
  );
  const anew = new Records(cluster, records.volume);
  await anew.append(replica);
  expect(anew.acknowledged).toBe(3);
  await cluster.run(replica, 'volume', 'rm', anew.volume);
}

const cases = Object.entries(crashPoints).flatMap(([place, { dies, during }]) =>
  during.map((operation) => ({ place: place as CrashPoint, dies, operation })),
);

describe('kill -9 of an agent between any two durable effects', () => {
  // A start is between two hosts without a name server; in a move the one that dies takes the name server with it.
  test.each(cases)('$operation, the $dies dies at $place', async ({ place, dies, operation }) => {
    const [h1, h2, h3] = [cluster.host('h1'), cluster.host('h2'), cluster.host('h3')];
    switch (operation) {
      case 'start':
        return whileStarting(place, [h2, h3], dies === 'source' ? h2 : h3);
      case 'move':
        return dies === 'source' ? whileMoving(place, [h1, h2], h1) : whileMoving(place, [h2, h1], h1);
      case 'create':
        return whileCreating(place, h2, h3);
      case 'remove':
        return whileRemoving(place, h2, h3);
    }
  });
});
