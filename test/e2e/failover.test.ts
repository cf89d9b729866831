import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { VolumeStatus } from '../../src/protocol/protection-routes.ts';
import type { Host } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import { expectClean, volumeRecord } from './support/invariants.ts';
import { Writer, untoldLoss } from './support/writers.ts';
import type { Acknowledgement } from './support/writers.ts';

/** Volumes that meet each fault together, so that one cut of a cable is many trials. */
const volumesAtOnce = 5;
const sessionMilliseconds = 5000;

let cluster: Cluster;
let serial = 0;
// h1 is the name server and keeps no volume.
let h1: Host;
let h2: Host;
let h3: Host;

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 3, environment: { all: { SUPERCARGO_SESSION: String(sessionMilliseconds) } } });
  [h1, h2, h3] = [cluster.host('h1'), cluster.host('h2'), cluster.host('h3')];
  await cluster.run(h1, 'class', 'set', 'safe', '--replicas', '1', '--interval', '1s', '--failover', 'auto');
  await cluster.run(h1, 'class', 'set', 'calm', '--replicas', '1', '--interval', '1s', '--failover', 'manual');
  await cluster.run(h1, 'class', 'set', 'wide', '--replicas', '2', '--interval', '1s', '--failover', 'manual');
});
afterAll(() => cluster[Symbol.asyncDispose]());

function status(volume: string): Promise<VolumeStatus> {
  return cluster.query<VolumeStatus>(h1, `/v1/volumes/${volume}/status`);
}

/** A volume that is written to on h2, with a replica that has caught up. */
async function writtenVolume(volumeClass: string, host = h2): Promise<{ volume: string; writer: Writer }> {
  serial += 1;
  const number = serial;
  const volume = `vol${number}`;
  await cluster.createVolume(host, volume, `class=${volumeClass}`);
  const writer = new Writer(host, `on-${host.name}-${number}`, volume);
  await writer.start();
  await waitUntil(
    `${volume} has a replica`,
    async () => (await status(volume)).copies.some(({ role, snapshot }) => role === 'replica' && snapshot !== null),
    60_000,
  );
  return { volume, writer };
}

/** The host that the volume's replica is on. */
async function replicaHost(volume: string): Promise<Host> {
  const replica = (await status(volume)).copies.find(({ role }) => role === 'replica');
  return cluster.host(replica?.host ?? '');
}

async function removeAll(written: { volume: string; writer: Writer }[], others: Writer[]): Promise<void> {
  for (const { writer } of written) await writer.remove();
  for (const writer of others) await writer.remove();
  for (const { volume } of written) await cluster.run(h1, 'volume', 'rm', volume);
}

/** All that the old holder had acknowledged can be had back from what it kept. */
async function expectKept(volume: string, acknowledged: Acknowledgement[]): Promise<void> {
  const { diverged } = await volumeRecord(cluster, h1, volume);
  await cluster.run(h1, 'volume', 'restore', volume, diverged.at(-1)?.snapshot ?? '', `${volume}-kept`);
  const { stdout } = await cluster.inContainer(h2, `${volume}-kept`, 'cat /data/records');
  const kept = new Set(stdout.split('\n'));
  expect(acknowledged.map(({ record }) => record).filter((record) => !kept.has(record))).toEqual([]);
  await cluster.run(h1, 'volume', 'rm', `${volume}-kept`);
}

/** What the old writer was told, against what the new one began with: one after the other, and nothing lost but what the record says. */
async function expectSucceeded(volume: string, before: Writer, after: Writer): Promise<void> {
  await waitUntil(`${after.name} writes`, async () => (await after.outcome()).acknowledged.length > 5, 60_000);
  const [old, successor] = [await before.outcome(), await after.outcome()];
  const lastOld = old.acknowledged.at(-1)!;
  const firstNew = successor.acknowledged[0]!;
  expect(firstNew.at > lastOld.at, `${volume}: ${lastOld.record} at ${lastOld.at}, ${firstNew.record} at ${firstNew.at}`).toBe(true);
  // What the successor lacks was acknowledged after the time that the record tells.
  const lost = old.acknowledged.slice(successor.found);
  expect(untoldLoss(lost, await volumeRecord(cluster, h1, volume))).toEqual([]);
  expect(lost.length, 'a host that is cut off goes on until its lease ends: some of that is lost').toBeGreaterThan(0);
}

