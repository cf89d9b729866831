import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Host } from '../../../testbed/lab.ts';
import type { Acknowledgement } from './writers.ts';

/** A folder of each host, outside all volumes. In memory: it is to outlive tasks and cuts, and must not hold the writers up. */
const folder = '/run/ledger';

/** Odd, so that no two numbers of a task have the same checksum. */
const factor = 2_654_435_761;

/** Options of `docker service create` that give each task the ledger of its host, and its own identifier. */
export const ledgerOptions = ['--mount', `type=bind,source=${folder},target=/ledger`, '--env', 'TASK={{.Task.ID}}'];

/**
 * For a task of a service with the volume at /data: appends "TASK NUMBER CHECKSUM", again and again. What it was told is safe (its fsync returned) it writes
 * with the time to a file of its own in the ledger; before the first record, the time at which it began. One program a record: many of these run at once.
 */
export function ledgerScript(service: string): string {
  return `note() { echo "$EPOCHREALTIME $1" >> "/ledger/${service}.$TASK" || exit 8; }
key=0x$(echo "$TASK" | md5sum | cut -c 1-8); n=0; note begins
while :; do
  n=$((n+1)); record="$TASK $n $(( (key ^ n) * ${factor} & 0xffffffff ))"
  echo "$record" >> /data/records && sync /data/records || exit 8
  note "$record"; usleep 20000
done`;
}

function checksum(task: string, number: number): number {
  const key = Number.parseInt(createHash('md5').update(`${task}\n`).digest('hex').slice(0, 8), 16);
  return Math.imul(key ^ number, factor) >>> 0;
}

/** One run of a writer, as its ledger tells it. Nanoseconds since 1970, one clock for all hosts. */
export interface Incarnation {
  host: Host;
  task: string;
  /** Before its first write. */
  began: bigint;
  acknowledged: Acknowledgement[];
}

export async function makeLedger(host: Host): Promise<void> {
  await host.run(['mkdir', '-p', folder]);
}

/** All runs of a service's writer on these hosts, in the order in which they began; also of hosts that are cut off. */
export function incarnationsOf(hosts: readonly Host[], service: string): Incarnation[] {
  const found = hosts.flatMap((host) =>
    readdirSync(host.path(folder))
      .filter((name) => name.startsWith(`${service}.`))
      .flatMap((name) => incarnation(host, name)),
  );
  return found.sort((a, b) => (a.began < b.began ? -1 : 1));
}

/** None if the task has not said yet that it began. */
function incarnation(host: Host, name: string): Incarnation[] {
  const [first, ...rest] = completeLines(join(host.path(folder), name));
  if (first === undefined) return [];
  const acknowledged = rest.map((line) => ({ record: textOf(line), at: timeOf(line) }));
  return [{ host, task: name.slice(name.indexOf('.') + 1), began: timeOf(first), acknowledged }];
}

/** Seconds with six digits after the point, as the shell has them. */
function timeOf(line: string): bigint {
  return BigInt(line.slice(0, line.indexOf(' ')).replace('.', '')) * 1000n;
}

function textOf(line: string): string {
  return line.slice(line.indexOf(' ') + 1);
}

/** Without the last line while it is being written. */
function completeLines(path: string): string[] {
  return readFileSync(path, 'utf8').split('\n').slice(0, -1);
}

/** What was accepted on one host after a later run had begun on another, in words. */
export function overlapsOf(incarnations: readonly Incarnation[]): string[] {
  return incarnations.flatMap((later, index) =>
    incarnations
      .slice(0, index)
      .filter(({ host }) => host !== later.host)
      .flatMap((earlier) => {
        const late = earlier.acknowledged.filter(({ at }) => at >= later.began);
        const milliseconds = Number(((late.at(-1)?.at ?? 0n) - later.began) / 1_000_000n);
        return late.length === 0
          ? []
          : [`${earlier.host.name} accepted ${late.length} records, the last ${milliseconds} ms after ${later.task} began on ${later.host.name}`];
      }),
  );
}

/** The records of a folder that writers wrote to. @throws if one is damaged, is there twice, or lacks one that its writer wrote before it */
export function recordsIn(path: string): Set<string> {
  const numbers = new Map<string, number>();
  const lines = completeLines(join(path, 'records'));
  for (const line of lines) {
    const [task = '', number, sum] = line.split(' ');
    const expected = (numbers.get(task) ?? 0) + 1;
    if (Number(number) !== expected) throw new Error(`${path} has "${line}" where record ${expected} of that task belongs`);
    if (Number(sum) !== checksum(task, expected)) throw new Error(`${path} has the damaged record "${line}"`);
    numbers.set(task, expected);
  }
  return new Set(lines);
}
