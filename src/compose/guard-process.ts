import { write, writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createBtrfsDriver } from '../drivers/btrfs/driver.ts';
import { createLuksCipher } from '../drivers/luks/cipher.ts';
import { GuardClient } from '../guard/guard-client.ts';
import { serveGuard, untilUseless } from '../guard/guard-server.ts';
import { Guard } from '../guard/guard.ts';
import type { GuardOptions } from '../guard/guard.ts';
import { SupercargoError, isSupercargoError } from '../model/errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { Fence } from '../ports/fence.ts';
import type { VolumeCipher } from '../ports/volume-cipher.ts';
import { systemClock } from '../system/clock.ts';
import { spawnResident } from '../system/execute.ts';
import { createFence } from '../system/fence.ts';
import { createHostSystem } from '../system/host-system.ts';
import { createSeal, createShutter } from './seal.ts';
import type { StateDirectory } from './state-directory.ts';
import { version } from './version.ts';

const socketName = 'guard.sock';

/** The fence of this host, for the guard and for the agent's own part: both keep what they stopped in one place. */
export function createHostFence(options: { runDirectory: string; clock: Clock; spared: () => readonly number[]; log: GuardOptions['log'] }): Fence {
  const { runDirectory, clock, spared } = options;
  const log = (message: string): void => options.log.warn({}, message);
  return createFence({ clock, spared, log, system: createHostSystem({ log }), marksDirectory: join(runDirectory, 'stopped') });
}

/** The encryption of this host, for the guard and for the agent: either finds what the other has opened. */
export function createHostCipher({ runDirectory, clock }: { runDirectory: string; clock: Clock }): VolumeCipher {
  return createLuksCipher({ directory: join(runDirectory, 'encrypted'), clock });
}

/** Turns of the event loop in which what waits in sockets is accepted, read and decrypted. */
const turnsToRead = 4;

/** For GuardOptions.readArrived. */
export async function readArrived(): Promise<void> {
  for (let turn = 0; turn < turnsToRead; turn++) await nextTurn();
}

/**
 * The process `supercargo guard --pool DIRECTORY --run-directory DIRECTORY`, which the agent starts and nobody else. Returns when it is of no use any more.
 * @throws already-exists if a guard of this host runs
 */
export async function runGuard(argv: readonly string[]): Promise<void> {
  const { pool, runDirectory } = readWords(argv);
  const log = createGuardLog();
  const ending = new AbortController();
  defendProcess(log);
  const clock = systemClock;
  const driver = createBtrfsDriver({ directory: pool, source: { kind: 'device', path: pool } });
  const fence = createHostFence({ runDirectory, clock, log, spared: () => server.agents() });
  const seal = createSeal(driver, 'guard', createShutter(createHostCipher({ runDirectory, clock }), clock));
  const guard = new Guard({ clock, fence, seal, log, readArrived });
  const onEnd = (): void => ending.abort(new Error('told to end'));
  const server = await serveGuard({ guard, socketPath: join(runDirectory, socketName), version, log, onEnd });
  process.on('uncaughtException', (error) => log.warn({ error: error.stack ?? error.message }, 'a defect; the guard goes on'));
  // Whoever wants a guard to end while it holds leases must mean it: a signal to all processes of a service does not.
  process.on('SIGTERM', () => (guard.idle ? onEnd() : log.warn({}, 'leases are held: not ending')));
  log.info({ process: process.pid }, 'guard is up');
  const running = guard.run(ending.signal);
  await untilUseless({ guard, server, clock, signal: ending.signal }).catch(() => undefined);
  log.info({}, 'guard ends');
  await server.close();
  ending.abort();
  // What is under way is the next guard's to repeat.
  void running;
}

function readWords(argv: readonly string[]): { pool: string; runDirectory: string } {
  const { values } = parseArgs({ args: [...argv], options: { pool: { type: 'string' }, 'run-directory': { type: 'string' } } });
  if (values.pool === undefined || values['run-directory'] === undefined) {
    throw new SupercargoError('invalid-request', 'The guard needs --pool and --run-directory.', {
      hint: 'The agent starts it; there is no need to.',
    });
  }
  return { pool: values.pool, runDirectory: values['run-directory'] };
}