describe('the host of a writer is cut off', () => {
  // After so many more records: the cuts fall at different places of an interval. At random ones: swarm-cuts.
  test.each([0, 130])('another gets its volumes when nothing can be written on it any more, after %d records', async (more) => {
    const written = await Promise.all(Array.from({ length: volumesAtOnce }, () => writtenVolume('safe')));
    const { writer: first } = written[0]!;
    const before = (await first.outcome()).acknowledged.length;
    await waitUntil('more is written', async () => (await first.outcome()).acknowledged.length >= before + more, 60_000);
    await h2.cut();
    let successors: Writer[] = [];
    try {
      successors = await Promise.all(
        written.map(async ({ volume }) => {
          const successor = new Writer(h3, `after-${volume}`, volume);
          await successor.start();
          return successor;
        }),
      );
      for (const [index, { volume, writer }] of written.entries()) await expectSucceeded(volume, writer, successors[index]!);
      expect(await Promise.all(written.map(({ writer }) => writer.isRunning()))).toEqual(written.map(() => false));
    } finally {
      await h2.heal();
    }
    // The host that was cut off finds itself replaced: what it had written on is kept, shown, and can be had back.
    for (const [index, { volume, writer }] of written.entries()) {
      const { acknowledged } = await writer.outcome();
      await waitUntil(`${volume} is kept on h2`, async () => (await cluster.volumeOn(h2, volume))?.live === 'absent', 60_000);
      const { diverged } = await volumeRecord(cluster, h1, volume);
      expect(diverged.length).toBeGreaterThan(0);
      await expectKept(volume, acknowledged);
      expect(await successors[index]!.isRunning()).toBe(true);
    }
    await removeAll(written, successors);
  });
});

