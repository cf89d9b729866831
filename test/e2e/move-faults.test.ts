import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CrashPoint } from '../../src/agent/context.ts';
import type { Routes } from '../../src/protocol/routes.ts';
import { CloningFolder } from '../../testbed/cloning-folder.ts';
import type { Completed, Host } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import { expectClean, volumeRecord } from './support/invariants.ts';
import { seededRandom } from './support/random.ts';
import { Records } from './support/records.ts';
import { callOff, goOn, standsStill, standStillAt, standStillEnvironment } from './support/stand-still.ts';
import { pause } from './support/timing.ts';
import { Writer } from './support/writers.ts';

const parties = ['source', 'destination', 'name server'] as const;
type Party = (typeof parties)[number];
const deaths = ['kill -9', 'power off'] as const;
type Death = (typeof deaths)[number];

/** What a party has done last when it stands still: a crash point of an agent, or an answer that the name server is about to give. */
type Place = CrashPoint | keyof Routes;

interface Step {
  place: Place;
  /** Who stands still there. */
  at: Party;
  /** While the container still writes on the source, or when it has stopped and one starts at the destination. */
  while: 'written' | 'stopped';
}

/** A planned move from its order to the answer to the container that starts at its end: every place between two durable effects, in this order. */
const steps: Step[] = [
  { place: 'createMove', at: 'name server', while: 'written' },
  { place: 'snapshot-prepared', at: 'destination', while: 'written' },
  { place: 'stream-begun', at: 'destination', while: 'written' },
  { place: 'stream-received', at: 'destination', while: 'written' },
  { place: 'snapshot-published', at: 'destination', while: 'written' },
  { place: 'readyMove', at: 'name server', while: 'written' },
  { place: 'marked-ready', at: 'destination', while: 'written' },
  { place: 'releasing-recorded', at: 'source', while: 'stopped' },
  { place: 'unmounted', at: 'source', while: 'stopped' },
  { place: 'made-read-only', at: 'source', while: 'stopped' },
  { place: 'final-snapshot-made', at: 'source', while: 'stopped' },
  { place: 'release-recorded', at: 'source', while: 'stopped' },
  { place: 'releaseMove', at: 'name server', while: 'stopped' },
  { place: 'release-reported', at: 'source', while: 'stopped' },
  { place: 'commitMove', at: 'name server', while: 'stopped' },
  { place: 'committed', at: 'destination', while: 'stopped' },
  { place: 'live-created', at: 'destination', while: 'stopped' },
  { place: 'reportCopy', at: 'name server', while: 'stopped' },
  { place: 'live-reported', at: 'destination', while: 'stopped' },
  { place: 'grant-taken', at: 'destination', while: 'stopped' },
  { place: 'reference-added', at: 'destination', while: 'stopped' },
  { place: 'mounted', at: 'destination', while: 'stopped' },
];

/** So often each step is run with each victim and death; 0: once, with one of them by chance. */
const runs = Number(process.env['E2E_MOVE_FAULT_RUNS'] ?? 0);
/** Chooses victims and deaths; played again with E2E_SEED. */
const seed = Number(process.env['E2E_SEED'] ?? Date.now() % 1_000_000);
/** For how long the name server stays away in the middle of a move. Seconds. */
const awaySeconds = Number(process.env['E2E_AWAY_SECONDS'] ?? 20);

interface Case extends Step {
  dies: Party;
  how: Death;
  run: number;
}

const random = seededRandom(seed);
const cases = steps.flatMap((step) => (runs === 0 ? [byChance(step)] : everyWay(step)));

function byChance(step: Step): Case {
  return { ...step, dies: oneOf(parties), how: oneOf(deaths), run: 1 };
}

function everyWay(step: Step): Case[] {
  const numbers = Array.from({ length: runs }, (_, index) => index + 1);
  return numbers.flatMap((run) => parties.flatMap((dies) => deaths.map((how): Case => ({ ...step, dies, how, run }))));
}

function oneOf<Item>(items: readonly Item[]): Item {
  return items[Math.floor(random() * items.length)]!;
}

let folder: CloningFolder;
let cluster: Cluster;
let serial = 0;

// The pools are disks, and the power cut of a host loses what they were not told to keep.
beforeAll(async () => {
  folder = await CloningFolder.make('6G');
  cluster = await Cluster.start({ hosts: 3, disks: { size: '512M', rack: join(folder.path, 'rack') }, environment: { all: standStillEnvironment } });
});
afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

async function newVolume(host: Host): Promise<Records> {
  serial += 1;
  const records = new Records(cluster, `moved${serial}`);
  await cluster.createVolume(host, records.volume);
  await cluster.inContainer(host, records.volume, 'dd if=/dev/urandom of=/data/bulk bs=1k count=2048 2>/dev/null; sync');
  return records;
}

async function die(host: Host, how: Death): Promise<void> {
  if (how === 'kill -9') await cluster.killDaemon(host);
  else await host.powerCut();
}

async function comeBack(host: Host, how: Death): Promise<void> {
  if (how === 'kill -9') await cluster.up(host);
  else await cluster.boot(host);
}