/** Runs when others do not, dies after the others, and does not die of what others survive. */
function defendProcess(log: GuardOptions['log']): void {
  process.chdir('/');
  for (const signal of ['SIGINT', 'SIGHUP', 'SIGPIPE'] as const) process.on(signal, () => undefined);
  try {
    setPriority(-15);
    writeFileSync('/proc/self/oom_score_adj', '-1000');
  } catch (error) {
    log.warn({ error: String(error) }, 'the guard runs with no precedence');
  }
}

const longestLogQueue = 1000;

/**
 * Lines as the daemon's, on standard error. Written by another thread and one at a time: whatever the file or pipe does, the guard goes on. A line that
 * cannot be written is lost.
 */
function createGuardLog(): GuardOptions['log'] {
  const queue: string[] = [];
  let writing = false;
  const next = (): void => {
    const line = queue.shift();
    writing = line !== undefined;
    if (line !== undefined) write(2, line, () => next());
  };
  const add = (level: number, details: object, msg: string): void => {
    if (queue.length >= longestLogQueue) return;
    queue.push(`${JSON.stringify({ level, time: new Date().toISOString(), part: 'guard', ...details, msg })}\n`);
    if (!writing) next();
  };
  return { info: (details, message) => add(30, details, message), warn: (details, message) => add(40, details, message) };
}

export interface EnsureGuardOptions {
  directory: Pick<StateDirectory, 'root' | 'pool'>;
  runDirectory: string;
  clock: Clock;
  /** The program and leading parameters that start this program again. */
  launch?: readonly [program: string, ...parameters: string[]];
}

const startMilliseconds = 10_000;
const pollMilliseconds = 25;
/** A small heap that is collected often: the guard holds next to nothing. */
const heapFlags = ['--max-semi-space-size=1', '--max-old-space-size=64', '--optimize-for-size'];

/**
 * Connects to this host's guard, and starts one if there is none, or one of another version.
 * @returns the connection, and whether the guard is new: then nobody held this host's deadlines until now, and every lease counts as run out until the name
 * server confirms it
 * @throws deadline-exceeded if there is a guard that does not answer (it is stopped), or a new one does not come up
 */
export async function ensureGuard(options: EnsureGuardOptions): Promise<{ client: GuardClient; fresh: boolean }> {
  const { directory, runDirectory, clock } = options;
  const connection = { socketPath: join(runDirectory, socketName), clock };
  const present = await connectIfThere(connection);
  if (present?.guard.version === version) return { client: present, fresh: false };
  if (present !== undefined) {
    present.close();
    await GuardClient.end(connection);
  }
  const [program, ...parameters] = options.launch ?? [process.execPath, ...process.execArgv, ...heapFlags, process.argv[1] ?? ''];
  const words = ['guard', '--pool', directory.pool, '--run-directory', runDirectory];
  const logFile = join(directory.root, 'supercargo.log');
  spawnResident(program, [...parameters, ...words], { logFile, environment: guardEnvironment(process.env) });
  const end = clock.monotonicMilliseconds() + startMilliseconds;
  while (clock.monotonicMilliseconds() < end) {
    const client = await connectIfThere(connection);
    if (client !== undefined) return { client, fresh: true };
    await clock.sleep(pollMilliseconds);
  }
  throw new SupercargoError('deadline-exceeded', 'The guard does not come up.', { hint: `Its log: ${logFile}` });
}

/** The guard of this host if it runs; nothing is started. @throws deadline-exceeded if it does not answer */
export function findGuard({ runDirectory, clock }: Pick<EnsureGuardOptions, 'runDirectory' | 'clock'>): Promise<GuardClient | undefined> {
  return connectIfThere({ socketPath: join(runDirectory, socketName), clock });
}

async function connectIfThere(connection: { socketPath: string; clock: Clock }): Promise<GuardClient | undefined> {
  try {
    return await GuardClient.connect(connection);
  } catch (error) {
    if (isSupercargoError(error, 'not-found')) return undefined;
    throw error;
  }
}

/** Nothing of the daemon's own is handed down, such as the descriptor on which its parent waits for word. */
function guardEnvironment(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { PATH, NODE_COMPILE_CACHE } = environment;
  return {
    MALLOC_ARENA_MAX: '1',
    UV_THREADPOOL_SIZE: '2',
    ...(PATH === undefined ? {} : { PATH }),
    ...(NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE }),
  };
}
