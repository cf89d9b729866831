/** `npm run bench -- move|io|encryption|api|freeze|failover|replication|access [--json] [--runs N] [--small] [--drop-caches]`: see README.md. */
import { parseArgs } from 'node:util';
import { formatFigures } from './figure.ts';
import type { Figure } from './figure.ts';
import type { BenchOptions } from './lab.ts';
import { measureAccess } from './access.ts';
import { measureApi } from './api.ts';
import { measureColdMove } from './cold-move.ts';
import { measureEncryption } from './encryption.ts';
import { measureFreeze } from './freeze.ts';
import { measureFailover } from './failover.ts';
import { measureIo } from './io.ts';
import { measureReplication } from './replication.ts';
import { measureWarmMove } from './warm-move.ts';

const benches: Readonly<Record<string, readonly ((options: BenchOptions) => Promise<Figure[]>)[]>> = {
  move: [measureWarmMove, measureColdMove],
  io: [measureIo],
  encryption: [measureEncryption],
  api: [measureApi],
  freeze: [measureFreeze],
  failover: [measureFailover],
  replication: [measureReplication],
  access: [measureAccess],
  // For whoever works on one of them.
  'warm-move': [measureWarmMove],
  'cold-move': [measureColdMove],
};
const usage = `usage: npm run bench -- ${Object.keys(benches).join('|')} [--json] [--runs N] [--small] [--drop-caches]\n`;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: 'boolean', default: false },
      runs: { type: 'string' },
      small: { type: 'boolean', default: false },
      'drop-caches': { type: 'boolean', default: false },
    },
  });
  const runs = values.runs === undefined ? undefined : Number(values.runs);
  const chosen = positionals.map((name) => benches[name]);
  if (chosen.length === 0 || chosen.includes(undefined) || (runs !== undefined && !(Number.isInteger(runs) && runs > 0))) {
    process.stderr.write(usage);
    return 64;
  }
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const options: BenchOptions = { runs, small: values.small, dropCaches: values['drop-caches'], say };
  const figures: Figure[] = [];
  for (const measure of chosen.flatMap((each) => each ?? [])) figures.push(...(await measure(options)));
  process.stdout.write(values.json ? `${JSON.stringify(figures, null, 2)}\n` : formatFigures(figures));
  return 0;
}

process.exitCode = await main();
