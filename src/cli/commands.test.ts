import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SupercargoError } from '../model/errors.ts';
import type { Move } from '../model/records.ts';
import type { WatchMessage } from '../protocol/routes.ts';
import { CliTestBench } from './test-cli.ts';
import { cellsOf, hostId, hosts, move, moveId, noAccess, time, volume } from './test-records.ts';

let bench: CliTestBench;
beforeEach(async () => {
  bench = await CliTestBench.create();
});
afterEach(() => bench.close());

describe('volumes', () => {
  it('are listed for people and for programs', async () => {
    const moving = volume('b', {
      sizeBytes: 10 * 1024 ** 3,
      copies: [],
      placement: { state: 'moving', from: hostId(1), to: hostId(2), move: moveId, base: null },
    });
    const items = [volume('a'), moving];
    await bench.serve({ listVolumes: async () => ({ items }), listHosts: async () => ({ items: hosts }) });
    const { code, stdout, stderr } = await bench.run(['volume', 'ls']);
    expect([code, stderr]).toEqual([0, '']);
    expect(cellsOf(stdout).map((row) => row.slice(0, -1))).toEqual([
      ['NAME', 'CLASS', 'SIZE', 'HOLDER', 'STATE', 'REPLICAS'],
      ['a', 'default', 'unlimited', 'h1', 'held', '-'],
      ['b', 'default', '10.0 GiB', 'h1', 'moving to h2', '-'],
    ]);
    expect(JSON.parse((await bench.run(['volume', 'ls', '--json'])).stdout)).toEqual(items);
  });

  it('are made with what was asked for', async () => {
    const bodies: unknown[] = [];
    await bench.serve({
      createVolume: async ({ body }) => {
        bodies.push(body);
        return volume(body.name);
      },
    });
    const words = ['volume', 'create', 'v', '--size', '10G', '--class', 'fast', '--label', 'a=1', '--label', 'b=x=y', '--host', 'h1'];
    expect(await bench.run(words)).toEqual({ code: 0, stdout: 'v\n', stderr: '' });
    await bench.run(['volume', 'create', 'w']);
    expect(bodies).toEqual([{ name: 'v', sizeBytes: 10 * 1024 ** 3, class: 'fast', labels: { a: '1', b: 'x=y' }, host: 'h1' }, { name: 'w' }]);
  });

  it('are removed one by one, whatever happens to the others', async () => {
    await bench.serve({
      removeVolume: async ({ parameters }) => {
        if (parameters.volume === 'busy') throw new SupercargoError('volume-in-use', 'Container db uses it.', { hint: 'Stop it.' });
        if (parameters.volume === 'none') throw new SupercargoError('not-found', 'There is no volume "none".');
        return {};
      },
    });
    const { code, stdout, stderr } = await bench.run(['volume', 'rm', 'a', 'busy', 'none', 'b']);
    expect([code, stdout]).toEqual([4, 'a\nb\n']);
    expect(stderr).toBe('error: Container db uses it.\nhint: Stop it.\nerror: There is no volume "none".\n');
  });
});

