import type { IncomingMessage } from 'node:http';
import { finished } from 'node:stream';
import type { Readable, Writable } from 'node:stream';
import { isMarkedAsUntransferable } from 'node:worker_threads';
import { SupercargoError } from '../model/errors.ts';

/**
 * Writes all that a stream brings to a sink, no faster than the sink takes it, and leaves the sink open. The memory of what was written is given back
 * at once: left to the garbage collector, a gigabyte costs it some fifty runs over the whole heap. So nobody else may use the source's chunks.
 * @param pick sees each chunk before it is written and says how much of it is; what it is handed is gone later
 * @returns when the source ended, or the sink closed before that
 * @throws what the source or `pick` failed with; ERR_STREAM_PREMATURE_CLOSE if it was cut without an error
 */
export function pour(source: Readable, sink: Writable, pick: (chunk: Buffer) => Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const memory = new ChunkMemory();
    const take = (chunk: Buffer): void => {
      if (sink.destroyed || sink.errored !== null) return leave();
      try {
        const part = pick(chunk);
        if (!sink.write(part, memory.use(chunk))) source.pause();
      } catch (error) {
        leave(error as Error);
      }
    };
    const goOn = (): void => void source.resume();
    const leave = (error?: Error | null): void => {
      source.off('data', take).pause();
      sink.off('drain', goOn).off('close', leave);
      stopWatching();
      if (error) reject(error);
      else resolve();
    };
    const stopWatching = finished(source, { writable: false }, leave);
    sink.on('drain', goOn).on('close', leave);
    source.on('data', take);
    if (sink.destroyed) leave();
  });
}

/** Gives the memory of chunks back that arrive in order, each after its use. One piece of memory may hold several chunks that follow each other. */
class ChunkMemory {
  #newest = { memory: new ArrayBuffer(0) as ArrayBufferLike, uses: 0 };

  /** @returns to be called when the chunk is not needed any more */
  use(chunk: Buffer): () => void {
    if (chunk.buffer !== this.#newest.memory) {
      const former = this.#newest;
      this.#newest = { memory: chunk.buffer, uses: 0 };
      if (former.uses === 0) release(former.memory);
    }
    const mine = this.#newest;
    mine.uses += 1;
    return () => {
      mine.uses -= 1;
      if (mine.uses === 0 && mine !== this.#newest) release(mine.memory);
    };
  }
}

function release(memory: ArrayBufferLike): void {
  // Small buffers lie in a pool of Node's, among others that live on; it marks the pool so.
  if (memory instanceof ArrayBuffer && !isMarkedAsUntransferable(memory)) memory.transfer(0);
}

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

/**
 * The whole body of a request. What is too long is read to its end all the same and dropped, so that the client gets the answer rather than a broken pipe.
 * @throws invalid-request if it is too long, or the client went away before its end
 */
export function readText(request: IncomingMessage, maximumBytes: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    request.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length <= maximumBytes) chunks.push(chunk);
      else chunks.length = 0;
    });
    request.once('end', () => {
      if (length <= maximumBytes) resolve(Buffer.concat(chunks).toString('utf8'));
      else reject(new SupercargoError('invalid-request', `The request is longer than ${maximumBytes} bytes.`));
    });
    // After the end this changes nothing, because the promise is settled.
    const breakOff = (cause?: Error): void =>
      reject(new SupercargoError('invalid-request', 'The connection was closed in the middle of a request.', { cause }));
    request.once('error', breakOff);
    request.once('close', breakOff);
  });
}
