import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SupercargoError } from '../model/errors.ts';
import type { Move, Volume } from '../model/records.ts';
import type { HostView, WatchMessage } from '../protocol/routes.ts';
import { CliTestBench } from './test-cli.ts';
import { cellsOf, host, hostId, hosts, move, moveId, noAccess, snapshotId, time, volume } from './test-records.ts';

let bench: CliTestBench;
beforeEach(async () => {
  bench = await CliTestBench.create();
});
afterEach(() => bench.close());

const id = (letter: string) => `vol_${letter.repeat(24)}`;

describe('hosts', () => {
  it('are listed with their state and what they hold', async () => {
    const served = [host(1, { state: 'draining', labels: { zone: 'a', rack: '7' } }), host(2)];
    await bench.serve({ listHosts: async () => ({ items: served }), listVolumes: async () => ({ items: [volume('a'), volume('b')] }) });
    expect(cellsOf((await bench.run(['host', 'ls'])).stdout)).toEqual([
      ['NAME', 'STATUS', 'STATE', 'HOLDS', 'LABELS', 'ADDRESS', 'POOL USED/CAPACITY', 'VERSION'],
      ['h1', 'up', 'draining', '2', 'zone=a, rack=7', '10.0.0.1:7471', '1.0 GiB / 10.0 GiB', '1.2.3'],
      ['h2', 'down', 'active', '0', '-', '10.0.0.2:7471', '-', '1.2.3'],
    ]);
    expect(JSON.parse((await bench.run(['host', 'ls', '--json'])).stdout)).toEqual([
      { ...served[0], held: 2 },
      { ...served[1], held: 0 },
    ]);
  });

  it('are inspected', async () => {
    await bench.serve({ getHost: async () => host(1, { labels: { zone: 'a' } }) });
    const { stdout } = await bench.run(['host', 'inspect', hostId(1)]);
    expect(stdout).toMatch(/^pool location: +\/dev\/vdb$/m);
    expect(stdout).toMatch(/^labels: +zone=a$/m);
  });

  it('keep the labels that are not named', async () => {
    const bodies: unknown[] = [];
    await bench.serve({
      getHost: async () => host(1, { labels: { rack: '7', disk: 'ssd' } }),
      labelHost: async ({ body }) => {
        bodies.push(body);
        return {};
      },
    });
    const { code, stdout } = await bench.run(['host', 'label', 'h1', 'zone=a', 'rack=']);
    expect([code, stdout]).toEqual([0, 'h1:  disk=ssd, zone=a\n']);
    expect(bodies).toEqual([{ labels: { disk: 'ssd', zone: 'a' } }]);
  });

  it('are activated again', async () => {
    const asked: unknown[] = [];
    await bench.serve({
      activateHost: async ({ parameters }) => {
        asked.push(parameters);
        return {};
      },
    });
    expect(await bench.run(['host', 'activate', 'h1'])).toEqual({ code: 0, stdout: 'Host h1 is active.\n', stderr: '' });
    expect(asked).toEqual([{ host: 'h1' }]);
  });
});

