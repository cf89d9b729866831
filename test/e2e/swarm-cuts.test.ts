import { afterAll, beforeAll, expect, test } from 'vitest';
import type { FailoverRecord, Volume } from '../../src/model/records.ts';
import type { CopyView, VolumeStatus } from '../../src/protocol/protection-routes.ts';
import type { Host } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import { hostName, volumeRecord } from './support/invariants.ts';
import { incarnationsOf, ledgerOptions, ledgerScript, makeLedger, overlapsOf, recordsIn } from './support/ledger.ts';
import { seededRandom, testSeed } from './support/random.ts';
import { Swarm } from './support/swarm.ts';
import type { RunningTask } from './support/swarm.ts';
import { pause } from './support/timing.ts';
import { untoldLoss } from './support/writers.ts';
import type { Acknowledgement } from './support/writers.ts';

/** Each has a volume of its own, of the same name. They meet each cut together, so that one pulled cable is many trials. */
const services = ['app1', 'app2', 'app3', 'app4', 'app5'];
const rounds = Number(process.env['SUPERCARGO_CUT_ROUNDS'] ?? 1);
/** So many of the cuts are healed without a look at what has happened by then. */
const blindShare = 0.3;
/** They end within this time: before the lease does, or between that and the takeover, or after it. Milliseconds. */
const longestBlindCut = 10_000;
/** Swarm hears late that a node is back, and starts a refused task again only after a while. */
const settleMilliseconds = 180_000;

let cluster: Cluster;
let swarm: Swarm;
let h1: Host;

const random = seededRandom(testSeed);
/** Records that a failover took from the volume, as its record tells: nobody finds them in the volume again. */
const lost = new Set<string>();
/** Of each service: failovers in their order, and how many of them have been accounted for. */
const failovers = new Map(services.map((service) => [service, { all: [] as FailoverRecord[], judged: 0 }]));
/** Milliseconds from a cut to the first record that was acknowledged elsewhere. */
const takeovers: number[] = [];
let cuts = 0;

// h1 has the name server and Swarm's manager, and neither tasks nor volumes.
beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 3, environment: { all: { SUPERCARGO_SESSION: '5000' } } });
  h1 = cluster.host('h1');
  await cluster.run(h1, 'host', 'drain', 'h1', '--wait');
  await cluster.run(h1, 'class', 'set', 'safe', '--replicas', '1', '--interval', '1s', '--failover', 'auto');
  swarm = await Swarm.form(cluster, '--dispatcher-heartbeat', '2s', '--task-history-limit', '1');
  // All begin on one host: the first cut meets all of them.
  const [, away] = swarm.workers;
  await swarm.availability(away!, 'drain');
  for (const host of swarm.workers) await makeLedger(host);
  for (const name of services) {
    await swarm.createService({ name, volume: name, script: ledgerScript(name), volumeOptions: ['class=safe'], options: ledgerOptions });
  }
  await settled();
  await swarm.availability(away!, 'active');
}, 2 * settleMilliseconds);
afterAll(() => cluster[Symbol.asyncDispose]());

/** Waits until each service has one task, which writes, and a replica that has something of it; what came before is tidied up. @throws with what is missing */
async function settled(): Promise<Map<string, RunningTask>> {
  const tasks = new Map<string, RunningTask>();
  let lacking: string[] = [];
  await waitUntil(
    'each service to run on one host, and a replica of its volume to be on another',
    async () => {
      lacking = [];
      for (const service of services) {
        const task = await swarm.soleTask(service);
        lacking.push(...(await lacks(service, task)).map((what) => `${service} lacks ${what}`));
        if (task !== undefined) tasks.set(service, task);
      }
      if (!(await swarm.isWhole())) lacking.push('the Swarm lacks a node');
      return lacking.length === 0;
    },
    settleMilliseconds,
    500,
  ).catch((error: unknown) => {
    throw new Error(lacking.join('\n'), { cause: error });
  });
  return tasks;
}

async function lacks(service: string, task: RunningTask | undefined): Promise<string[]> {
  if (task === undefined) return ['its one task'];
  const first = incarnationsOf(swarm.workers, service).find((each) => each.task === task.id)?.acknowledged[0];
  if (first === undefined) return ['a record'];
  const { volume, copies } = await cluster.query<VolumeStatus>(h1, `/v1/volumes/${service}/status`);
  observe(volume);
  const holder = copies.find(({ role }) => role === 'holder')?.host;
  const isFresh = ({ role, takenAt }: CopyView): boolean => role === 'replica' && Date.parse(takenAt ?? '') > Number(first.at / 1_000_000n);
  const other = await cluster.volumeOn(
    swarm.workers.find((host) => host !== task.host)!,
    service,
  );
  return [
    ...(holder === task.host.name ? [] : [`the volume, which ${holder} holds, on ${task.host.name}`]),
    ...(copies.some(isFresh) ? [] : ['a replica']),
    ...(other === undefined || other.live === 'absent' ? [] : ['order: the other host has a live copy']),
  ];
}