describe('a move', () => {
  const reset = (...moves: Move[]): WatchMessage => ({ type: 'reset', revision: 1, volumes: [], moves, hosts, ...noAccess });
  const change = (changed: Move): WatchMessage => ({ type: 'move', revision: 2, id: changed.id, move: changed });
  const progress = {
    round: 1,
    transferredBytes: 63 * 1024 ** 2,
    totalBytes: 100 * 1024 ** 2,
    bytesPerSecond: 37 * 1024 ** 2,
    totalTransferredBytes: 63 * 1024 ** 2,
  };
  const stages = [move({ progress }), move({ phase: 'ready', blockedBy: [{ kind: 'container', name: 'db' }] }), move({ phase: 'released' })];
  const committed = move({ phase: 'committed', endedAt: '2026-11-23T09:00:08.200Z', progress });

  async function serveMove(...last: Move[]): Promise<void> {
    await bench.serve({
      createMove: async () => ({ volume: volume('pgdata'), move: move() }),
      watch: async function* () {
        yield reset(move());
        yield* [...stages, ...last].map(change);
      },
    });
  }

  it('is shown until it ends, line by line where nothing can be redrawn', async () => {
    await serveMove(committed);
    const { code, stdout, stderr } = await bench.run(['volume', 'move', 'pgdata', '--to', 'h2']);
    expect([code, stdout]).toEqual([0, 'Moved pgdata from h1 to h2: 63.0 MiB in 8.2 s.\n']);
    expect(stderr.split('\n')).toEqual([
      'pgdata h1 -> h2: copying',
      'pgdata h1 -> h2: ready; waits for container db on h1 to stop',
      'pgdata h1 -> h2: last changes',
      '',
    ]);
  });

  it('is redrawn in one line on a terminal', async () => {
    await serveMove(committed);
    const { stderr } = await bench.run(['volume', 'move', 'pgdata', '--to', 'h2'], { terminal: true });
    expect(stderr).toContain('\r\u001b[2Kpgdata h1 -> h2: copying  63 %  63.0 MiB of 100 MiB  37.0 MiB/s  1.0 s left');
  });

  it('is a record for programs', async () => {
    await serveMove(committed);
    const { stdout } = await bench.run(['volume', 'move', 'pgdata', '--to', 'h2', '--json'], { terminal: true });
    expect(JSON.parse(stdout)).toEqual(committed);
  });

  it('that failed gives its own error', async () => {
    await serveMove(move({ phase: 'aborted', error: { code: 'pool-full', message: 'The pool of h2 is full.', hint: 'Make room.' } }));
    const { code, stdout, stderr } = await bench.run(['volume', 'move', 'pgdata', '--to', 'h2']);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(/error: Volume "pgdata" stays on h1: The pool of h2 is full\.\nhint: Make room\.\n$/);
  });

  it('that ended before it was watched is found all the same', async () => {
    await bench.serve({
      getMove: async () => committed,
      watch: async function* () {
        yield reset();
      },
    });
    expect(await bench.run(['move', 'follow', moveId])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Moved pgdata/) });
  });

  it('goes on when the user looks no longer', async () => {
    const endless = async function* (): AsyncGenerator<WatchMessage> {
      yield reset(move());
      await new Promise(() => {});
    };
    await bench.serve({ createMove: async () => ({ volume: volume('pgdata'), move: move() }), watch: endless });
    const late = await bench.run(['volume', 'move', 'pgdata', '--to', 'h2', '--timeout', '50ms']);
    expect(late.code).toBe(1);
    expect(late.stderr).toMatch(/the move goes on\.\nhint: Follow it: supercargo move follow mov_a+; cancel it: supercargo move cancel mov_a+\n$/);
    expect(await bench.run(['volume', 'move', 'pgdata', '--to', 'h2', '--detach'])).toMatchObject({ code: 0, stdout: `${moveId}\n` });
  });

  it('goes on after Ctrl-C', async () => {
    const watched = Promise.withResolvers<void>();
    await bench.serve({
      createMove: async () => ({ volume: volume('pgdata'), move: move() }),
      watch: async function* () {
        yield reset(move());
        watched.resolve();
        await new Promise(() => {});
      },
    });
    const running = bench.run(['volume', 'move', 'pgdata', '--to', 'h2']);
    await watched.promise;
    process.emit('SIGINT');
    expect(await running).toMatchObject({ code: 130, stdout: '', stderr: expect.stringMatching(/The move goes on\. Follow it: .* cancel it: /) });
  });

  it('is not needed where the volume is there already', async () => {
    await bench.serve({ createMove: async () => ({ volume: volume('pgdata'), move: null }) });
    expect(await bench.run(['volume', 'move', 'pgdata', '--to', 'h1'])).toEqual({ code: 0, stdout: 'Volume pgdata is on h1 already.\n', stderr: '' });
  });

  it('is listed while it goes on, and cancelled', async () => {
    await bench.serve({
      listMoves: async () => ({ items: [committed, move()] }),
      listHosts: async () => ({ items: hosts }),
      cancelMove: async () => move({ phase: 'aborted' }),
    });
    expect((await bench.run(['move', 'ls'])).stdout.match(/mov_/g)).toHaveLength(1);
    expect(JSON.parse((await bench.run(['move', 'ls', '--all', '--json'])).stdout)).toHaveLength(2);
    expect((await bench.run(['move', 'cancel', moveId])).stdout).toBe('Cancelled; volume pgdata stays where it is.\n');
  });
});

describe('the cluster', () => {
  it('invites with one line that can be pasted', async () => {
    await bench.serve({
      createInvite: async () => ({ token: 'inv_x.y', expiresAt: time, joinAddress: '10.0.0.1:7470', fingerprint: `sha256:${'a'.repeat(64)}` }),
    });
    const command = `supercargo join 10.0.0.1:7470 --token inv_x.y --ca-fingerprint sha256:${'a'.repeat(64)}`;
    const { stdout, stderr } = await bench.run(['invite']);
    expect(stdout).toBe(`${command}\n`);
    expect(stderr).toContain(time);
    expect(JSON.parse((await bench.run(['invite', '--json'])).stdout)).toMatchObject({ command, token: 'inv_x.y' });
  });

  it('says where the data goes', async () => {
    const view = { volume: 'pgdata', state: 'held', host: 'h1', address: '10.0.0.1:7471', epoch: 3, replicas: ['h2'], move: null };
    await bench.serve({ where: async () => view });
    expect((await bench.run(['where', 'pgdata'])).stdout).toBe('pgdata: on h1 (10.0.0.1:7471), held, epoch 3\nreplicas: h2\n');
    expect(JSON.parse((await bench.run(['where', 'pgdata', '--json'])).stdout)).toEqual(view);
  });

  it('tells its last events over several pages, and follows', async () => {
    const event = (sequence: number) => ({ sequence, time, type: 'volume.created', subject: `v${sequence}`, actor: 'h1', message: 'Made.' });
    await bench.serve({
      listEvents: async ({ query }) => ({
        items: Array.from({ length: 1500 }, (_, index) => event(index + 1)).slice(query.after, query.after + query.limit),
      }),
      followEvents: async function* () {
        yield event(1);
        yield null;
        yield event(2);
      },
    });
    const last = await bench.run(['events', '--last', '2']);
    expect(last.stdout).toBe(`${time}  volume.created  v1499  Made. (h1)\n${time}  volume.created  v1500  Made. (h1)\n`);
    const followed = (await bench.run(['events', '--follow', '--json'])).stdout.trimEnd().split('\n');
    expect(followed.map((line) => JSON.parse(line) as unknown)).toEqual([event(1), event(2)]);
  });
});
