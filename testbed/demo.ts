/** What `sudo ./demo` shows: on two hosts of a lab, with the real program, data follows a container. Run as a program only. */
import { existsSync, readFileSync } from 'node:fs';
import { styleText } from 'node:util';
import { Lab, TEST_IMAGE } from './lab.ts';
import type { Completed, Host } from './lab.ts';
import { waitUntil } from './process.ts';

/** Appends numbered records, each flushed to the disk before it says so; goes on after the records that are there. */
const WRITER =
  'touch /data/records; n=$(wc -l < /data/records); echo "found $n records"; ' +
  'while n=$((n+1)); do echo "record $n" | dd of=/data/records oflag=append conv=notrunc,fsync 2>/dev/null; echo $n; sleep 0.02; done';
const BALLAST_MEBIBYTES = 256;
const MEBIBYTE = 2 ** 20;
const COMMAND_TIMEOUT_MILLISECONDS = 150_000;
const INTERRUPTED_EXIT_CODE = 130;

let passed = 0;
let failed = 0;

function heading(text: string): void {
  console.log(`\n${styleText('bold', text)}`);
}

function check(holds: boolean, text: string): void {
  if (holds) passed += 1;
  else failed += 1;
  console.log(`  ${holds ? styleText('green', 'ok    ') : styleText('red', 'FAILED')} ${text}`);
}

function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(2)} s`;
}

interface Shown extends Completed {
  milliseconds: number;
}

/** Runs a command on a host and shows it as its user would type it, with what it says. */
async function show(host: Host, argv: readonly string[], options: { quiet?: boolean; mayFail?: boolean } = {}): Promise<Shown> {
  console.log(`  ${styleText('cyan', `${host.name}#`)} ${argv.map(asTyped).join(' ')}`);
  const began = performance.now();
  const completed = await host.run(argv, { allowFailure: options.mayFail ?? false, timeoutMilliseconds: COMMAND_TIMEOUT_MILLISECONDS });
  const milliseconds = performance.now() - began;
  const lines = options.quiet === true ? [] : `${completed.stdout}${completed.stderr}`.trimEnd().split('\n');
  for (const line of lines) if (line !== '') console.log(`      ${line}`);
  return { ...completed, milliseconds };
}

/** Leaves out what makes lines long: the writer's script, the token and the fingerprint. */
function asTyped(word: string): string {
  if (word === WRITER) return "'…'";
  return word.replace(/^(inv_|sha256:).*/, '$1…');
}

const runWriter = [
  ...'docker run --detach --init --name writer --network none --volume-driver supercargo --volume journal:/data'.split(' '),
  TEST_IMAGE,
  'sh',
  '-c',
  WRITER,
];

/** The number of the last record that the writer of a host has reported as flushed; 0 if none yet. */
async function lastRecord(host: Host): Promise<number> {
  const { stdout } = await host.docker('logs', '--tail', '1', 'writer');
  return Number(/^\d+$/.exec(stdout.trim())?.[0] ?? 0);
}

/** Waits until the writer has added to what it found; returns what it found. */
async function firstWords(host: Host, after: number): Promise<number> {
  await waitUntil(`the writer on ${host.name} writes`, async () => (await lastRecord(host)) > after, COMMAND_TIMEOUT_MILLISECONDS);
  const { stdout } = await host.docker('logs', 'writer');
  return Number(/^found (\d+) records$/m.exec(stdout)?.[1] ?? NaN);
}

interface MoveRecord {
  id: string;
  phase: string;
  startedAt: string;
  endedAt: string | null;
  blockedBy: unknown[];
  progress: { totalTransferredBytes: number } | null;
}

/** The newest move. */
async function lastMove(host: Host): Promise<MoveRecord> {
  const { stdout } = await host.run(['supercargo', 'move', 'ls', '--all', '--json']);
  const move = (JSON.parse(stdout) as MoveRecord[]).at(-1);
  if (move === undefined) throw new Error('there was no move');
  return move;
}

/** What the log of the destination says of the round that followed the release. */
function lastRound(destination: Host): { bytes: number; milliseconds: number } {
  const lines = readFileSync(destination.path('/var/lib/supercargo/supercargo.log'), 'utf8').split('\n');
  const line = lines.findLast((each) => each.includes('"moved here"'));
  if (line === undefined) throw new Error(`the log of ${destination.name} does not tell of a move`);
  return JSON.parse(line) as { bytes: number; milliseconds: number };
}

async function makeCluster(h1: Host, h2: Host): Promise<void> {
  heading('2. One cluster: the first host makes it, the second joins with a single-use token');
  await show(h1, ['supercargo', 'up', '--detach', '--pool-size', '1G'], { quiet: true });
  const invitation = await show(h1, ['supercargo', 'invite'], { quiet: true });
  await show(h2, invitation.stdout.trim().split(/\s+/), { quiet: true });
  await show(h2, ['supercargo', 'up', '--detach', '--pool-size', '1G'], { quiet: true });
  const { stdout } = await show(h1, ['supercargo', 'host', 'ls']);
  check(/^h1 +up /m.test(stdout) && /^h2 +up /m.test(stdout), 'both hosts are up');
}

async function writeOnFirst(h1: Host): Promise<void> {
  heading('3. A container on h1 writes numbered records, each flushed to the disk');
  await show(h1, runWriter, { quiet: true });
  check((await firstWords(h1, 20)) === 0, 'the volume began empty, and records are being written');
}

async function refuseSecond(h1: Host, h2: Host): Promise<void> {
  heading('4. The same volume is wanted on h2 while h1 uses it: refused, with who and where');
  const before = await lastRecord(h1);
  const refused = await show(h2, ['docker', 'run', '--rm', '--network', 'none', '--volume', 'journal:/data', TEST_IMAGE, 'ls', '/data'], {
    mayFail: true,
  });
  check(refused.exitCode !== 0 && /in use on h1 by container writer/.test(refused.stderr), `refused after ${seconds(refused.milliseconds)}`);
  check((await firstWords(h1, before)) === 0, 'the writer on h1 goes on undisturbed');
}

/** Stops the writer on one host and starts it on the other; shows how long each part took, and compares the records. */
async function follow(from: Host, to: Host): Promise<void> {
  const stop = await show(from, ['docker', 'stop', 'writer'], { quiet: true });
  const acknowledged = await lastRecord(from);
  const start = await show(to, runWriter, { quiet: true });
  const waiting = performance.now();
  const found = await firstWords(to, acknowledged);
  const first = performance.now() - waiting;
  check(found >= acknowledged, `${to.name} found all ${acknowledged} records that ${from.name} had acknowledged, and goes on with the next`);
  const { stdout } = await to.docker('exec', 'writer', 'awk', '$0 != "record " NR { bad++ } END { print bad + 0 }', '/data/records');
  check(stdout.trim() === '0', 'the records are complete and in order');
  console.log(`         docker stop ${seconds(stop.milliseconds)} + docker run ${seconds(start.milliseconds)} + first record ${seconds(first)}`);
  console.log(`         = ${seconds(stop.milliseconds + start.milliseconds + first)} without a writer`);
  await from.docker('rm', 'writer');
}

async function followOnDemand(h1: Host, h2: Host): Promise<void> {
  heading('5. Stopped on h1, started on h2: the data is there');
  await follow(h1, h2);
  const { phase, startedAt, endedAt } = await lastMove(h1);
  const took = Date.parse(endedAt ?? '') - Date.parse(startedAt);
  check(phase === 'committed', `of that, Supercargo's part, from the claim to the new holder: ${seconds(took)}`);
  const { stdout } = await show(h2, ['supercargo', 'where', 'journal']);
  check(stdout.startsWith('journal: on h2 '), 'the name server says so as well');
}