/** After a case that failed: nobody is off or stands still, or is to. */
async function revive(): Promise<void> {
  for (const host of cluster.lab.hosts) {
    if (!host.isUp) await cluster.boot(host);
    callOff(host);
    await cluster.restartDaemon(host);
  }
  await cluster.connected();
}

/** From the order to the start at the destination: a party stands still on the way, and one dies and comes back. */
async function moveWithFault({ place, at, dies, how, ...step }: Case, hosts: Record<Party, Host>, records: Records): Promise<void> {
  const { source, destination, 'name server': nameServer } = hosts;
  const underWay: Promise<Completed>[] = [];
  const writer = `writer-of-${records.volume}`;
  await records.startWriter(source, writer);
  if (step.while === 'written') standStillAt(hosts[at], place);
  // Its caller may die with the name server: what became of the order is on record.
  underWay.push(cluster.tryRun(nameServer, 'volume', 'move', records.volume, '--to', destination.name, '--detach'));
  if (step.while === 'stopped') {
    await Promise.all(underWay);
    standStillAt(hosts[at], place);
    await records.stopWriter(source, writer);
    underWay.push(records.tryAppend(destination));
  }
  await standsStill(hosts[at]).catch(async (error: unknown) => {
    throw new Error(await situation(records, underWay), { cause: error });
  });
  await die(hosts[dies], how);
  if (at !== dies) await goOn(cluster, hosts[at]);
  await comeBack(hosts[dies], how);
  await cluster.connected();
  const [, started] = await Promise.all(underWay);
  if (started === undefined) await records.stopWriter(source, writer);
  // It may have ended with what died; if it went through, what it acknowledged counts.
  else records.note(started);
}

/** What the name server and each host say of the volume, and what has become of the calls. */
async function situation({ volume }: Records, underWay: readonly Promise<Completed>[]): Promise<string> {
  const [nameServer] = cluster.lab.hosts;
  const inspected = await cluster.tryRun(nameServer!, 'volume', 'inspect', volume);
  const seen = await Promise.all(cluster.lab.hosts.map(async (host) => [host.name, await cluster.volumeOn(host, volume).catch(String)]));
  const calls = await Promise.all(underWay.map((call) => Promise.race([call, pause(1000)])));
  return [inspected.stdout, inspected.stderr, ...[...seen, ...calls].map((each) => JSON.stringify(each))].join('\n');
}

describe(`a planned move, and one that dies (seed ${seed})`, () => {
  // One volume goes to and fro, so that each case finds what all before it acknowledged; after a failure the next begins with another.
  const between: { records: Records | null; at: 'h2' | 'h3' } = { records: null, at: 'h2' };

  test.each(cases)('at $place of the $at, the $dies, by $how, run $run', async (each) => {
    if (between.records === null && serial > 0) await revive();
    const records = between.records ?? (await newVolume(cluster.host('h2')));
    const to = between.records === null || between.at === 'h2' ? 'h3' : 'h2';
    between.records = null;
    const hosts = { source: cluster.host(to === 'h3' ? 'h2' : 'h3'), destination: cluster.host(to), 'name server': cluster.host('h1') };
    await moveWithFault(each, hosts, records);
    await records.append(hosts.destination);
    expect(await expectClean(cluster, records.volume)).toBe(to);
    Object.assign(between, { records, at: to });
  });
});

describe('the name server', () => {
  test(
    `dies between release and commit, and is away for ${awaySeconds} s: nobody has the volume until it is back, and another is written to all the time`,
    async () => {
      const [h1, h2, h3] = [cluster.host('h1'), cluster.host('h2'), cluster.host('h3')];
      const records = await newVolume(h2);
      await records.append(h2);
      const other = await newVolume(h2);
      const writer = new Writer(h2, 'all-the-time', other.volume);
      await writer.start();
      const written = async (): Promise<number> => Number((await h2.docker('exec', writer.name, 'sh', '-c', 'wc -l < /data/records')).stdout);
      standStillAt(h1, 'releaseMove');
      const started = records.tryAppend(h3);
      await standsStill(h1);
      await cluster.killDaemon(h1);
      for (let part = 0; part < 10; part += 1) {
        const before = await written();
        await pause((awaySeconds * 1000) / 10);
        expect(await written()).toBeGreaterThan(before);
        for (const host of [h2, h3]) expect((await cluster.volumeOn(host, records.volume))?.grant?.startsWith('held')).not.toBe(true);
      }
      expect((await records.tryAppend(h2)).exitCode).not.toBe(0);
      await cluster.up(h1);
      await cluster.connected();
      records.note(await started);
      await waitUntil('the volume has arrived', async () => (await volumeRecord(cluster, h1, records.volume)).placement.state === 'held', 60_000);
      await records.append(h3);
      expect(await expectClean(cluster, records.volume)).toBe('h3');
      expect(await writer.isRunning()).toBe(true);
      await writer.remove();
    },
    300_000 + awaySeconds * 1000,
  );
});
