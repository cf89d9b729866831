import { parseArgs } from 'node:util';
import { describeAction, kinds } from './actions.ts';
import type { Kind } from './actions.ts';
import { BrokenHistory, playHistory } from './history.ts';
import type { HistoryOptions, HistoryResult } from './history.ts';
import { shorten } from './shorten.ts';

const usage = `npm run sim -- [--seed N] [--seeds COUNT] [--hosts 5] [--hours 0.5] [--minutes M] [--log]

Plays random histories of a cluster, one a seed, from --seed (random by default) upwards: COUNT of them, or as many as there is time for
(M minutes, 1 by default). On a failure it prints the seed and a shortened story, and ends with 1. --log adds what the agents logged.`;

const shortenMilliseconds = 60_000;
const shownLogLines = 150;

interface Words {
  seed: number;
  count: number;
  hosts: number;
  hours: number;
  minutes: number;
  log: boolean;
}

function readWords(): Words {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      seeds: { type: 'string' },
      hosts: { type: 'string', default: '5' },
      hours: { type: 'string', default: '0.5' },
      minutes: { type: 'string' },
      log: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    process.exit(0);
  }
  // One seed alone is to be replayed; else there is a time to be filled.
  const count = values.seeds ?? (values.seed === undefined || values.minutes !== undefined ? 'Infinity' : '1');
  const minutes = values.minutes ?? (count === 'Infinity' ? '1' : 'Infinity');
  const seed = values.seed ?? String(Math.floor(Math.random() * 1_000_000));
  return {
    seed: Number(seed),
    count: Number(count),
    hosts: Number(values.hosts),
    hours: Number(values.hours),
    minutes: Number(minutes),
    log: values.log,
  };
}

async function main(): Promise<number> {
  const words = readWords();
  const begin = performance.now();
  const processor = process.cpuUsage();
  const results: HistoryResult[] = [];
  for (let seed = words.seed; seed < words.seed + words.count && performance.now() - begin < words.minutes * 60_000; seed += 1) {
    const options = { seed, hosts: words.hosts, hours: words.hours };
    try {
      results.push(await playHistory(options));
    } catch (error) {
      if (!(error instanceof BrokenHistory)) throw error;
      await tellFailure(options, error, words.log);
      return 1;
    }
  }
  const { user, system } = process.cpuUsage(processor);
  tellResults(words, results, (user + system) / 60_000_000);
  return 0;
}

async function tellFailure(options: HistoryOptions, broken: BrokenHistory, withLog: boolean): Promise<void> {
  const { seed, hosts, hours } = options;
  console.log(`seed ${seed} broke: ${broken.message}`);
  console.log(`again: npm run sim -- --seed ${seed} --hosts ${hosts} --hours ${hours} --log`);
  const short = await shorten(options, broken, shortenMilliseconds);
  console.log(`\n${broken.actions.length} actions, shortened to ${short.actions.length}: ${short.message}`);
  for (const action of short.actions) console.log(`  ${describeAction(action)}`);
  console.log(`\nas JSON: ${JSON.stringify(short.actions)}`);
  console.log('\nits story:');
  for (const line of short.story) console.log(`  ${line}`);
  if (!withLog) return;
  console.log('\nits log:');
  for (const line of short.log.slice(-shownLogLines)) console.log(`  ${line}`);
}

function tellResults({ seed, hosts }: Words, results: readonly HistoryResult[], minutes: number): void {
  const sum = (of: (result: HistoryResult) => number): number => results.reduce((total, result) => total + of(result), 0);
  const hours = sum((result) => result.hours);
  const countOf = (kind: Kind): number => sum(({ counts }) => counts.get(kind) ?? 0);
  console.log(`seeds ${seed} to ${seed + results.length - 1}, ${hosts} hosts: nothing broke`);
  console.log(`${hours.toFixed(1)} simulated hours, ${(hours / minutes).toFixed(0)} per minute of one core`);
  console.log(kinds.map((kind) => `${kind} ${countOf(kind)}`).join(', '));
  console.log(`${sum((each) => each.writes)} writes, ${sum((each) => each.failovers)} failovers, ${sum((each) => each.reverts)} reverts`);
  console.log(`known exceptions: ${sum((each) => each.excusedWrites)} writes of an old epoch by hosts that stood still,`);
  console.log(`  ${sum((each) => each.hastyChoices)} failovers to less than the best copy just after the name server stood still,`);
  console.log(`  ${sum((each) => each.startedOnNothing)} containers whose mount was gone before they began`);
}

process.exitCode = await main();