describe('what stops the fence from its work', () => {
  async function guardPid(host: Host): Promise<number> {
    const processes = await host.processes();
    const guard = processes.find(({ argv }) => argv.includes('guard'));
    if (guard === undefined) throw new Error(`there is no guard on ${host.name}`);
    return guard.pid;
  }

  async function agentPid(host: Host): Promise<number> {
    const local = await cluster.daemonPid(host);
    const daemon = (await host.processes()).find(({ localPid }) => localPid === local);
    if (daemon === undefined) throw new Error(`there is no agent on ${host.name}`);
    return daemon.pid;
  }

  async function comeBack(volume: string): Promise<void> {
    await waitUntil('the old copy is kept', async () => (await cluster.volumeOn(h2, volume))?.live === 'absent', 60_000);
    expect((await volumeRecord(cluster, h1, volume)).diverged.length).toBeGreaterThan(0);
  }

  async function expectSuccessor(volume: string, writer: Writer, heal: () => Promise<void>): Promise<void> {
    const successor = new Writer(h3, `after-${volume}`, volume);
    try {
      await successor.start();
      await expectSucceeded(volume, writer, successor);
    } finally {
      await heal();
    }
    await comeBack(volume);
    await removeAll([{ volume, writer }], [successor]);
  }

  test('the agent is stopped: the guard fences, and the replica takes over after that', async () => {
    const { volume, writer } = await writtenVolume('safe');
    const pid = await agentPid(h2);
    process.kill(pid, 'SIGSTOP');
    await expectSuccessor(volume, writer, async () => void process.kill(pid, 'SIGCONT'));
  });

  test('the agent is killed, and its container lives: the guard fences, and the replica takes over after that', async () => {
    const { volume, writer } = await writtenVolume('safe');
    await cluster.killDaemon(h2);
    expect(await writer.isRunning()).toBe(true);
    await expectSuccessor(volume, writer, () => cluster.up(h2));
  });

  test('the agent is killed and starts again within its lease: its container goes on', async () => {
    const { volume, writer } = await writtenVolume('safe');
    await cluster.restartDaemon(h2);
    await cluster.connected();
    const { acknowledged } = await writer.outcome();
    await waitUntil('the writer goes on', async () => (await writer.outcome()).acknowledged.length > acknowledged.length + 50, 60_000);
    expect((await volumeRecord(cluster, h1, volume)).epoch).toBe(1);
    await removeAll([{ volume, writer }], []);
  });

  test('the guard is stopped while the host is cut off: the agent fences, and the replica takes over after that', async () => {
    const { volume, writer } = await writtenVolume('safe');
    const pid = await guardPid(h2);
    process.kill(pid, 'SIGSTOP');
    await h2.cut();
    await expectSuccessor(volume, writer, async () => {
      process.kill(pid, 'SIGCONT');
      await h2.heal();
    });
  });

  // The exceptions of docs/guarantees.md: what is written then is no part of the volume, is kept, and how much it was is told here.
  test.each(['agent and guard are both stopped', 'the whole host stands still and goes on'] as const)(
    '%s: the documented exception',
    async (what) => {
      const { volume, writer } = await writtenVolume('safe');
      const pids = what.startsWith('agent') ? [await agentPid(h2), await guardPid(h2)] : [];
      for (const pid of pids) process.kill(pid, 'SIGSTOP');
      if (pids.length === 0) await h2.freeze();
      const successor = new Writer(h3, `after-${volume}`, volume);
      try {
        await successor.start();
        await waitUntil('the successor writes', async () => (await successor.outcome()).acknowledged.length > 50, 60_000);
      } finally {
        for (const pid of pids) process.kill(pid, 'SIGCONT');
        if (pids.length === 0) await h2.thaw();
      }
      await waitUntil('the old writer is ended', async () => !(await writer.isRunning()), 60_000);
      await comeBack(volume);
      const [old, next] = [await writer.outcome(), await successor.outcome()];
      const late = old.acknowledged.filter(({ at }) => at > next.acknowledged[0]!.at);
      const milliseconds = late.length === 0 ? 0 : Number((late.at(-1)!.at - late[0]!.at) / 1_000_000n);
      process.stdout.write(`${what}: the old holder accepted ${late.length} records, in ${milliseconds} ms, after the new one had begun\n`);
      const lateRecords = new Set(late.map(({ record }) => record));
      const { stdout: present } = await h3.docker('exec', successor.name, 'cat', '/data/records');
      expect(present.split('\n').filter((record) => lateRecords.has(record))).toEqual([]);
      await expectKept(volume, old.acknowledged);
      await removeAll([{ volume, writer }], [successor]);
    },
  );
});

describe('the name server', () => {
  test('is away for longer than a lease: volumes without automatic failover go on, the others stop, and all come back on their host', async () => {
    const calm = await writtenVolume('calm');
    const safe = await writtenVolume('safe');
    await cluster.killDaemon(h1);
    await waitUntil('the lease has run out', async () => !(await safe.writer.isRunning()), 60_000);
    const before = (await calm.writer.outcome()).acknowledged.length;
    await waitUntil('the other goes on', async () => (await calm.writer.outcome()).acknowledged.length > before + 20, 60_000);
    await cluster.up(h1);
    await cluster.connected();
    const again = new Writer(h2, `again-${safe.volume}`, safe.volume);
    await again.start();
    const { found } = await again.outcome();
    expect(found).toBeGreaterThanOrEqual((await safe.writer.outcome()).acknowledged.length);
    expect(await calm.writer.isRunning()).toBe(true);
    await removeAll([calm, safe], [again]);
  });

  test('is killed while the lease of a lost host runs: after its return exactly one takes over', async () => {
    const { volume, writer } = await writtenVolume('safe');
    await h2.cut();
    await cluster.killDaemon(h1);
    await cluster.up(h1);
    const successor = new Writer(h3, `after-${volume}`, volume);
    try {
      await successor.start();
      await expectSucceeded(volume, writer, successor);
    } finally {
      await h2.heal();
    }
    await waitUntil('the old copy is kept', async () => (await cluster.volumeOn(h2, volume))?.live === 'absent', 60_000);
    await removeAll([{ volume, writer }], [successor]);
  });
});