async function followPrepared(h1: Host, h2: Host): Promise<void> {
  heading(`6. Back to h1 with ${BALLAST_MEBIBYTES} MiB more, copied in advance while the container goes on writing`);
  const fill = ['docker', 'exec', 'writer', 'dd', 'if=/dev/urandom', 'of=/data/ballast', 'bs=1M', `count=${BALLAST_MEBIBYTES}`, 'conv=fsync'];
  await show(h2, fill, { quiet: true });
  const before = await lastRecord(h2);
  const began = performance.now();
  await show(h2, ['supercargo', 'volume', 'move', 'journal', '--to', 'h1', '--detach'], { quiet: true });
  const waits = async (): Promise<boolean> => (await lastMove(h2)).blockedBy.length > 0;
  await waitUntil('the move waits for the writer', waits, COMMAND_TIMEOUT_MILLISECONDS);
  const copied = (await lastMove(h2)).progress?.totalTransferredBytes ?? 0;
  const took = performance.now() - began;
  await show(h2, ['supercargo', 'move', 'ls']);
  check(copied > BALLAST_MEBIBYTES * MEBIBYTE, `${Math.floor(copied / MEBIBYTE)} MiB copied in ${seconds(took)}, while the container was running`);
  check((await lastRecord(h2)) > before, 'and it went on writing meanwhile');
  await follow(h2, h1);
  const { bytes, milliseconds } = lastRound(h1);
  check(bytes < MEBIBYTE, `after the stop only what had changed travelled: ${Math.ceil(bytes / 1024)} KiB in ${seconds(milliseconds)}`);
}

async function look(h1: Host): Promise<void> {
  heading('7. What happened');
  const { stdout } = await show(h1, ['supercargo', 'events', '--last', '6']);
  check(stdout.includes('held by h1'), 'the name server recorded every step');
}

async function demonstrate(lab: Lab): Promise<void> {
  const [h1, h2] = [lab.host('h1'), lab.host('h2')];
  await makeCluster(h1, h2);
  await writeOnFirst(h1);
  await refuseSecond(h1, h2);
  await followOnDemand(h1, h2);
  await followPrepared(h1, h2);
  await look(h1);
}

function report(error: unknown): void {
  check(false, error instanceof Error ? error.message : String(error));
}

function summarize(code: number): void {
  if (code === INTERRUPTED_EXIT_CODE) report(new Error('interrupted'));
  console.log(`\ndemo: ${passed} checks passed, ${failed} failed`);
}

async function main(): Promise<void> {
  const began = performance.now();
  heading('1. Two hosts on this machine, each with its own Docker, disk and network');
  process.once('exit', summarize);
  let lab: Lab | undefined;
  try {
    lab = await Lab.up({ hosts: 2, image: true });
    // Behind the lab's own handler, so that the last line is the last.
    process.off('exit', summarize).once('exit', summarize);
    check(true, `h1 and h2 are up after ${seconds(performance.now() - began)}`);
    await demonstrate(lab);
  } catch (error) {
    report(error);
  }
  if (lab === undefined) return;
  heading('8. Cleaning up');
  const { folder } = lab.rack;
  await lab.down().catch(report);
  check(!existsSync(folder) && !readFileSync('/proc/self/mountinfo', 'utf8').includes(folder), 'nothing is left behind');
}

await main();
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
