import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SupercargoError } from '../model/errors.ts';
import { unprotected } from '../model/records.ts';
import type { Volume, VolumeClass } from '../model/records.ts';
import type { FailoverPreview, VolumeStatus } from '../protocol/protection-routes.ts';
import { CliTestBench } from './test-cli.ts';
import { cellsOf, host, hostId, hosts, snapshotId, time, volume, volumeId } from './test-records.ts';

let bench: CliTestBench;
beforeEach(async () => {
  bench = await CliTestBench.create();
});
afterEach(() => bench.close());

describe('classes', () => {
  const present: VolumeClass = {
    name: 'database',
    description: 'For databases.',
    driver: 'btrfs',
    sizeBytes: 1024,
    maximumSizeBytes: 2048,
    protection: { replicas: 2, intervalMilliseconds: 15_000, failover: 'auto' },
  };
  const plain: VolumeClass = {
    name: 'default',
    description: 'For all.',
    driver: 'btrfs',
    sizeBytes: null,
    maximumSizeBytes: 1024,
    protection: unprotected,
  };

  async function serveClasses(): Promise<{ class: string; body: unknown }[]> {
    const asked: { class: string; body: unknown }[] = [];
    await bench.serve({
      listClasses: async () => ({ items: [plain, present] }),
      putClass: async ({ parameters, body }) => {
        asked.push({ class: parameters.class, body });
        return { name: parameters.class, ...body };
      },
    });
    return asked;
  }

  it('are listed with how they protect', async () => {
    await serveClasses();
    expect(cellsOf((await bench.run(['class', 'ls'])).stdout)).toEqual([
      ['NAME', 'DRIVER', 'DEFAULT SIZE', 'MAXIMUM SIZE', 'REPLICAS', 'INTERVAL', 'FAILOVER', 'ENCRYPTION', 'DESCRIPTION'],
      ['default', 'btrfs', 'unlimited', '1.0 KiB', '0', '-', 'manual', 'none', 'For all.'],
      ['database', 'btrfs', '1.0 KiB', '2.0 KiB', '2', '15s', 'auto', 'none', 'For databases.'],
    ]);
  });

  it('keep what is not given', async () => {
    const asked = await serveClasses();
    const { name: _, ...kept } = present;
    expect(await bench.run(['class', 'set', 'database', '--interval', '1m'])).toEqual({
      code: 0,
      stdout: 'database: 2 replicas, shipped every 1 min; failover auto\n',
      stderr: '',
    });
    await bench.run(['class', 'set', 'database', '--size', 'none', '--max-size', '1M', '--failover', 'manual', '--description', '']);
    expect(asked).toEqual([
      { class: 'database', body: { ...kept, protection: { ...present.protection, intervalMilliseconds: 60_000 } } },
      {
        class: 'database',
        body: { ...kept, sizeBytes: null, maximumSizeBytes: 1024 ** 2, description: '', protection: { ...present.protection, failover: 'manual' } },
      },
    ]);
  });

  it('are made with what nobody asked otherwise', async () => {
    const asked = await serveClasses();
    const { stdout } = await bench.run(['class', 'set', 'new', '--replicas', '1', '--driver', 'other', '--json']);
    const body = {
      description: '',
      driver: 'other',
      sizeBytes: null,
      maximumSizeBytes: null,
      protection: { replicas: 1, intervalMilliseconds: 10_000, failover: 'manual' },
    };
    expect(asked).toEqual([{ class: 'new', body }]);
    expect(JSON.parse(stdout)).toEqual({ name: 'new', ...body });
  });

  it('with automatic failover and nothing to fail over to are remarked upon', async () => {
    await serveClasses();
    const { code, stderr } = await bench.run(['class', 'set', 'new', '--failover', 'auto']);
    expect([code, stderr]).toEqual([0, expect.stringMatching(/Give --replicas 1 or more/)]);
  });
});

