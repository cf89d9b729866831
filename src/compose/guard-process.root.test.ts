import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, rmdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { containerScript, emptyGroup, endProcess, flushingWriter, hasEnded, startShell } from '../../test/support/writers.ts';
import { waitUntil } from '../../testbed/process.ts';
import { createBtrfsDriver } from '../drivers/btrfs/driver.ts';
import type { GuardClient } from '../guard/guard-client.ts';
import { newIdentifier } from '../model/identifiers.ts';
import type { GuardedVolume } from '../ports/guardian.ts';
import { systemClock } from '../system/clock.ts';
import { isFrozen } from '../system/cgroups.ts';
import { createHostSystem } from '../system/host-system.ts';
import { processStatus } from '../system/process-status.ts';
import { ensureGuard } from './guard-process.ts';

const isolated = 'SUPERCARGO_TEST_ISOLATED';
const nameOf = (id: string | undefined) => `supercargo-guard-${id}`;
const groupOf = (id: string | undefined) => ({ version: 1 as const, directory: join('/sys/fs/cgroup/freezer', nameOf(id)) });

// In namespaces of its own the test sees only its own processes, and all of them end with it.
describe.runIf(process.env[isolated] === undefined)('guard process', () => {
  it('passes in mount and process namespaces of its own', () => {
    const vitest = join(import.meta.dirname, '../../node_modules/vitest/vitest.mjs');
    const inNamespaces = ['--mount', '--pid', '--fork', '--mount-proc', '--kill-child', '--propagation', 'private'];
    const run = [process.execPath, vitest, 'run', '--project', 'root', import.meta.filename];
    const id = randomBytes(6).toString('hex');
    mkdirSync(groupOf(id).directory);
    try {
      execFileSync('unshare', [...inNamespaces, ...run], { env: { ...process.env, [isolated]: id }, stdio: 'inherit' });
    } finally {
      rmdirSync(groupOf(id).directory);
      const mounts = join(tmpdir(), nameOf(id), 'mounts');
      if (existsSync(mounts)) execFileSync('chattr', ['-R', '-i', mounts]);
      rmSync(join(tmpdir(), nameOf(id)), { recursive: true, force: true });
    }
  });
});

