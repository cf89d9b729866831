import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AgentOptions } from '../agent/context.ts';
import type { StreamSink } from '../agent/transfer-server.ts';

/**
 * Faults on demand, for tests of the real program: off unless the environment asks for them (see settings.ts).
 * The process kills itself the first time it comes to the place; a file remembers that across the restart.
 */
export function createCrashPoint(crashAt: string, directory: string): AgentOptions['crashPoint'] {
  if (crashAt === '') return () => undefined;
  const marker = join(directory, `crashed-at-${crashAt}`);
  return (place) => {
    if (place !== crashAt || existsSync(marker)) return;
    writeFileSync(marker, '');
    process.kill(process.pid, 'SIGKILL');
  };
}

/**
 * Turns over one byte of each of the first streams that are sent, after the sender hashed it and before it reaches the wire: only the comparison of
 * digests at the other end can notice.
 */
export function createStreamCorruption(streams: number): (response: StreamSink) => void {
  let left = streams;
  return (response) => {
    if (left === 0) return;
    const write = response.write.bind(response) as (chunk: Buffer, done?: () => void) => boolean;
    let turned = false;
    const corrupting = (chunk: Buffer, done?: () => void): boolean => {
      // Short ones are refusals, not streams.
      if (turned || left === 0 || chunk.length <= 600) return write(chunk, done);
      turned = true;
      left -= 1;
      const copy = Buffer.from(chunk);
      copy[600] = (copy[600] ?? 0) ^ 0xff;
      return write(copy, done);
    };
    response.write = corrupting as typeof response.write;
  };
}