const entry = (digit: number) => ({ snapshot: snapshotId(digit), epoch: 3, takenAt: time, bytes: 10 });
const protectedVolume = (name: string, changes: Partial<Volume> = {}): Volume =>
  volume(name, {
    protection: { replicas: 1, intervalMilliseconds: 10_000, failover: 'auto' },
    leasedEpoch: 3,
    replicas: [hostId(2)],
    lineage: [entry(1)],
    copies: [
      { host: hostId(1), kind: 'live', snapshots: [snapshotId(1)] },
      { host: hostId(2), kind: 'replica', snapshots: [snapshotId(1)] },
    ],
    ...changes,
  });
const kept = { host: hostId(1), snapshot: snapshotId(7), epoch: 2, keptAt: time };

it('a list of volumes counts the replicas that could take over and marks what is amiss', async () => {
  const threeHosts = [host(1), host(2, { status: 'up' }), host(3)];
  const items = [
    protectedVolume('well'),
    protectedVolume('empty', { lineage: [] }),
    protectedVolume('asleep', { replicas: [hostId(3)], copies: [{ host: hostId(3), kind: 'replica', snapshots: [snapshotId(1)] }] }),
    protectedVolume('away', { placement: { state: 'held', host: hostId(3), base: null } }),
    protectedVolume('kept', { diverged: [kept] }),
    protectedVolume('free', { placement: { state: 'free' }, copies: [], replicas: [], lineage: [] }),
  ];
  await bench.serve({ listVolumes: async () => ({ items }), listHosts: async () => ({ items: threeHosts }) });
  expect(cellsOf((await bench.run(['volume', 'ls'])).stdout).map((row) => [row[0], row[4], row[5]])).toEqual([
    ['NAME', 'STATE', 'REPLICAS'],
    ['well', 'held', '1/1'],
    ['empty', 'held ! replicas are missing', '0/1'],
    ['asleep', 'held ! replicas are missing', '0/1'],
    ['away', 'held ! h3 is down', '1/1'],
    ['kept', 'held ! has kept copies', '1/1'],
    ['free', 'free', '0/1'],
  ]);
});