describe('draining', () => {
  const draining = host(1, { state: 'draining' });
  const leaving = (name: string, letter: string, changes: Partial<Volume> = {}): Volume => volume(name, { id: id(letter), ...changes });
  const onItsWay = (name: string, letter: string): Volume =>
    leaving(name, letter, { placement: { state: 'moving', from: hostId(1), to: hostId(2), move: moveId, base: null } });
  const gone = (name: string, letter: string): Volume =>
    leaving(name, letter, { placement: { state: 'held', host: hostId(2), base: null }, copies: [] });
  const moving = (changes: Partial<Move> = {}): Move => move({ volume: id('a'), ...changes });
  const blockedBy = [{ kind: 'container' as const, name: 'db' }];
  const reset = (volumes: Volume[], moves: Move[] = [], served: HostView[] = [draining, host(2)]): WatchMessage => ({
    type: 'reset',
    revision: 1,
    volumes,
    moves,
    hosts: served,
    ...noAccess,
  });
  const volumeNow = (changed: Volume): WatchMessage => ({ type: 'volume', revision: 2, id: changed.id, volume: changed });
  const moveNow = (changed: Move): WatchMessage => ({ type: 'move', revision: 2, id: changed.id, move: changed });

  async function serveDrain(messages: () => AsyncGenerator<WatchMessage>, counts = { held: 1, replicas: 1 }): Promise<void> {
    await bench.serve({ drainHost: async () => counts, getHost: async () => draining, watch: messages });
  }
  const forever = (...messages: WatchMessage[]) =>
    async function* (): AsyncGenerator<WatchMessage> {
      yield* messages;
      await new Promise(() => {});
    };
  const replica = leaving('r', 'b', { placement: { state: 'held', host: hostId(2), base: null }, copies: [], replicas: [hostId(1)] });
  const story = forever(
    reset([leaving('pgdata', 'a'), replica]),
    volumeNow(onItsWay('pgdata', 'a')),
    moveNow(moving()),
    moveNow(moving({ phase: 'ready', blockedBy })),
    moveNow(moving({ phase: 'ready', blockedBy: [] })),
    moveNow(moving({ phase: 'committed', endedAt: time })),
    volumeNow(gone('pgdata', 'a')),
    volumeNow({ ...replica, replicas: [] }),
  );

  it('returns at once and says how to follow it', async () => {
    await serveDrain(story, { held: 2, replicas: 1 });
    const { code, stdout, stderr } = await bench.run(['host', 'drain', 'h1']);
    expect([code, stdout]).toEqual([0, '2 volumes and 1 replica move away from h1, which gets nothing new.\n']);
    expect(stderr).toBe('Follow it: supercargo host drain h1 --wait; end it: supercargo host activate h1\n');
    expect(await bench.run(['host', 'drain', 'h1', '--json'])).toEqual({
      code: 0,
      stdout: expect.stringMatching(/"host": "h1",\s*"held": 2,\s*"replicas": 1/),
      stderr: '',
    });
  });

  it('is over at once where nothing is', async () => {
    await serveDrain(forever(reset([])), { held: 0, replicas: 0 });
    const { stdout, stderr } = await bench.run(['host', 'drain', 'h1', '--wait']);
    expect([stdout, stderr]).toEqual([
      'Host h1 is empty and gets nothing new.\n',
      expect.stringMatching(/^Take it out of the cluster: supercargo host rm h1/),
    ]);
  });

  it('waits for old copies and for what is on its way there, but not for what an operator has to decide on', async () => {
    const diverged = [{ host: hostId(1), snapshot: snapshotId(7), epoch: 2, keptAt: time }];
    const placement = { state: 'held' as const, host: hostId(2), base: null };
    const copies = [{ host: hostId(1), kind: 'replica' as const, snapshots: [] }];
    const old = leaving('old', 'b', { placement, copies });
    const arriving = leaving('arriving', 'c', { placement: { state: 'moving', from: hostId(2), to: hostId(1), move: moveId, base: null } });
    await serveDrain(
      forever(
        reset([old, arriving, leaving('kept', 'd', { placement, copies, diverged })], [], [{ ...draining, status: 'down' }, host(2)]),
        volumeNow(gone('arriving', 'c')),
        volumeNow({ ...old, copies: [] }),
      ),
    );
    const { stdout, stderr } = await bench.run(['host', 'drain', 'h1', '--wait']);
    expect(stdout).toBe('Host h1 is empty but for what is kept there of kept.\n');
    expect(stderr.split('\n').slice(0, 3)).toEqual([
      'h1: 1 volume on the way here, old copies of 1 volume left; the host is DOWN, start its agent',
      'h1: old copies of 1 volume left; the host is DOWN, start its agent',
      'Restore or forget it before the host is removed: supercargo volume inspect NAME shows what it is.',
    ]);
  });

  it('is shown volume by volume until the host is empty, with who uses what stays', async () => {
    await serveDrain(story);
    const { code, stdout, stderr } = await bench.run(['host', 'drain', 'h1', '--wait']);
    expect([code, stdout]).toEqual([0, 'Host h1 is empty and gets nothing new.\n']);
    expect(stderr.split('\n').slice(0, -2)).toEqual([
      'h1: 1 volume (1 not moving yet), 1 replica left',
      'pgdata h1 -> h2: copying',
      'h1: 1 volume, 1 replica left',
      'pgdata h1 -> h2: ready; waits for container db on h1 to stop',
      'h1: 1 volume (1 in use), 1 replica left',
      'pgdata h1 -> h2: ready; handing over',
      'h1: 1 volume, 1 replica left',
      'pgdata h1 -> h2: done',
      'h1: 1 replica left',
    ]);
    expect(JSON.parse((await bench.run(['host', 'drain', 'h1', '--wait', '--json'])).stdout)).toEqual({ host: 'h1', held: 0, replicas: 0, kept: [] });
  });

  it('is drawn over one line on a terminal, with the progress', async () => {
    const progress = { round: 1, transferredBytes: 5, totalBytes: 10, bytesPerSecond: 5, totalTransferredBytes: 5 };
    await serveDrain(
      forever(reset([onItsWay('pgdata', 'a')], [moving({ progress })]), moveNow(moving({ phase: 'committed' })), volumeNow(gone('pgdata', 'a'))),
    );
    const { stderr } = await bench.run(['host', 'drain', 'h1', '--wait'], { terminal: true });
    expect(stderr).toContain('\r\u001b[2Kh1: 1 volume left; pgdata h1 -> h2: copying  50 %  5 B of 10 B  5 B/s  1.0 s left');
  });

  it('tells a move that failed', async () => {
    const error = { code: 'pool-full', message: 'The pool of h2 is full.', hint: null };
    await serveDrain(
      forever(
        reset([onItsWay('pgdata', 'a')], [moving()]),
        moveNow(moving({ phase: 'aborted', error })),
        volumeNow(leaving('pgdata', 'a')),
        volumeNow(gone('pgdata', 'a')),
      ),
    );
    const { stderr } = await bench.run(['host', 'drain', 'h1', '--wait']);
    expect(stderr).toMatch(/^pgdata h1 -> h2: failed: The pool of h2 is full\.\nh1: 1 volume \(1 not moving yet\) left$/m);
  });

  it('goes on after the time that the user would wait', async () => {
    await serveDrain(forever(reset([leaving('pgdata', 'a')])));
    expect(await bench.run(['host', 'drain', 'h1', '--timeout', '100ms'])).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/not empty after 100 ms.*; the draining goes on\.\nhint: Look again: supercargo host drain h1 --wait; end it/),
    });
  });

  it('goes on after Ctrl-C', async () => {
    const watched = Promise.withResolvers<void>();
    await serveDrain(async function* () {
      yield reset([leaving('pgdata', 'a')]);
      watched.resolve();
      await new Promise(() => {});
    });
    const running = bench.run(['host', 'drain', 'h1', '--wait']);
    await watched.promise;
    process.emit('SIGINT');
    expect(await running).toMatchObject({
      code: 130,
      stdout: '',
      stderr: expect.stringMatching(/The draining goes on\. Look again: .*; end it: supercargo host activate h1\n$/),
    });
  });

  it('that somebody ended, or a host that left, is no success', async () => {
    const activated: WatchMessage = { type: 'host', revision: 2, id: hostId(1), host: host(1) };
    await serveDrain(forever(reset([leaving('pgdata', 'a')]), activated));
    expect(await bench.run(['host', 'drain', 'h1', '--wait'])).toMatchObject({
      code: 4,
      stdout: '',
      stderr: expect.stringMatching(/draining of host h1 was ended\.\nhint: Begin again/),
    });
    await bench.close();
    bench = await CliTestBench.create();
    await serveDrain(forever(reset([leaving('pgdata', 'a')], [], [host(2)])));
    expect(await bench.run(['host', 'drain', 'h1', '--wait'])).toMatchObject({
      code: 3,
      stderr: expect.stringMatching(/not in the cluster any more/),
    });
  });

  it('that does not fit is refused with the list of the name server', async () => {
    await bench.serve({
      drainHost: () => Promise.reject(new SupercargoError('wrong-state', 'These do not fit elsewhere: a, b.', { hint: 'Make room on h2.' })),
    });
    expect(await bench.run(['host', 'drain', 'h1', '--wait'])).toEqual({
      code: 4,
      stdout: '',
      stderr: 'error: These do not fit elsewhere: a, b.\nhint: Make room on h2.\n',
    });
  });
});

