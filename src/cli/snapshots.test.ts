import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SupercargoError } from '../model/errors.ts';
import type { SnapshotView } from '../protocol/snapshot-routes.ts';
import { CliTestBench } from './test-cli.ts';
import { cellsOf, snapshotId, time, volume, volumeId } from './test-records.ts';

let bench: CliTestBench;
beforeEach(async () => {
  bench = await CliTestBench.create();
});
afterEach(() => bench.close());

const view = (name: string, changes: Partial<SnapshotView> = {}): SnapshotView => ({
  id: snapshotId(9),
  name,
  kind: 'manual',
  description: '',
  labels: {},
  requestedAt: time,
  snapshot: snapshotId(1),
  takenAt: time,
  epoch: 3,
  bytes: 2048,
  problem: null,
  volume: 'pgdata',
  volumeId,
  state: 'taken',
  explanation: null,
  hosts: ['h1', 'h2'],
  ...changes,
});
const waiting = (name: string, explanation: string): SnapshotView =>
  view(name, { state: 'waiting', explanation, snapshot: null, takenAt: null, epoch: null, bytes: null, hosts: [] });

/** Answers each request with the next of these, the last one again and again. */
async function serveAnswers(...answers: SnapshotView[]): Promise<{ name?: string | undefined; description: string; labels: object }[]> {
  const asked: { name?: string | undefined; description: string; labels: object }[] = [];
  await bench.serve({
    createSnapshot: async ({ body }) => {
      asked.push(body);
      return answers[Math.min(asked.length, answers.length) - 1]!;
    },
  });
  return asked;
}

describe('snapshot create', () => {
  it('asks once and tells the name', async () => {
    const asked = await serveAnswers(view('a'));
    const words = ['snapshot', 'create', 'pgdata@a', '--label', 'x=1', '--description', 'why'];
    expect(await bench.run(words)).toEqual({ code: 0, stdout: 'pgdata@a\n', stderr: '' });
    expect(asked).toMatchObject([{ name: 'a', description: 'why', labels: { x: '1' } }]);
  });

  it('waits under the name that was made, and says for what, once', async () => {
    const asked = await serveAnswers(waiting('by-time', 'h2 is away'), waiting('by-time', 'h2 is away'), view('by-time'));
    const { code, stdout, stderr } = await bench.run(['snapshot', 'create', 'pgdata']);
    expect([code, stdout]).toEqual([0, 'pgdata@by-time\n']);
    expect(stderr.match(/waits: h2 is away/g)).toHaveLength(1);
    expect(asked.map(({ name }) => name)).toEqual([undefined, 'by-time', 'by-time']);
  });

  it('does not wait with --detach, and not longer than it is told', async () => {
    await serveAnswers(waiting('a', 'h2 is away'));
    expect(await bench.run(['snapshot', 'create', 'pgdata@a', '--detach'])).toMatchObject({ code: 0, stdout: 'pgdata@a\n' });
    const { code, stderr } = await bench.run(['snapshot', 'create', 'pgdata@a', '--timeout', '10ms']);
    expect([code, stderr]).toEqual([1, expect.stringContaining('supercargo snapshot rm pgdata@a')]);
  });

  it('fails with what the holder could not do', async () => {
    await serveAnswers(view('a', { state: 'failed', explanation: 'The pool is full.', snapshot: null }));
    const { code, stderr } = await bench.run(['snapshot', 'create', 'pgdata@a']);
    expect([code, stderr]).toEqual([4, expect.stringContaining('The pool is full.')]);
  });

  it.each(['pgdata@a@b', 'pgdata@', '@a', 'pg data'])('refuses %j before anything is asked', async (text) => {
    expect((await bench.run(['snapshot', 'create', text])).code).toBe(2);
  });
});

