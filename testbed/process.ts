/** Child processes of the testbed, and proof that a recorded process is still the same one. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

/** How a finished command ended. A command that was killed has the exit code 137. */
export interface Completed {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

export interface RunOptions {
  /** Written to the command's standard input, which is then closed. */
  readonly input?: string | Buffer;
  /** The command is killed (SIGKILL, with its children) after this long. Default: 120,000 milliseconds. */
  readonly timeoutMilliseconds?: number;
  /** Resolve instead of throwing when the exit code is not 0. */
  readonly allowFailure?: boolean;
  /** The whole environment of the command. */
  readonly environment?: NodeJS.ProcessEnv;
}

/** A command that failed or ran out of time. */
export class CommandError extends Error {
  readonly completed: Completed;

  constructor(argv: readonly string[], completed: Completed, reason: string) {
    super(`\`${argv.join(' ')}\` ${reason}\n${completed.stderr}${completed.stdout}`.trimEnd());
    this.name = 'CommandError';
    this.completed = completed;
  }
}

const DEFAULT_TIMEOUT_MILLISECONDS = 120_000;
const EXIT_CODE_OF_A_KILLED_COMMAND = 137;

/** Runs a command to its end. Throws `CommandError` unless it exits with 0 in time (see `RunOptions`). */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<Completed> {
  const [file, ...rest] = argv;
  if (file === undefined) throw new Error('run: an empty command');
  // A process group of its own, so that a timeout reaches what the command started.
  const child = spawn(file, rest, { detached: true, stdio: 'pipe', env: options.environment ?? process.env });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  // EPIPE when the command ends without reading its input: its exit code says whether that matters.
  child.stdin.on('error', () => {});
  child.stdin.end(options.input ?? '');
  let timedOut = false;
  const limit = options.timeoutMilliseconds ?? DEFAULT_TIMEOUT_MILLISECONDS;
  const timer = setTimeout(() => {
    timedOut = true;
    killGroup(child);
  }, limit);
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    const completed: Completed = {
      stdout: Buffer.concat(stdout).toString('utf8'),
      stderr: Buffer.concat(stderr).toString('utf8'),
      exitCode: code ?? EXIT_CODE_OF_A_KILLED_COMMAND,
    };
    if (timedOut) throw new CommandError(argv, completed, `did not end within ${limit} ms`);
    if (completed.exitCode !== 0 && options.allowFailure !== true) {
      throw new CommandError(argv, completed, `exited with ${completed.exitCode}`);
    }
    return completed;
  } finally {
    clearTimeout(timer);
  }
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // The group has just ended by itself.
  }
}

/** A process that cannot be mistaken for a later one with the same number. */
export interface ProcessRecord {
  readonly pid: number;
  /** Clock ticks after boot, from /proc/PID/stat. */
  readonly startTime: string;
  /** The boot of the machine in which `startTime` counts. */
  readonly bootId: string;
}

function startTimeOf(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  // The command name may contain spaces and parentheses: the fields after it begin behind the last one.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

/** Throws if the process does not exist. */
export function recordProcess(pid: number): ProcessRecord {
  const startTime = startTimeOf(pid);
  if (startTime === undefined) throw new Error(`process ${pid} has ended`);
  return { pid, startTime, bootId: bootId() };
}

/** Whether the recorded process (not another one with its number) still runs. */
export function isAlive(record: ProcessRecord): boolean {
  return startTimeOf(record.pid) === record.startTime && record.bootId === bootId();
}

/** Sends a signal to the recorded process; does nothing if it has ended. */
export function signal(record: ProcessRecord, name: NodeJS.Signals): void {
  if (!isAlive(record)) return;
  try {
    process.kill(record.pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** The machine's number of the single child of `pid` (nsenter and unshare fork exactly one). */
export async function onlyChildOf(pid: number): Promise<number | undefined> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  const first = children.trim().split(' ')[0];
  return first === undefined || first === '' ? undefined : Number(first);
}

/**
 * Polls until `condition` holds, for kernel state that announces nothing; less often than every 10 milliseconds if a look costs much.
 * Throws after `timeoutMilliseconds`, naming `what` was awaited.
 */
export async function waitUntil(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMilliseconds = 30_000,
  pauseMilliseconds = 10,
): Promise<void> {
  const deadline = performance.now() + timeoutMilliseconds;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`after ${timeoutMilliseconds} ms still waiting for ${what}`);
    await delay(pauseMilliseconds);
  }
}