/** The first record that was acknowledged on a host to a task that began after this time. */
function firstWriteSince(service: string, host: Host, time: bigint): Acknowledgement | undefined {
  return incarnationsOf([host], service).find(({ began, acknowledged }) => began > time && acknowledged.length > 0)?.acknowledged[0];
}

/** Cuts the cable of the host that these services run on, and heals it: blindly, or some time after all of them write elsewhere. */
async function cut(victim: Host, running: readonly string[], blind: boolean): Promise<void> {
  const other = swarm.workers.find((host) => host !== victim)!;
  await pause(random() * 4000);
  const at = BigInt(Date.now()) * 1_000_000n;
  const firstWrites = (): Acknowledgement[] => running.flatMap((service) => firstWriteSince(service, other, at) ?? []);
  await victim.cut();
  try {
    if (!blind)
      await waitUntil(`${running.join()} to write on ${other.name}`, () => firstWrites().length === running.length, settleMilliseconds, 100);
    await pause(random() * (blind ? longestBlindCut : 3000));
  } finally {
    await victim.heal();
  }
  cuts += running.length;
  takeovers.push(...firstWrites().map((first) => Math.round(Number(first.at - at) / 1e6)));
}

/** Nobody was told that a record is safe after somebody else had begun, and what is missing is what a failover tells, and was kept. */
async function expectOneHistory(service: string, { host }: RunningTask): Promise<void> {
  const incarnations = incarnationsOf(swarm.workers, service);
  expect(overlapsOf(incarnations), service).toEqual([]);
  const volume = await volumeRecord(cluster, h1, service);
  const present = recordsIn(cluster.livePath(host, volume.id));
  const acknowledged = incarnations.flatMap((each) => each.acknowledged);
  const missing = acknowledged.filter(({ record }) => !present.has(record) && !lost.has(record));
  // More than one, if a lease ran out on a busy machine without a cut.
  const seen = observe(volume);
  const first = seen.all[seen.judged];
  expect(first === undefined ? missing : untoldLoss(missing, { lastFailover: first }), service).toEqual([]);
  await expectKept(volume, missing);
  seen.judged = seen.all.length;
}

/** Notes the last failover of the service of that name, if it is a new one. @returns what is known of its failovers */
function observe({ name, lastFailover }: Volume): { all: FailoverRecord[]; judged: number } {
  const seen = failovers.get(name)!;
  if (lastFailover !== null && lastFailover.at !== seen.all.at(-1)?.at) seen.all.push(lastFailover);
  return seen;
}

/** What a failover lost was kept by the host that it replaced; it is deleted there, so that the pool does not fill. */
async function expectKept(volume: Volume, missing: readonly Acknowledgement[]): Promise<void> {
  const kept = new Set<string>();
  for (const { host, snapshot } of volume.diverged) {
    const keeper = cluster.host(await hostName(cluster, h1, host));
    for (const record of recordsIn(cluster.snapshotPath(keeper, volume.id, snapshot))) kept.add(record);
  }
  expect(
    missing.filter(({ record }) => !kept.has(record)),
    volume.name,
  ).toEqual([]);
  for (const { snapshot } of volume.diverged) await cluster.run(h1, 'volume', 'forget', volume.name, snapshot, '--yes');
  for (const { record } of missing) lost.add(record);
}

function summary(): string {
  const times = takeovers.toSorted((a, b) => a - b);
  const acknowledged = services.flatMap((service) => incarnationsOf(swarm.workers, service)).flatMap((each) => each.acknowledged).length;
  const failedOver = [...failovers.values()].flatMap(({ all }) => all).length;
  const elsewhere = `${times[Math.floor(times.length / 2)]} (${times[0]}-${times.at(-1)}; ${times.length} times)`;
  return `${cuts} cuts, ${failedOver} failovers, ${acknowledged} records acknowledged, ${lost.size} of them lost as told; ms from a cut to the first record elsewhere: ${elsewhere}`;
}

test(
  `the host of five services is cut off and healed at random moments (seed ${testSeed})`,
  async () => {
    for (let round = 1; round <= rounds; round += 1) {
      const before = await settled();
      const runningOn = (host: Host): string[] => services.filter((service) => before.get(service)?.host === host);
      const [victim] = swarm.workers.toSorted((a, b) => runningOn(b).length - runningOn(a).length);
      const blind = random() < blindShare && round > 1;
      await cut(victim!, runningOn(victim!), blind);
      const after = await settled();
      for (const service of services) await expectOneHistory(service, after.get(service)!);
      process.stdout.write(`seed ${testSeed}, round ${round}, ${victim!.name} cut${blind ? ' blindly' : ''}; in all ${summary()}\n`);
    }
    expect(lost.size, 'a host that is cut off goes on until its lease ends: some of that is lost').toBeGreaterThan(0);
  },
  rounds * 600_000,
);