describe('removing a host', () => {
  const held = volume('pgdata', { id: id('a') });
  const single = volume('scratch', { id: id('b') });
  const moved = volume('moved', { id: id('c') });
  const elsewhere = volume('other', {
    id: id('d'),
    placement: { state: 'held', host: hostId(2), base: null },
    replicas: [hostId(1)],
    diverged: [{ host: hostId(1), snapshot: snapshotId(7), epoch: 2, keptAt: time }],
  });

  async function serveRemoval(volumes: Volume[], status: 'up' | 'down' = 'down'): Promise<unknown[]> {
    const bodies: unknown[] = [];
    await bench.serve({
      getHost: async () => host(1, { status }),
      listHosts: async () => ({ items: hosts }),
      listVolumes: async () => ({ items: volumes }),
      previewFailover: async ({ parameters }) => {
        if (parameters.volume === moved.id) throw new SupercargoError('move-in-progress', 'It is being moved.');
        const candidates = [{ host: 'h2', snapshot: snapshotId(1), takenAt: time, lossMilliseconds: 9000 }];
        return {
          volume: 'v',
          epoch: 1,
          holder: 'h1',
          holderStatus: status,
          automatic: false,
          candidates: parameters.volume === held.id ? candidates : [],
        };
      },
      removeHost: async ({ body }) => {
        bodies.push(body);
        return body.lost ? { failedOver: ['pgdata'], withoutCopy: ['scratch'] } : { failedOver: [], withoutCopy: [] };
      },
    });
    return bodies;
  }

  it('that is empty needs a yes', async () => {
    const bodies = await serveRemoval([]);
    expect(await bench.run(['host', 'rm', 'h1'])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^h1 leaves the cluster\. Nothing is on it\..*\n.*\nhint: .*--yes/),
    });
    expect(await bench.run(['host', 'rm', 'h1'], { typed: 'n\n' })).toMatchObject({ code: 1, stdout: '' });
    expect(bodies).toEqual([]);
    expect(await bench.run(['host', 'rm', 'h1'], { typed: 'y\n' })).toMatchObject({ code: 0, stdout: 'Host h1 is removed.\n' });
    await bench.run(['host', 'rm', 'h1', '--reason', 'sold', '--yes']);
    expect(bodies).toEqual([
      { lost: false, abandonVolumes: false },
      { lost: false, abandonVolumes: false, reason: 'sold' },
    ]);
  });

  it('that is not empty is refused with what is there', async () => {
    const kept = { ...elsewhere, replicas: [] };
    const old = { ...elsewhere, name: 'old', diverged: [], replicas: [] };
    const arriving = volume('next', { placement: { state: 'moving', from: hostId(2), to: hostId(1), move: moveId, base: null } });
    const bodies = await serveRemoval([held, single, arriving, old, kept]);
    expect(await bench.run(['host', 'rm', 'h1', '--yes'])).toMatchObject({
      code: 4,
      stdout: '',
      stderr: expect.stringMatching(
        /Host "h1" holds pgdata, scratch, and is about to get next, and has copies of old, and keeps .* to other\.\nhint: Start it .*host drain h1 --wait; .*--lost --reason TEXT/,
      ),
    });
    await bench.close();
    bench = await CliTestBench.create();
    await serveRemoval([kept], 'up');
    expect(await bench.run(['host', 'rm', 'h1', '--yes'])).toMatchObject({ code: 4, stderr: expect.stringMatching(/\nhint: Restore or forget it/) });
    expect(bodies).toEqual([]);
  });

  it('that is lost says before what becomes of every volume, and after what did', async () => {
    const bodies = await serveRemoval([held, single, moved, elsewhere]);
    const words = ['host', 'rm', 'h1', '--lost', '--reason', 'fire', '--yes'];
    const { code, stdout, stderr } = await bench.run(words);
    expect([code, stdout]).toEqual([0, 'Host h1 is removed.\nTaken over by replicas: pgdata\nGiven up, with their data: scratch\n']);
    expect(stderr.trimEnd().split('\n')).toEqual([
      'You say that h1 does not run and does not come back: it leaves the cluster, with whatever is on its disk.',
      '  pgdata: h2 takes it over; lost at most what was written in the last 9.0 s',
      '  scratch: NO other host that is up has a copy',
      '  moved: cannot be told now: It is being moved.',
      '  1 replica to be made anew elsewhere: other',
      `  kept snapshots that are on h1 alone and go with it: other ${snapshotId(7)}`,
    ]);
    expect(bodies).toEqual([{ lost: true, abandonVolumes: false, reason: 'fire' }]);
    expect(JSON.parse((await bench.run([...words, '--json'])).stdout)).toEqual({ host: 'h1', failedOver: ['pgdata'], withoutCopy: ['scratch'] });
  });

  it('that is up cannot be lost', async () => {
    const bodies = await serveRemoval([held], 'up');
    expect(await bench.run(['host', 'rm', 'h1', '--lost', '--reason', 'fire', '--yes'])).toMatchObject({
      code: 4,
      stdout: '',
      stderr: expect.stringMatching(/Host "h1" is up; --lost is for one that does not run\.\nhint: supercargo host drain h1 --wait/),
    });
    expect(bodies).toEqual([]);
  });
});
