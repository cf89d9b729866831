import { readFileSync, readdirSync } from 'node:fs';

export interface ProcessStatus {
  /** One letter, as in ps(1): R runs, S and D sleep, T and t are stopped, Z and X have ended. */
  state: string;
  parent: number;
  /** In ticks since the machine started. With the number it names a process for good, though the number may be given to another later. */
  startTime: string;
}

/** What /proc says of a process; undefined if it is gone. */
export function processStatus(processNumber: number): ProcessStatus | undefined {
  return statusAt(`/proc/${processNumber}`);
}

/** True if the very process with that number and start has no thread that could run: all are stopped or have ended. Also if it is gone. */
export function standsStill(processNumber: number, startTime: string): boolean {
  if (processStatus(processNumber)?.startTime !== startTime) return true;
  return threadsOf(processNumber).every((thread) => /^[TtZX]$/.test(statusAt(`/proc/${processNumber}/task/${thread}`)?.state ?? 'X'));
}

function threadsOf(processNumber: number): string[] {
  try {
    return readdirSync(`/proc/${processNumber}/task`);
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

function statusAt(directory: string): ProcessStatus | undefined {
  try {
    const text = readFileSync(`${directory}/stat`, 'utf8');
    // The name of the program stands in parentheses and may hold anything, parentheses too.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0] ?? 'X', parent: Number(fields[1]), startTime: fields[19] ?? '' };
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

function isGone(error: unknown): boolean {
  return ['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '');
}