describe.runIf(process.env[isolated] !== undefined)('guard process, isolated', () => {
  const scratch = join(tmpdir(), nameOf(process.env[isolated]));
  const group = groupOf(process.env[isolated]);
  const directory = { root: join(scratch, 'state'), pool: join(scratch, 'pool') };
  const runDirectory = join(scratch, 'run');
  const launch = [process.execPath, join(import.meta.dirname, '../main.ts')] as const;
  const options = { directory, runDirectory, clock: systemClock, launch };
  const driver = createBtrfsDriver({
    directory: directory.pool,
    source: { kind: 'file', path: `${directory.pool}.img`, sizeBytes: 1024 ** 3 },
  });
  const system = createHostSystem();
  const now = () => systemClock.monotonicMilliseconds();
  const clients: GuardClient[] = [];
  const agents: number[] = [];
  let lease: GuardedVolume;
  let writer: number;

  beforeEach(async () => {
    mkdirSync(join(scratch, 'inside'), { recursive: true });
    for (const path of [directory.root, runDirectory]) mkdirSync(path, { recursive: true });
    await driver.open();
    const volume = newIdentifier('vol');
    await driver.createLive(volume);
    lease = { volume, epoch: 3, path: driver.livePath(volume), mountPoint: join(scratch, 'mounts', volume) };
    await system.mountVolume(lease.path, lease.mountPoint);
    const script = containerScript({
      group,
      path: lease.path,
      inside: join(scratch, 'inside'),
      hidden: [lease.mountPoint],
      script: flushingWriter(`${scratch}/inside/count`),
    });
    writer = await startShell(scratch, script);
  });
  afterEach(async () => {
    for (const agent of agents.splice(0)) endProcess(agent);
    for (const client of clients.splice(0)) {
      client.close();
      endProcess(client.guard.processNumber);
      await waitUntil('the guard has ended', () => hasEnded(client.guard.processNumber));
    }
    await emptyGroup(group);
    await waitUntil('nothing uses it', async () => (await system.usesOf(lease.path, lease.mountPoint)).length === 0);
    await system.unmountVolume(lease.mountPoint);
    await driver.deleteVolume(lease.volume);
    rmSync(runDirectory, { recursive: true });
  });

  const count = () => Number(existsSync(join(lease.path, 'count')) ? readFileSync(join(lease.path, 'count'), 'utf8') : 0);
  const log = () => readFileSync(join(directory.root, 'supercargo.log'), 'utf8').split('\n');
  async function advances(): Promise<void> {
    const before = count();
    await waitUntil('it writes', () => count() > before + 20);
  }
  async function ensure(): ReturnType<typeof ensureGuard> {
    const guard = await ensureGuard(options);
    clients.push(guard.client);
    return guard;
  }
  const stateOf = async (client: GuardClient) => (await client.states()).find(({ volume }) => volume === lease.volume)?.state;

  async function expectFenced(): Promise<void> {
    expect(hasEnded(writer)).toBe(true);
    expect(await system.isMounted(lease.path, lease.mountPoint)).toBe(false);
    const copy = await driver.inspect(lease.volume);
    expect([copy.live, copy.snapshots.length]).toEqual(['readonly', 1]);
    const kept = join(
      driver.livePath(lease.volume),
      '../snapshots',
      readdirSync(join(driver.livePath(lease.volume), '../snapshots'))[0] ?? '',
      'data/count',
    );
    expect(readFileSync(kept, 'utf8')).toBe(readFileSync(join(lease.path, 'count'), 'utf8'));
  }

  /** Another process that holds the lease for a while, as the agent does. */
  async function startAgent(untilMilliseconds: number): Promise<number> {
    const program = join(scratch, 'agent.mjs');
    writeFileSync(
      program,
      `import { ensureGuard } from ${JSON.stringify(join(import.meta.dirname, 'guard-process.ts'))};
       import { systemClock } from ${JSON.stringify(join(import.meta.dirname, '../system/clock.ts'))};
       const { client } = await ensureGuard({ ...${JSON.stringify(options)}, clock: systemClock });
       await client.hold([${JSON.stringify(lease)}], ${untilMilliseconds});
       console.log('held');
       setInterval(() => {}, 1000);`,
    );
    const agent = spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve) => agent.stdout.once('data', resolve));
    agents.push(agent.pid ?? 0);
    return agent.pid ?? 0;
  }

  it.each(['SIGKILL', 'SIGSTOP'] as const)('fences at the deadline though the agent got %s', async (signal) => {
    await advances();
    const agent = await startAgent(now() + 4000);
    const before = count();
    process.kill(agent, signal);
    // A busy machine may come to the deadline before it has written much more.
    await waitUntil('it goes on, or the deadline has come', () => count() > before || isFrozen(group));
    // Nothing of this test is connected until it has frozen.
    await waitUntil('it freezes', () => isFrozen(group));
    const { client, fresh } = await ensure();
    expect(fresh).toBe(false);
    await waitUntil('it has fenced', async () => (await stateOf(client)) === 'fenced');
    await expectFenced();
  });

  it('lets the writer go on when the lease comes back between freeze and deadline', async () => {
    const { client, fresh } = await ensure();
    expect(fresh).toBe(true);
    await client.hold([lease], now() + 1500);
    await waitUntil('it freezes', () => isFrozen(group));
    await client.hold([lease], now() + 60_000);
    await waitUntil('it thaws', async () => (await stateOf(client)) === 'held');
    await advances();
    await client.drop(lease.volume);
    expect(await client.states()).toEqual([]);
  });

  it('that was stopped past a deadline reads the renewals that wait before it judges', async () => {
    const { client } = await ensure();
    const end = now() + 1500;
    await client.hold([lease], end);
    await waitUntil('it holds', async () => (await stateOf(client)) === 'held');
    process.kill(client.guard.processNumber, 'SIGSTOP');
    await expect(client.hold([lease], now() + 60_000)).rejects.toMatchObject({ code: 'deadline-exceeded' });
    await expect(ensureGuard(options)).rejects.toMatchObject({ code: 'deadline-exceeded' });
    await waitUntil('the first lease is over', () => now() > end + 100);
    process.kill(client.guard.processNumber, 'SIGCONT');
    await waitUntil('it answers', async () => (await client.states())[0]?.until !== end);
    await advances();
    expect(await stateOf(client)).toBe('held');
    expect(log().filter((line) => line.includes(lease.volume))).toEqual([]);
  });

  it('that was stopped past a deadline fences when it goes on', async () => {
    const { client } = await ensure();
    const end = now() + 1200;
    await client.hold([lease], end);
    process.kill(client.guard.processNumber, 'SIGSTOP');
    await waitUntil('the lease is over', () => now() > end + 100);
    expect(isFrozen(group)).toBe(false);
    process.kill(client.guard.processNumber, 'SIGCONT');
    await waitUntil('it has fenced', async () => (await stateOf(client)) === 'fenced');
    await expectFenced();
  });

  it('lets go on what a guard before it had frozen', async () => {
    const { client } = await ensure();
    await client.hold([lease], now() + 1200);
    await waitUntil('it freezes', () => isFrozen(group));
    endProcess(client.guard.processNumber);
    await client.closed;
    expect(isFrozen(group)).toBe(true);
    const { client: next, fresh } = await ensure();
    expect(fresh).toBe(true);
    await next.hold([lease], now() + 60_000);
    await advances();
  });

  it('stays while it holds something, and ends when it is told to and holds nothing', async () => {
    const { client } = await ensure();
    const { processNumber } = client.guard;
    await client.hold([lease], now() + 60_000);
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.kill(processNumber, signal);
    expect(await client.states()).toHaveLength(1);
    // A session of its own: what ends the agent's does not reach it.
    expect(execFileSync('ps', ['-o', 'sid=', '-p', String(processNumber)], { encoding: 'utf8' }).trim()).toBe(String(processNumber));
    await client.drop(lease.volume);
    await waitUntil('it has forgotten the volume', async () => (await client.states()).length === 0);
    process.kill(processNumber, 'SIGTERM');
    await client.closed;
    await waitUntil('it has ended', () => hasEnded(processNumber));
    expect(readdirSync(runDirectory)).not.toContain('guard.sock');
    expect(log().filter((line) => line.includes('leases are held: not ending'))).toHaveLength(1);
  });

  it('is one alone, and says what it needs', async () => {
    const { client } = await ensure();
    const { client: same, fresh } = await ensure();
    expect([same.guard, fresh]).toEqual([client.guard, false]);
    const second = spawnSync(launch[0], [launch[1], 'guard', '--pool', directory.pool, '--run-directory', runDirectory], { encoding: 'utf8' });
    expect([second.status, second.stderr.includes('Another guard serves')]).toEqual([1, true]);
    expect(spawnSync(launch[0], [launch[1], 'guard'], { encoding: 'utf8' }).stderr).toContain('The guard needs --pool and --run-directory.');
    expect(processStatus(client.guard.processNumber)?.state).toMatch(/[SR]/);
  });
});