describe('a class without automatic failover', () => {
  test('stays with its lost holder, says so and what to do, and goes where the operator says', async () => {
    const { volume, writer } = await writtenVolume('calm');
    const to = await replicaHost(volume);
    await h2.powerOff();
    await waitUntil('h2 counts as down', async () => (await cluster.run(h1, 'host', 'ls')).stdout.match(/h2 .*down/) !== null, 60_000);
    const { healthy, blockedBy, next } = await status(volume);
    expect([healthy, blockedBy]).toEqual([false, expect.stringContaining('h2')]);
    expect(next).toContain('volume failover');
    const refused = await cluster.tryRun(h1, 'volume', 'failover', volume, '--reason', 'test', '--yes');
    expect([refused.exitCode, refused.stderr]).toEqual([expect.any(Number), expect.stringContaining('--holder-is-off')]);
    expect(refused.exitCode).not.toBe(0);
    await cluster.run(h1, 'volume', 'failover', volume, '--reason', 'h2 has no power', '--holder-is-off', '--yes');
    expect(await volumeRecord(cluster, h1, volume)).toMatchObject({ epoch: 2, lastFailover: { reason: 'h2 has no power' } });
    const successor = new Writer(to, `after-${volume}`, volume);
    await successor.start();
    await cluster.boot(h2);
    await waitUntil('the old copy is kept', async () => (await cluster.volumeOn(h2, volume))?.live === 'absent', 60_000);
    const kept = (await volumeRecord(cluster, h1, volume)).diverged.filter(({ host }) => host !== '');
    expect(kept.length).toBeGreaterThan(0);
    await successor.remove();
    await expectClean(cluster, volume);
    await writer.remove();
    await cluster.run(h1, 'volume', 'rm', volume);
  });

  test('does not write on a holder that was declared off and boots while the name server is away; what only that host has is used at once', async () => {
    const { volume, writer } = await writtenVolume('wide');
    const hasReplica = async () => (await status(volume)).copies.some(({ host, snapshot }) => host === 'h3' && snapshot !== null);
    await waitUntil(`${volume} has a replica on h3`, hasReplica, 60_000);
    await cluster.createVolume(h2, 'alone');
    await cluster.inContainer(h2, 'alone', 'echo here > /data/file; sync');
    await h2.powerOff();
    await waitUntil('h2 counts as down', async () => (await cluster.run(h1, 'host', 'ls')).stdout.match(/h2 .*down/) !== null, 60_000);
    await cluster.run(h1, 'volume', 'failover', volume, '--to', 'h3', '--reason', 'h2 has no power', '--holder-is-off', '--yes');
    const successor = new Writer(h3, `after-${volume}`, volume);
    await successor.start();
    await cluster.killDaemon(h1);
    await cluster.boot(h2);
    expect((await cluster.inContainer(h2, 'alone', 'cat /data/file')).stdout).toBe('here\n');
    const refused = await cluster.inContainer(h2, volume, 'echo second writer >> /data/records', true);
    expect(refused).toMatchObject({ exitCode: 125, stderr: expect.stringMatching(/was off.*name server has not confirmed/) });
    // An agent that alone begins anew on a host that was not off needs nobody.
    await cluster.restartDaemon(h3);
    expect((await cluster.inContainer(h3, volume, 'wc -l < /data/records')).stdout).toMatch(/^[1-9]/);
    expect(await successor.isRunning()).toBe(true);
    await cluster.up(h1);
    await waitUntil('the old copy is kept', async () => (await cluster.volumeOn(h2, volume))?.live === 'absent', 60_000);
    const records = (await h3.docker('exec', successor.name, 'cat', '/data/records')).stdout;
    expect(records).not.toContain('second writer');
    await removeAll([{ volume, writer }], [successor]);
    await cluster.run(h1, 'volume', 'rm', 'alone');
  });
});
