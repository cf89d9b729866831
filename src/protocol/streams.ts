import type { Readable, Writable } from 'node:stream';

/** Resolves when a stream whose `write` said "enough" takes more, or is closed. Leaves no listener behind: a transfer waits here thousands of times. */
export function drained(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done);
      stream.off('close', done);
      resolve();
    };
    stream.on('drain', done);
    stream.on('close', done);
    if (stream.destroyed || !stream.writableNeedDrain) done();
  });
}

/** The lines of a stream of JSON lines. Only the line feed ends a line: JSON may hold every other separator that Unicode knows. */
export async function* jsonLines(stream: Readable): AsyncGenerator<string> {
  stream.setEncoding('utf8');
  let rest = '';
  for await (const chunk of stream as AsyncIterable<string>) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
  if (rest !== '') yield rest;
}
