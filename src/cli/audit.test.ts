import { afterEach, beforeEach, expect, it } from 'vitest';
import { emptyLog, sealDecision } from '../model/audit.ts';
import type { AuditEntry } from '../model/audit.ts';
import { CliTestBench } from './test-cli.ts';
import { cellsOf, time } from './test-records.ts';

let bench: CliTestBench;
let entries: AuditEntry[];

beforeEach(async () => {
  bench = await CliTestBench.create();
  entries = [];
  let head = emptyLog;
  for (const [subject, verdict] of [
    ['orders', 'allow'],
    ['orders', 'deny'],
    ['people', 'deny'],
  ] as const) {
    const entry = sealDecision({ time, actor: 'shop/web', action: 'start', subject, verdict, reason: 'r', revision: 1, times: 2 }, null, head);
    head = { sequence: entry.sequence, digest: entry.digest };
    entries.push(entry);
  }
});
afterEach(() => bench.close());

/** @param signed what the checkpoint of each entry says its digest is */
async function serve(signed: Record<number, string> = {}): Promise<void> {
  await bench.serve({
    listAudit: async ({ query }) => ({ items: entries.filter(({ sequence }) => sequence > query.after).slice(0, 2) }),
    listCheckpoints: async ({ query }) => ({
      items: Object.entries(signed)
        .map(([sequence, digest]) => ({
          sequence: Number(sequence),
          at: time,
          statement: JSON.stringify({ sequence: Number(sequence), digest, at: time }),
        }))
        .filter(({ sequence }) => sequence > query.after),
      authorities: ['authority'],
    }),
  });
}

const verify = () =>
  bench.run(['audit', 'verify'], { readCheckpoint: async (statement) => JSON.parse(statement) as { sequence: number; digest: string; at: string } });

it('is listed, the newest last, by what is asked for', async () => {
  await serve();
  const shown = async (...options: string[]) => cellsOf((await bench.run(['audit', 'ls', ...options])).stdout).slice(1);
  expect(await shown()).toEqual([
    [time, 'allow', 'shop/web', 'start', 'orders', 'r (2 times)'],
    [time, 'deny', 'shop/web', 'start', 'orders', 'r (2 times)'],
    [time, 'deny', 'shop/web', 'start', 'people', 'r (2 times)'],
  ]);
  expect(await shown('--denied', '--subject', 'orders')).toHaveLength(1);
  expect((await shown('--last', '1')).map((row) => row[4])).toEqual(['people']);
  expect(await shown('--actor', 'nobody')).toEqual([]);
  expect((await bench.run(['audit', 'ls', '--last', '0'])).code).toBe(2);
});

it('is found to be whole, and to agree with what was signed', async () => {
  await serve({ 2: entries[1]!.digest, 3: entries[2]!.digest });
  const { code, stdout } = await verify();
  expect([code, stdout]).toEqual([0, expect.stringContaining('3 entries, 2 signed checkpoints')]);
});

interface Forgery {
  change?: () => void;
  signed?: Record<number, string>;
  words: string;
}

const forgeries: [string, Forgery][] = [
  ['an entry was changed', { change: () => entries.splice(1, 1, { ...entries[1]!, actor: 'somebody' }), words: 'entry 2 does not follow' }],
  ['an entry was taken out', { change: () => entries.splice(1, 1), words: 'entry 3 does not follow' }],
  ['all was written anew', { signed: { 2: 'f'.repeat(64) }, words: 'entry 2 is not what was signed' }],
  ['the end was cut off', { change: () => entries.pop(), signed: { 3: 'f'.repeat(64) }, words: 'signed up to entry 3, but ends at 2' }],
];

it.each(forgeries)('shows that %s', async (_, { change, signed, words }) => {
  change?.();
  await serve(signed);
  const { code, stderr } = await verify();
  expect([code, stderr]).toEqual([1, expect.stringContaining(words)]);
});
