import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { figure, formatFigures } from '../../bench/figure.ts';
import type { Figure, Measure } from '../../bench/figure.ts';
import { run } from '../../testbed/process.ts';

const program = join(import.meta.dirname, '../../bench/main.ts');

describe('figures of the benchmark', () => {
  const measure: Measure = { bench: 'move', measure: 'stop', unit: 'ms', better: 'lower', target: { ratio: 0.1, ours: 500 }, rivalName: 'rsync' };

  it('gives medians, their ratio and whether every bound is met', () => {
    const met = figure(measure, { ours: [300, 100, 200], rival: [4000, 2000] });
    expect(met).toMatchObject({ ours: 200, rival: 3000, ratio: 0.06667, runs: 3, oursRange: [100, 300], rivalRange: [2000, 4000], met: true });
    expect(figure(measure, { ours: [600], rival: [60_000] }).met).toBe(false);
    expect(figure(measure, { ours: [400], rival: [800] }).met).toBe(false);
    expect(figure({ ...measure, better: 'higher', target: { ratio: 0.8 } }, { ours: [9], rival: [10] }).met).toBe(true);
  });

  it('says a missed target aloud', () => {
    expect(formatFigures([figure(measure, { ours: [600], rival: [700] })])).toContain('MISSED');
  });
});

describe('npm run bench', () => {
  it('measures moves, input and output, and the API on real hosts', async () => {
    const parameters = ['move', 'io', 'api', '--small', '--runs', '1', '--json'];
    const { stdout } = await run([process.execPath, program, ...parameters], { timeoutMilliseconds: 280_000 });
    const figures = JSON.parse(stdout) as Figure[];
    expect(figures.map(({ bench, measure }) => `${bench}: ${measure}`)).toEqual([
      'move: warm move stop',
      'move: cold move rate',
      'move: cold move rate, both flushed',
      'io: sequential write',
      'io: sequential read',
      'io: random 4 KiB write with fsync',
      'api: mount of a volume that is here',
      'api: get',
      'api: create',
      'api: resident after start',
      'api: resident after use',
      'api: ready after start',
    ]);
    for (const { ours, rival, rivalName, ratio, runs, better } of figures) {
      expect(ours).toBeGreaterThan(0);
      expect(runs).toBe(1);
      expect(['lower', 'higher']).toContain(better);
      expect(rivalName === null).toBe(rival === null);
      expect(ratio).toSatisfy((value) => (rival === null ? value === null : Math.abs(value / (ours / rival) - 1) < 0.01));
    }
  });

  it('explains itself when it is asked for nothing it knows', async () => {
    const { exitCode, stderr } = await run([process.execPath, program, 'speed'], { allowFailure: true });
    expect(exitCode).toBe(64);
    expect(stderr).toContain('usage: npm run bench');
  });
});
