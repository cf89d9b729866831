import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { containerScript, emptyGroup, endProcess, flushingWriter, hasEnded, sayStarted, startShell } from '../../test/support/writers.ts';
import { waitUntil } from '../../testbed/process.ts';
import { isFrozen, membersOf, tellToFreeze } from './cgroups.ts';
import type { ControlGroup } from './cgroups.ts';
import { systemClock } from './clock.ts';
import { createFence } from './fence.ts';
import type { FenceOptions } from './fence.ts';
import { createHostSystem } from './host-system.ts';
import { processStatus } from './process-status.ts';

const isolated = 'SUPERCARGO_TEST_ISOLATED';

// The scan covers every process of the host. In namespaces of its own the test sees only its own, and its mounts go away with them.
describe.runIf(process.env[isolated] === undefined)('fence', () => {
  it('passes in mount and process namespaces of its own', () => {
    const vitest = join(import.meta.dirname, '../../node_modules/vitest/vitest.mjs');
    const inNamespaces = ['--mount', '--pid', '--fork', '--mount-proc', '--kill-child', '--propagation', 'private'];
    const run = [process.execPath, vitest, 'run', '--project', 'root', import.meta.filename];
    const id = randomBytes(6).toString('hex');
    try {
      execFileSync('unshare', [...inNamespaces, ...run], { env: { ...process.env, [isolated]: id }, stdio: 'inherit' });
    } finally {
      removeTraces(id);
    }
  });
});

const nameOf = (id: string | undefined) => `supercargo-fence-${id}`;

/** Mounts and processes went with the namespaces, whatever happened in them. */
function removeTraces(id: string): void {
  for (const tree of ['freezer', 'unified']) {
    const directory = join('/sys/fs/cgroup', tree, nameOf(id));
    if (existsSync(directory)) execFileSync('find', [directory, '-depth', '-type', 'd', '-exec', 'rmdir', '{}', ';']);
  }
  const mounts = join(tmpdir(), nameOf(id), 'mounts');
  if (existsSync(mounts)) execFileSync('chattr', ['-R', '-i', mounts]);
  rmSync(join(tmpdir(), nameOf(id)), { recursive: true, force: true });
}

