import { spawn } from 'node:child_process';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { execa } from 'execa';
import { SupercargoError } from '../model/errors.ts';

/** The one place from which programs of the operating system are run: argument vectors only, never a shell. */
export interface ExecuteOptions {
  input?: string;
  timeoutMilliseconds?: number;
  signal?: AbortSignal;
}

/**
 * Runs a program to its end.
 * @returns its standard output
 * @throws command-failed with the program's own words
 */
export async function execute(program: string, parameters: readonly string[], options: ExecuteOptions = {}): Promise<string> {
  const result = await execa(program, [...parameters], {
    reject: false,
    stripFinalNewline: true,
    ...(options.input === undefined ? { stdin: 'ignore' as const } : { input: options.input }),
    ...(options.timeoutMilliseconds === undefined ? {} : { timeout: options.timeoutMilliseconds }),
    ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
    env: { LC_ALL: 'C' },
  });
  if (result.failed) {
    const words = (result.stderr || result.shortMessage || '').trim();
    throw new SupercargoError('command-failed', `${program} ${parameters.join(' ')} failed: ${words}`, {
      details: { exitCode: result.exitCode ?? null, stderr: words.slice(0, 2000) },
    });
  }
  return result.stdout;
}

/** Starts a program whose three standard streams are byte pipes, for transfers. The caller waits for its end or kills it. */
export function spawnPiped(program: string, parameters: readonly string[]): ChildProcessWithoutNullStreams {
  return spawn(program, [...parameters], { stdio: 'pipe', env: { ...process.env, LC_ALL: 'C' } });
}

export interface ResidentOptions {
  /** The whole environment. */
  environment: NodeJS.ProcessEnv;
  /** Takes standard output and standard error; what is in it stays. */
  logFile: string;
}

/** Starts a program in a session of its own, which goes on when this process has ended in whatever way. @returns its process number */
export function spawnResident(program: string, parameters: readonly string[], { environment, logFile }: ResidentOptions): number {
  const log = openSync(logFile, 'a', 0o600);
  try {
    const child = spawn(program, [...parameters], { detached: true, stdio: ['ignore', log, log], env: environment, cwd: '/' });
    // Whoever needs the program sees that it does not serve.
    child.on('error', () => undefined);
    child.unref();
    return child.pid ?? 0;
  } finally {
    closeSync(log);
  }
}