describe('snapshots', () => {
  it('are listed with their hosts', async () => {
    const items = [view('a'), waiting('b', 'h2 is away')];
    const asked: unknown[] = [];
    await bench.serve({
      listSnapshots: async ({ query }) => {
        asked.push(query);
        return { items };
      },
    });
    const { stdout } = await bench.run(['snapshot', 'ls']);
    expect(cellsOf(stdout).map(([first, kind, state, , ...rest]) => [first, kind, state, ...rest])).toEqual([
      ['SNAPSHOT', 'KIND', 'STATE', 'CHANGED', 'ON'],
      ['pgdata@a', 'manual', 'taken', '2.0 KiB', 'h1, h2'],
      ['pgdata@b', 'manual', 'waiting: h2 is away', '-', '-'],
    ]);
    expect(JSON.parse((await bench.run(['snapshot', 'ls', 'pgdata', '--json'])).stdout)).toEqual(items);
    expect(asked).toEqual([{}, { volume: 'pgdata' }]);
  });

  it('are shown one by one', async () => {
    await bench.serve({ getSnapshot: async ({ parameters }) => view(parameters.snapshot) });
    expect((await bench.run(['snapshot', 'inspect', 'pgdata@a'])).stdout).toMatch(/name: +pgdata@a\n/);
    expect((await bench.run(['snapshot', 'inspect', 'pgdata'])).code).toBe(2);
  });

  it('are compared by the agent of this host, and only with one of the same volume', async () => {
    const changes = [
      { path: 'a\u001b[31m', change: 'added' as const, bytes: 2048 },
      { path: 'c', change: 'renamed' as const, bytes: 0, from: 'b' },
    ];
    const answer = { changes, total: 3, bytes: 2048 };
    await bench.serveAgent({ diffSnapshots: async () => answer });
    const { code, stdout, stderr } = await bench.run(['snapshot', 'diff', 'pgdata@a', 'pgdata@b']);
    expect([code, stderr]).toEqual([0, '3 paths, 2.0 KiB written; the first 2 are listed\n']);
    expect(cellsOf(stdout).slice(1)).toEqual([['added', '2.0 KiB', expect.not.stringContaining('\u001b')], ['renamed', '0 B', 'b -> c']]); // prettier-ignore
    expect(JSON.parse((await bench.run(['snapshot', 'diff', 'pgdata@a', 'pgdata@b', '--json'])).stdout)).toEqual(answer);
    expect((await bench.run(['snapshot', 'diff', 'pgdata@a', 'other@b'])).code).toBe(2);
  });

  it('are deleted, whatever happens to the others', async () => {
    await bench.serve({
      deleteSnapshot: async ({ parameters: { snapshot } }) => {
        if (snapshot === 'b') throw new SupercargoError('not-found', 'There is none.');
        return {};
      },
    });
    const { code, stdout } = await bench.run(['snapshot', 'rm', 'pgdata@a', 'pgdata@b', 'pgdata@c']);
    expect([code, stdout]).toEqual([3, 'pgdata@a\npgdata@c\n']);
  });
});

describe('volumes', () => {
  it('are made of snapshots', async () => {
    const bodies: unknown[] = [];
    await bench.serve({
      createVolume: async ({ body }) => {
        bodies.push(body);
        return volume(body.name);
      },
    });
    expect(await bench.run(['volume', 'clone', 'pgdata@a', 'test', '--size', '1G'])).toEqual({ code: 0, stdout: 'test\n', stderr: '' });
    await bench.run(['volume', 'clone', 'pgdata', 'now']);
    expect(bodies).toEqual([
      { name: 'test', from: { volume: 'pgdata', snapshot: 'a' }, sizeBytes: 1024 ** 3 },
      { name: 'now', from: { volume: 'pgdata' } },
    ]);
  });

  it('go back to snapshots, and it is said where the present went', async () => {
    const { state: _, explanation: __, hosts: ___, volume: ____, volumeId: _____, ...safety } = view('safety-1', { kind: 'safety' });
    await bench.serve({ revertVolume: async ({ parameters }) => volume(parameters.volume, { snapshots: [safety] }) });
    expect((await bench.run(['volume', 'revert', 'pgdata@a'])).stdout).toContain('pgdata@safety-1');
    expect((await bench.run(['volume', 'revert', 'pgdata'])).code).toBe(2);
  });
});