describe.runIf(process.env[isolated] !== undefined)('fence, isolated', () => {
  const name = nameOf(process.env[isolated]);
  const scratch = join(tmpdir(), name);
  const pool = join(scratch, 'pool');
  const system = createHostSystem();
  const target = { path: join(pool, 'live'), mountPoint: join(scratch, 'mounts', 'live') };
  const other = { path: join(pool, 'other'), mountPoint: join(scratch, 'mounts', 'other') };
  const trees = [
    { version: 1, directory: join('/sys/fs/cgroup/freezer', name) },
    { version: 2, directory: join('/sys/fs/cgroup/unified', name) },
  ] satisfies ControlGroup[];
  const available = trees.filter(({ directory }) => existsSync(join(directory, '..', 'cgroup.procs')));
  const started: number[] = [];

  beforeAll(async () => {
    mkdirSync(pool, { recursive: true });
    execFileSync('fallocate', ['-l', '128M', `${pool}.img`]);
    execFileSync('mkfs.btrfs', ['-q', '-K', `${pool}.img`], { stdio: 'ignore' });
    execFileSync('mount', ['-o', 'loop', `${pool}.img`, pool]);
    for (const { path } of [target, other]) execFileSync('btrfs', ['-q', 'subvolume', 'create', path]);
    mkdirSync(join(scratch, 'inside'));
    for (const { directory } of available) mkdirSync(directory);
  });
  beforeEach(async () => {
    for (const { path, mountPoint } of [target, other]) await system.mountVolume(path, mountPoint);
    for (const { path } of [target, other]) for (const file of readdirSync(path)) rmSync(join(path, file), { force: true });
  });
  afterEach(async () => {
    for (const tree of available) await emptyGroup(tree);
    for (const leader of started.splice(0)) endProcess(-leader);
    await waitUntil('nothing uses the volumes', async () => {
      return (await Promise.all([target, other].map(({ path, mountPoint }) => system.usesOf(path, mountPoint)))).flat().length === 0;
    });
    rmSync(join(scratch, 'stopped'), { recursive: true, force: true });
  });
  /** As another process of the same host would have it. */
  const newFence = (options: Partial<FenceOptions> = {}) =>
    createFence({ clock: systemClock, system, marksDirectory: join(scratch, 'stopped'), spared: () => [], ...options });
  const fence = newFence();

  function groupIn(tree: ControlGroup, path: string): ControlGroup {
    const group = { version: tree.version, directory: join(tree.directory, path) };
    mkdirSync(group.directory, { recursive: true });
    return group;
  }
  const stateOf = (processNumber: number) => processStatus(processNumber)?.state ?? 'gone';

  async function start(script: string): Promise<number> {
    const processNumber = await startShell(scratch, script);
    started.push(processNumber);
    return processNumber;
  }
  /** A shell with the path mounted in its own mount namespace only, in that cgroup. */
  const startContainer = (group: ControlGroup, path: string, script: string) =>
    start(containerScript({ group, path, inside: join(scratch, 'inside'), hidden: [target.mountPoint, other.mountPoint], script }));
  const count = ({ path }: { path: string }, file = 'count') => Number(existsSync(join(path, file)) ? readFileSync(join(path, file), 'utf8') : 0);

  /** Waits for an event that takes a while: another writer's progress. */
  async function advances(volume: { path: string }, by = 30): Promise<void> {
    const before = count(volume);
    await waitUntil(`${volume.path} is written to`, () => count(volume) > before + by);
  }
  async function expectStill(during: () => Promise<void>): Promise<void> {
    const before = count(target);
    await during();
    expect(count(target)).toBe(before);
  }

  describe.each(available.map((tree) => [tree.version, tree] as const))('with the freezer of cgroup v%i', (_, tree) => {
    it('stops a container, lets it go on, and ends it, and no other', async () => {
      const group = groupIn(tree, 'containers/one');
      const neighbour = groupIn(tree, 'containers/two');
      const one = await startContainer(group, target.path, flushingWriter(`${scratch}/inside/count`));
      const two = await startContainer(neighbour, other.path, flushingWriter(`${scratch}/inside/count`));
      await advances(target);

      const [outcome] = await fence.freeze([target]);
      expect(outcome).toEqual({ users: [{ processNumber: one, name: 'python3', how: 'cgroup' }], problem: null });
      expect(isFrozen(group)).toBe(true);
      await expectStill(() => advances(other));
      expect(await fence.freeze([target])).toEqual([outcome]);

      await fence.thaw([target]);
      await advances(target);

      expect(await fence.kill([target])).toMatchObject([{ users: [{ processNumber: one }], problem: null }]);
      expect(hasEnded(one)).toBe(true);
      expect(await system.isMounted(target.path, target.mountPoint)).toBe(false);
      await expectStill(() => advances(other));
      expect(hasEnded(two)).toBe(false);
      expect(isFrozen(neighbour)).toBe(false);
    });

    it('ends one container of a volume by its identifier, and leaves alone another that uses the same volume', async () => {
      const [mine, theirs] = ['ab'.repeat(32), 'cd'.repeat(32)];
      const one = await startContainer(groupIn(tree, `docker/${mine}`), target.path, flushingWriter(`${scratch}/inside/gone`));
      const two = await startContainer(groupIn(tree, `docker/${theirs}`), target.path, flushingWriter(`${scratch}/inside/count`));
      const only = { ...target, containers: new Set([mine]) };
      expect(await fence.kill([only])).toMatchObject([{ users: [{ processNumber: one }], problem: null }]);
      expect([hasEnded(one), hasEnded(two)]).toEqual([true, false]);
      expect(await system.isMounted(target.path, target.mountPoint)).toBe(true);
      await advances(target);
    });

    it('stops all of a container, also what has nothing open and what is in a cgroup below', async () => {
      const group = groupIn(tree, 'one');
      const below = groupIn(tree, 'one/init');
      const one = await startContainer(group, target.path, `${sayStarted}; while :; do sleep 1000; done`);
      const inner = await start(
        `echo $$ > ${below.directory}/cgroup.procs; exec nsenter --target ${one} --mount bash -c '${sayStarted}; sleep 1000'`,
      );
      const [outcome] = await fence.freeze([target]);
      expect(outcome?.users.map((user) => user.how)).not.toContain('signal');
      expect(outcome?.users.map((user) => user.processNumber)).toEqual(expect.arrayContaining([one, inner]));
      expect([group, below].map(isFrozen)).toEqual([true, true]);
      await fence.kill([target]);
      expect([one, inner].map(hasEnded)).toEqual([true, true]);
    });

    it('stops and ends a container that forks without pause', async () => {
      const group = groupIn(tree, 'bomb');
      await startContainer(group, target.path, `${sayStarted}; while :; do (echo >> ${scratch}/inside/forks; sleep 0.2) & sleep 0.02; done`);
      await waitUntil('it forks', () => existsSync(join(target.path, 'forks')) && readFileSync(join(target.path, 'forks')).length > 20);
      expect(await fence.freeze([target])).toMatchObject([{ problem: null }]);
      expect(isFrozen(group)).toBe(true);
      expect(await fence.kill([target])).toMatchObject([{ problem: null }]);
      await waitUntil('its cgroup is empty', () => membersOf(group).length === 0);
    });

    it('leaves a container paused that somebody else had paused', async () => {
      const group = groupIn(tree, 'paused');
      const one = await startContainer(group, target.path, flushingWriter(`${scratch}/inside/count`));
      tellToFreeze(group);
      await waitUntil('it is paused', () => isFrozen(group));
      expect(await fence.freeze([target])).toMatchObject([{ users: [{ processNumber: one, how: 'cgroup' }], problem: null }]);
      await fence.thaw([target]);
      expect(isFrozen(group)).toBe(true);
      expect(await fence.kill([target])).toMatchObject([{ problem: null }]);
      expect(hasEnded(one)).toBe(true);
    });

    it('keeps a container of two volumes stopped as long as one of them asks for it', async () => {
      const group = groupIn(tree, 'both');
      await startContainer(group, pool, flushingWriter(`${scratch}/inside/live/count`, `g = os.open(\\"${scratch}/inside/other\\", os.O_RDONLY)`));
      expect((await fence.freeze([target, other])).map(({ users }) => users.length)).toEqual([1, 1]);
      await fence.thaw([target]);
      expect(isFrozen(group)).toBe(true);
      await fence.thaw([other]);
      await advances(target);
    });

    it('lets a container go on that a fence had stopped which died since', async () => {
      const group = groupIn(tree, 'orphan');
      await startContainer(group, target.path, flushingWriter(`${scratch}/inside/count`));
      await newFence().freeze([target]);
      await newFence().freeze([target]);
      expect(isFrozen(group)).toBe(true);
      await newFence().thaw([target]);
      await advances(target);
      await newFence().thaw([target]);
    });

    it('stops users one by one where a process of the host is in their cgroup, and leaves that one alone', async () => {
      const group = groupIn(tree, 'mixed');
      const stranger = await start(`echo $$ > ${group.directory}/cgroup.procs; ${sayStarted}; while :; do sleep 1000; done`);
      const one = await startContainer(group, target.path, flushingWriter(`${scratch}/inside/count`));
      expect(await fence.freeze([target])).toMatchObject([{ users: [{ processNumber: one, how: 'signal' }], problem: null }]);
      expect([stateOf(one), stateOf(stranger)]).toEqual(['T', 'S']);
      await fence.kill([target]);
      expect([hasEnded(one), stateOf(stranger)]).toEqual([true, 'S']);
    });

    it('ends a container once though two fences do it at the same time', async () => {
      const one = await startContainer(groupIn(tree, 'twice'), target.path, flushingWriter(`${scratch}/inside/count`));
      const outcomes = await Promise.all([newFence().kill([target]), newFence().kill([target])]);
      expect(outcomes.map(([outcome]) => outcome?.problem)).toEqual([null, null]);
      expect(hasEnded(one)).toBe(true);
    });
  });

  it('stops a shell of the host alone, and leaves stopped what had stopped before', async () => {
    const shell = await start(`cd ${target.mountPoint}; ${sayStarted}; while :; do read -t 1000 < <(sleep 1000); done`);
    const idle = await start(`${sayStarted}; while :; do sleep 1000; done`);
    const stopped = await start(`exec 3> ${target.mountPoint}/file; ${sayStarted}; kill -STOP $$; while :; do sleep 1000; done`);
    await waitUntil('it has stopped itself', () => stateOf(stopped) === 'T');
    const [outcome] = await fence.freeze([target]);
    expect(outcome?.problem).toBeNull();
    expect(outcome?.users.every(({ how }) => how === 'signal')).toBe(true);
    expect(outcome?.users.map((user) => user.processNumber)).toEqual(expect.arrayContaining([shell, stopped]));
    expect([stateOf(shell), stateOf(idle), stateOf(stopped)]).toEqual(['T', 'S', 'T']);
    await newFence().thaw([target]);
    await waitUntil('the shell goes on', () => stateOf(shell) === 'S');
    expect(stateOf(stopped)).toBe('T');
    expect(await fence.kill([target])).toMatchObject([{ problem: null }]);
    expect([hasEnded(shell), hasEnded(stopped), stateOf(idle)]).toEqual([true, true, 'S']);
  });

  it('stops and ends processes of the host that fork without pause', async () => {
    // Each child's life is short, so that there are always some that a single look has not seen.
    await start(`cd ${target.mountPoint}; ${sayStarted}; while :; do (echo >> forks; exec sleep 0.05) & done`);
    await waitUntil('it forks', () => existsSync(join(target.path, 'forks')) && readFileSync(join(target.path, 'forks')).length > 100);
    expect(await fence.freeze([target])).toMatchObject([{ problem: null }]);
    const states = (await system.usesOf(target.path, target.mountPoint)).map(({ processNumber }) => stateOf(processNumber));
    expect(new Set(states)).toEqual(new Set(['T']));
    const size = readFileSync(join(target.path, 'forks')).length;
    expect(await fence.kill([target])).toMatchObject([{ problem: null }]);
    expect(readFileSync(join(target.path, 'forks')).length).toBe(size);
  });

  it('ends a loop that opens the volume anew each time', async () => {
    await start(`${sayStarted}; while [ -d ${target.mountPoint} ]; do date >> ${target.mountPoint}/file || sleep 0.01; done 2> /dev/null`);
    await waitUntil('it writes', () => existsSync(join(target.path, 'file')));
    await waitUntil('it is ended', async () => (await fence.kill([target]))[0]?.problem === null);
    expect(await system.isMounted(target.path, target.mountPoint)).toBe(false);
  });

  it('spares our own processes, and what they started', async () => {
    const mine = spawn('bash', ['-c', `exec 3> ${target.mountPoint}/mine; echo ready; read line`], { stdio: ['pipe', 'pipe', 'inherit'] });
    await new Promise((resolve) => mine.stdout.once('data', resolve));
    const guard = await start(`exec 3> ${target.mountPoint}/theirs; ${sayStarted}; sleep 1000; :`);
    const sparing = newFence({ spared: () => [guard] });
    expect(await sparing.freeze([target])).toEqual([{ users: [], problem: null }]);
    expect(await sparing.kill([target])).toMatchObject([{ users: [], problem: expect.stringContaining('in use') }]);
    expect([stateOf(mine.pid ?? 0), stateOf(guard)]).toEqual(['S', 'S']);
    mine.stdin.end();
  });

  it('leaves an engine alone that merely sees the volume, and not one that has a file of it open', async () => {
    execFileSync('mkfifo', [join(scratch, 'nothing')]);
    const engine = (before: string) =>
      start(
        `exec unshare --mount --propagation private bash -c '${before} printf dockerd > /proc/self/comm; ${sayStarted}; read line <> ${scratch}/nothing'`,
      );
    const idle = await engine('');
    const busy = await engine(`exec 3> ${target.mountPoint}/file;`);
    expect(await fence.freeze([target])).toEqual([{ users: [{ processNumber: busy, name: 'dockerd', how: 'signal' }], problem: null }]);
    expect(await fence.kill([target])).toMatchObject([{ problem: null }]);
    expect([hasEnded(busy), stateOf(idle)]).toEqual([true, 'S']);
  });

  it('keeps nothing of what somebody else has killed', async () => {
    const shell = await start(`cd ${target.mountPoint}; ${sayStarted}; while :; do sleep 1000; done`);
    await fence.freeze([target]);
    expect(readdirSync(join(scratch, 'stopped'))).not.toEqual([]);
    endProcess(-shell);
    await fence.kill([target]);
    expect(readdirSync(join(scratch, 'stopped'))).toEqual([]);
  });

  it('has nothing to do where nothing is', async () => {
    const absent = { path: join(pool, 'absent'), mountPoint: join(scratch, 'mounts', 'absent') };
    expect(await fence.freeze([absent, target])).toEqual([
      { users: [], problem: null },
      { users: [], problem: null },
    ]);
    await fence.thaw([absent]);
    expect(await fence.kill([absent])).toEqual([{ users: [], problem: null }]);
  });

  it('stops a container though it cannot write down that it did', async () => {
    writeFileSync(join(scratch, 'no-directory'), '');
    const [tree] = available;
    const group = groupIn(tree!, 'unwritten');
    await startContainer(group, target.path, flushingWriter(`${scratch}/inside/count`));
    const unlucky = newFence({ marksDirectory: join(scratch, 'no-directory') });
    await unlucky.freeze([target]);
    expect(isFrozen(group)).toBe(true);
    await unlucky.thaw([target]);
    await advances(target);
  });
});
