import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, writeSync } from 'node:fs';
import { mkdir, open, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { text } from 'node:stream/consumers';
import type { Readable } from 'node:stream';
import { isErrorCode, SupercargoError } from '../model/errors.ts';
import type { ReadySummary } from './dependencies.ts';

/** Tells the child which descriptor takes its one line: a ReadyLine. */
const readyVariable = 'SUPERCARGO_READY_FD';
const readyDescriptor = 3;
const shownLogLines = 15;

type ReadyLine = { ready: true; summary: ReadySummary } | { ready: false; error: { code: string; message: string; hint: string | null } };

export function isDetachedChild(environment: NodeJS.ProcessEnv): boolean {
  return environment[readyVariable] !== undefined;
}

export interface DetachOptions {
  /** The program and leading parameters that start this program again. */
  launch: readonly [program: string, ...parameters: string[]];
  argv: readonly string[];
  environment: NodeJS.ProcessEnv;
  logFile: string;
}

/**
 * Starts this program again in the background with the same words and waits until it serves.
 * @throws what the daemon said kept it from starting, or `internal` with the end of its log
 */
export async function startDetached({ launch, argv, environment, logFile }: DetachOptions): Promise<ReadySummary> {
  await mkdir(dirname(logFile), { recursive: true, mode: 0o700 });
  const log = await open(logFile, 'a', 0o600);
  const { size: logStart } = await log.stat();
  try {
    const [program, ...parameters] = launch;
    const child = spawn(program, [...parameters, ...argv], {
      detached: true,
      stdio: ['ignore', log.fd, log.fd, 'pipe'],
      env: { ...environment, [readyVariable]: String(readyDescriptor) },
    });
    await once(child, 'spawn');
    const ended = once(child, 'exit');
    const line = await readyLineOf(child);
    if (line?.ready === true) {
      child.unref();
      return line.summary;
    }
    // Only then its pid file is gone and its log complete.
    await ended;
    throw line === undefined ? await silentEnd(logFile, logStart) : reportedError(line.error);
  } finally {
    await log.close();
  }
}

/** The pipe ends with the line, or without one when the child has ended. */
async function readyLineOf(child: ChildProcess): Promise<ReadyLine | undefined> {
  const words = await text(child.stdio[readyDescriptor] as Readable);
  return words === '' ? undefined : (JSON.parse(words) as ReadyLine);
}

function reportedError({ code, message, hint }: { code: string; message: string; hint: string | null }): SupercargoError {
  return new SupercargoError(isErrorCode(code) ? code : 'internal', message, hint === null ? {} : { hint });
}

async function silentEnd(logFile: string, logStart: number): Promise<SupercargoError> {
  const log = (await readFile(logFile)).subarray(logStart).toString('utf8').trimEnd();
  const lines = log.split('\n').slice(-shownLogLines).join('; ');
  return new SupercargoError('internal', `The daemon ended before it served. It said: ${lines || 'nothing'}`, { hint: `Its whole log: ${logFile}` });
}

/** In the child: tells the parent how the start went; once, and nothing if there is no parent that waits. */
export function reporterToParent(environment: NodeJS.ProcessEnv): { ready(summary: ReadySummary): void; failed(error: SupercargoError): void } {
  let descriptor = Number(environment[readyVariable] ?? NaN);
  const tell = (line: ReadyLine): void => {
    if (Number.isNaN(descriptor)) return;
    try {
      writeSync(descriptor, JSON.stringify(line));
      // The end of the pipe is what the parent waits for.
      closeSync(descriptor);
    } catch {
      // A parent that was killed in the meantime must not end the daemon.
    }
    descriptor = NaN;
  };
  return {
    ready: (summary) => tell({ ready: true, summary }),
    failed: ({ code, message, hint }) => tell({ ready: false, error: { code, message, hint: hint ?? null } }),
  };
}