describe('an inspected volume', () => {
  const status = (changes: Partial<VolumeStatus> = {}): VolumeStatus => ({
    volume: protectedVolume('pgdata', { labels: { team: 'a\u001b[31m' } }),
    state: 'held by h1',
    healthy: true,
    blockedBy: null,
    uses: [{ kind: 'container', name: 'db' }],
    next: null,
    copies: [
      { host: 'h1', role: 'holder', status: 'up', snapshot: snapshotId(1), takenAt: time, lagMilliseconds: null, lagBytes: null },
      { host: 'h2', role: 'replica', status: 'down', snapshot: snapshotId(1), takenAt: time, lagMilliseconds: 4200, lagBytes: 3 * 1024 ** 2 },
    ],
    ...changes,
  });
  async function inspected(served: VolumeStatus): Promise<string> {
    await bench.serve({ getVolumeStatus: async () => served, listHosts: async () => ({ items: hosts }) });
    return (await bench.run(['volume', 'inspect', 'pgdata'])).stdout;
  }

  it('says how it stands and how far its copies are', async () => {
    const stdout = await inspected(status());
    for (const line of ['state: +held by h1', 'healthy: +yes', 'used by: +container db', 'next step: +nothing is to be done', 'epoch: +3']) {
      expect(stdout).toMatch(new RegExp(`^${line}$`, 'm'));
    }
    expect(stdout).toMatch(/^protection: +1 replica, shipped every 10 s; failover auto$/m);
    expect(cellsOf(stdout).slice(-3)).toEqual([
      ['COPY ON', 'ROLE', 'STATUS', 'LAG', 'LAG BYTES', 'NEWEST SNAPSHOT'],
      ['h1', 'holder', 'up', '-', '-', snapshotId(1)],
      ['h2', 'replica', 'down', '4.2 s', '3.0 MiB', snapshotId(1)],
    ]);
    expect(stdout).not.toContain('\u001b');
    expect(stdout).not.toContain('failover:');
    expect(JSON.parse((await bench.run(['volume', 'inspect', 'pgdata', '--json'])).stdout)).toEqual(status());
  });

  it('that is not well says what blocks it and what to do', async () => {
    const waiting = { healthy: false, state: 'waits for h1', blockedBy: 'h1 is down', next: 'start h1', uses: [] };
    const stdout = await inspected(status({ ...waiting, volume: protectedVolume('pgdata', { leasedEpoch: null }) }));
    expect(stdout).toMatch(/^healthy: +NO: h1 is down$/m);
    expect(stdout).toMatch(/^next step: +start h1$/m);
    expect(stdout).toMatch(/failover auto \(not in force yet/);
    expect(stdout).not.toContain('used by');
  });

  it('shows what a failover has cost, and what it left behind', async () => {
    const lastFailover = {
      from: hostId(1),
      to: hostId(2),
      fromEpoch: 2,
      snapshot: snapshotId(1),
      snapshotTakenAt: time,
      actor: 'operator',
      reason: 'h1 burnt',
      at: '2026-11-23T09:00:07.300Z',
    };
    const stdout = await inspected(status({ healthy: false, volume: protectedVolume('pgdata', { lastFailover, diverged: [kept] }) }));
    expect(stdout).toMatch(/^last failover: +2026-11-23T09:00:07\.300Z from h1 to h2 by operator: h1 burnt$/m);
    expect(stdout).toMatch(/^healthy: +NO: what is kept below waits for a decision$/m);
    expect(stdout).toMatch(/^lost by it: +what was written after 2026-11-23T09:00:00Z, 7\.3 s before it$/m);
    expect(cellsOf(stdout).slice(-3)).toEqual([
      [snapshotId(7), 'h1', '2', time],
      ['restore one: supercargo volume restore pgdata SNAPSHOT NEWNAME'],
      ['drop one:', 'supercargo volume forget pgdata SNAPSHOT'],
    ]);
  });
});

describe('a restored volume', () => {
  it('is a new one, made from a snapshot', async () => {
    const bodies: unknown[] = [];
    await bench.serve({
      createVolume: async ({ body }) => {
        bodies.push(body);
        return volume(body.name);
      },
    });
    expect(await bench.run(['volume', 'restore', 'pgdata', snapshotId(7), 'before'])).toEqual({ code: 0, stdout: 'before\n', stderr: '' });
    await bench.run(['volume', 'restore', volumeId, snapshotId(7), 'before', '--class', 'database']);
    expect(bodies).toEqual([
      { name: 'before', from: { volume: 'pgdata', snapshot: snapshotId(7) } },
      { name: 'before', class: 'database', from: { volume: volumeId, snapshot: snapshotId(7) } },
    ]);
  });
});

describe('what was kept', () => {
  async function serveKept(): Promise<unknown[]> {
    const asked: unknown[] = [];
    await bench.serve({
      getVolume: async () => protectedVolume('pgdata', { diverged: [kept] }),
      listHosts: async () => ({ items: hosts }),
      forgetDiverged: async ({ parameters }) => {
        asked.push(parameters);
        return {};
      },
    });
    return asked;
  }

  it('is forgotten on demand', async () => {
    const asked = await serveKept();
    const { code, stdout, stderr } = await bench.run(['volume', 'forget', 'pgdata', snapshotId(7), '--yes']);
    expect([code, stdout]).toEqual([0, `${snapshotId(7)}\n`]);
    expect(stderr).toMatch(/^What h1 wrote to pgdata under epoch 2, and no other copy has, is deleted for ever\.$/m);
    expect(asked).toEqual([{ volume: 'pgdata', snapshot: snapshotId(7) }]);
  });

  it('stays without a word, and what was never kept is not found', async () => {
    const asked = await serveKept();
    expect(await bench.run(['volume', 'forget', 'pgdata', snapshotId(7)])).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(/with --yes/),
    });
    expect(await bench.run(['volume', 'forget', 'pgdata', snapshotId(8), '--yes'])).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/no kept copy snp_8+\.\nhint: supercargo volume inspect pgdata/),
    });
    expect(asked).toEqual([]);
  });
});

