import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { SupercargoError } from '../model/errors.ts';

const pollMilliseconds = 50;

function pidFile(runDirectory: string): string {
  return join(runDirectory, 'supercargo.pid');
}

/** The process number of the daemon that serves this run directory; null if none runs. */
export async function runningDaemon(runDirectory: string): Promise<number | null> {
  const text = await readFile(pidFile(runDirectory), 'utf8').catch(() => '');
  const processNumber = Number(text.trim());
  return Number.isSafeInteger(processNumber) && processNumber > 1 && (await isDaemon(processNumber)) ? processNumber : null;
}

/** A process number may have been given to another program since; a zombie has no command line and counts as ended. */
async function isDaemon(processNumber: number): Promise<boolean> {
  const commandLine = await readFile(`/proc/${processNumber}/cmdline`, 'utf8').catch(() => '');
  return commandLine.split('\0').includes('up');
}

/**
 * Writes this process down as the daemon of the run directory, which is made if it is missing.
 * @returns takes it back
 * @throws wrong-state if another daemon runs
 */
export async function writePidFile(runDirectory: string): Promise<() => Promise<void>> {
  const other = await runningDaemon(runDirectory);
  if (other !== null && other !== process.pid) {
    throw new SupercargoError('wrong-state', `Supercargo runs on this host already (process ${other}).`, { hint: 'End it first: supercargo down' });
  }
  await mkdir(runDirectory, { recursive: true, mode: 0o755 });
  await writeFile(pidFile(runDirectory), `${process.pid}\n`);
  return () => rm(pidFile(runDirectory), { force: true });
}

/**
 * Ends the daemon in good order and waits until it has ended.
 * @returns its process number; null if none ran
 * @throws deadline-exceeded if it still runs after the time in milliseconds
 */
export async function stopDaemon(runDirectory: string, timeoutMilliseconds: number): Promise<number | null> {
  const processNumber = await runningDaemon(runDirectory);
  if (processNumber === null) return null;
  process.kill(processNumber, 'SIGTERM');
  const deadline = performance.now() + timeoutMilliseconds;
  // The end of a process that is not one's child is no event that Node can wait for.
  while (await isDaemon(processNumber)) {
    if (performance.now() > deadline) {
      throw new SupercargoError('deadline-exceeded', `Supercargo (process ${processNumber}) still runs.`, {
        hint: 'It waits for calls in flight; look at its log, or wait longer with --timeout.',
      });
    }
    await delay(pollMilliseconds);
  }
  return processNumber;
}
