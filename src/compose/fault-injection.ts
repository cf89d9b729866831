import { existsSync, readFileSync, rmSync } from 'node:fs';
import type { StreamSink } from '../agent/transfer-server.ts';

/** Called where the process may be told to stand still, with the name of the place. */
export type StandStill = (place: string) => void;

/**
 * Faults on demand, for tests of the real program: off unless the environment asks for them (see settings.ts).
 * The process stands still when it comes to the place that the file names, and takes the file away to say so. Who watches then kills it, cuts the power
 * of its host or another one, or lets it go on.
 */
export function createStandStill(file: string): StandStill {
  if (file === '') return () => undefined;
  return (place) => {
    if (!existsSync(file) || readFileSync(file, 'utf8') !== place) return;
    rmSync(file);
    process.kill(process.pid, 'SIGSTOP');
  };
}

/** The same handlers, with a place of the route's name in each: what was decided is on record, and not answered yet. */
export function withPlaces<Table extends Record<keyof Table, (...parameters: never[]) => unknown>>(handlers: Table, standStill: StandStill): Table {
  const wrapped = Object.entries<(...parameters: never[]) => unknown>(handlers).map(([route, handle]) => [
    route,
    (...parameters: never[]) => {
      const answer = handle(...parameters);
      if (!(answer instanceof Promise)) return answer;
      return answer.then((value: unknown) => {
        standStill(route);
        return value;
      });
    },
  ]);
  return Object.fromEntries(wrapped) as Table;
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