describe('a failover', () => {
  const preview = (changes: Partial<FailoverPreview> = {}): FailoverPreview => ({
    volume: 'pgdata',
    epoch: 3,
    holder: 'h1',
    holderStatus: 'down',
    automatic: false,
    candidates: [
      { host: 'h2', snapshot: snapshotId(1), takenAt: time, lossMilliseconds: 12_000 },
      { host: 'h3', snapshot: snapshotId(2), takenAt: time, lossMilliseconds: 22_000 },
    ],
    ...changes,
  });
  async function serveFailover(served: FailoverPreview = preview()): Promise<unknown[]> {
    const bodies: unknown[] = [];
    await bench.serve({
      previewFailover: async () => served,
      listHosts: async () => ({ items: [host(1), host(2), host(3)] }),
      failOver: async ({ body }) => {
        bodies.push(body);
        const lastFailover = {
          from: hostId(1),
          to: hostId(2),
          fromEpoch: 3,
          snapshot: snapshotId(1),
          snapshotTakenAt: time,
          actor: 'operator',
          reason: body.reason,
          at: '2026-11-23T09:00:12Z',
        };
        return protectedVolume('pgdata', { epoch: 4, placement: { state: 'held', host: hostId(2), base: snapshotId(1) }, lastFailover });
      },
    });
    return bodies;
  }
  const words = ['volume', 'failover', 'pgdata'];
  const off = [...words, '--holder-is-off'];

  it('says before and after what is lost', async () => {
    const bodies = await serveFailover();
    const { code, stdout, stderr } = await bench.run([...off, '--reason', 'h1 burnt', '--yes']);
    expect([code, stdout]).toEqual([0, 'pgdata is held by h2 under epoch 4. Lost: what was written after 2026-11-23T09:00:00Z, 12 s before it.\n']);
    expect(stderr.split('\n').slice(0, 3)).toEqual([
      'h2 takes pgdata over from h1, which is down.',
      'Lost at most: what was written in the last 12 s (after 2026-11-23T09:00:00Z).',
      'Instead: h3 (22 s).',
    ]);
    expect(stderr).toMatch(/You say that h1 does not run/);
    expect(bodies).toEqual([{ epoch: 3, to: 'h2', reason: 'h1 burnt', holderIsOff: true }]);
  });

  it('goes to the host that is named, by its name or its identifier', async () => {
    const bodies = await serveFailover();
    await bench.run([...off, '--reason', 'r', '--to', 'h3', '--yes']);
    const { stdout } = await bench.run([...off, '--reason', 'r', '--to', hostId(3), '--yes', '--json']);
    expect(bodies).toEqual(Array.from({ length: 2 }, () => ({ epoch: 3, to: 'h3', reason: 'r', holderIsOff: true })));
    expect(JSON.parse(stdout)).toMatchObject({ name: 'pgdata', epoch: 4 });
  });

  it('is only described with --dry-run', async () => {
    const bodies = await serveFailover();
    const { code, stdout, stderr } = await bench.run([...words, '--dry-run']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^h2 takes pgdata over from h1, which is down\.$/m);
    expect(stdout).toMatch(/does not stop its containers by itself.*--holder-is-off$/m);
    expect(stdout).not.toMatch(/The name server does this/);
    expect(JSON.parse((await bench.run([...words, '--dry-run', '--json'])).stdout)).toEqual(preview());
    expect(bodies).toEqual([]);
  });

  it('of a holder that is up is refused in favour of a move', async () => {
    const bodies = await serveFailover(preview({ holderStatus: 'up', automatic: true }));
    const { stdout } = await bench.run([...words, '--dry-run']);
    expect(stdout).toMatch(/While h1 is up this is refused\. Nothing is lost by: supercargo volume move pgdata --to h2/);
    expect(stdout).not.toContain('--holder-is-off');
    expect(await bench.run([...off, '--reason', 'r', '--yes'])).toMatchObject({
      code: 4,
      stderr: expect.stringMatching(
        /h2 takes pgdata over[^]*leaves it by a move\.\nhint: supercargo volume move pgdata --to h2; if h1 has just gone/,
      ),
    });
    expect(bodies).toEqual([]);
  });

  it('needs the word that the holder is off where it does not stop by itself', async () => {
    const bodies = await serveFailover();
    expect(await bench.run([...words, '--reason', 'r', '--yes'])).toMatchObject({
      code: 4,
      stderr: expect.stringMatching(/h2 takes pgdata over[^]*may still run.*\nhint: .*--holder-is-off/),
    });
    expect(bodies).toEqual([]);
  });

  it('that comes by itself is to be waited for, unless the holder is known to be off', async () => {
    const bodies = await serveFailover(preview({ automatic: true }));
    expect((await bench.run([...words, '--dry-run'])).stdout).toMatch(/does this by itself when the lease of h1 has run out/);
    expect(await bench.run([...words, '--reason', 'r', '--yes'])).toMatchObject({
      code: 4,
      stderr: expect.stringMatching(/fails over by itself.*\nhint: Wait for it, or.*--holder-is-off/),
    });
    expect(await bench.run([...off, '--reason', 'r', '--yes'])).toMatchObject({ code: 0 });
    expect(bodies).toEqual([{ epoch: 3, to: 'h2', reason: 'r', holderIsOff: true }]);
  });

  it.each([
    ['y\n', 0],
    ['YES\n', 0],
    ['n\n', 1],
    ['yesterday\n', 1],
    ['', 1],
  ])('is asked for on a terminal; %j ends with %i', async (answer, expected) => {
    const bodies = await serveFailover();
    const { code, stderr } = await bench.run([...off, '--reason', 'r'], { typed: answer });
    expect(code).toBe(expected);
    expect(stderr).toContain('Let h2 take pgdata over? [y/N] ');
    expect(bodies).toHaveLength(expected === 0 ? 1 : 0);
    expect(stderr.endsWith('Nothing was changed.\n')).toBe(expected !== 0);
  });

  it('is not done where nobody can be asked, and programs are never asked', async () => {
    const bodies = await serveFailover();
    const refused = await bench.run([...off, '--reason', 'r']);
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringMatching(/h2 takes pgdata over[^]*error: .*\nhint: .*with --yes/) });
    const { code, stderr } = await bench.run([...off, '--reason', 'r', '--json'], { typed: 'y\n' });
    expect([code, JSON.parse(stderr)]).toMatchObject([2, { code: 'invalid-option' }]);
    expect(bodies).toEqual([]);
  });

  it('needs a reason, and says before what it would do', async () => {
    const bodies = await serveFailover();
    for (const reason of [[], ['--reason', ' ']]) {
      const { code, stderr } = await bench.run([...off, ...reason, '--yes']);
      expect([code, stderr]).toEqual([2, expect.stringMatching(/h2 takes pgdata over[^]*needs a reason/)]);
    }
    expect(bodies).toEqual([]);
  });

  it('to a host without a copy names those that have one', async () => {
    const bodies = await serveFailover();
    expect(await bench.run([...words, '--to', 'h9', '--reason', 'r', '--yes'])).toMatchObject({
      code: 4,
      stderr: expect.stringMatching(
        /Host h9 cannot take volume "pgdata" over\. These could take over: h2 \(12 s\); h3 \(22 s\)\.\nhint: .*--to HOST/,
      ),
    });
    expect(bodies).toEqual([]);
  });

  it('is impossible where no copy is', async () => {
    const bodies = await serveFailover(preview({ candidates: [] }));
    expect(await bench.run([...words, '--reason', 'r', '--yes'])).toMatchObject({
      code: 4,
      stderr: expect.stringMatching(/Nothing can take volume "pgdata" over\. No other host that is up has a copy.*\nhint: Bring h1 back/),
    });
    expect(await bench.run([...words, '--dry-run'])).toMatchObject({ code: 0, stdout: expect.stringMatching(/No other host that is up has a copy/) });
    expect(bodies).toEqual([]);
  });

  it('tells what the name server refuses', async () => {
    await bench.serve({
      previewFailover: async () => preview(),
      listHosts: async () => ({ items: hosts }),
      failOver: () => Promise.reject(new SupercargoError('wrong-state', 'h1 may still run.', { hint: 'Say --holder-is-off.' })),
    });
    expect(await bench.run([...off, '--reason', 'r', '--yes'])).toMatchObject({
      code: 4,
      stdout: '',
      stderr: expect.stringMatching(/error: h1 may still run\.\nhint: Say --holder-is-off\.\n$/),
    });
  });

  it('takes an identifier for the volume', async () => {
    await serveFailover();
    expect(await bench.run(['volume', 'failover', volumeId, '--dry-run'])).toMatchObject({ code: 0 });
  });
});
