import { randomBytes } from 'node:crypto';
import { Readable, Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { pour } from './streams.ts';

/** A sink that is done with a chunk only when told, and remembers what it got. */
function slowSink(): { sink: Writable; received: () => Buffer; goOn: () => void; waiting: () => number } {
  const received: Buffer[] = [];
  const pending: (() => void)[] = [];
  const sink = new Writable({
    highWaterMark: 1,
    write(chunk: Buffer, _encoding, done) {
      pending.push(() => {
        received.push(Buffer.from(chunk));
        done();
      });
    },
  });
  return { sink, received: () => Buffer.concat(received), goOn: () => pending.shift()?.(), waiting: () => pending.length };
}

function all(): { sink: Writable; received: () => Buffer } {
  const received: Buffer[] = [];
  const sink = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      received.push(Buffer.from(chunk));
      done();
    },
  });
  return { sink, received: () => Buffer.concat(received) };
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function own(bytes: number): Buffer {
  return Buffer.from(new Uint8Array(randomBytes(bytes)).buffer);
}

describe('pour', () => {
  it('writes what was picked of every chunk, and leaves the sink open', async () => {
    const chunks = [own(5), own(70_000), own(3)];
    const expected = Buffer.concat(chunks.map((chunk) => chunk.subarray(2)));
    const { sink, received } = all();
    await pour(Readable.from(chunks), sink, (chunk) => chunk.subarray(2));
    expect(received().equals(expected)).toBe(true);
    expect(sink.writableEnded).toBe(false);
  });

  it('reads no further than the sink has taken', async () => {
    const picked: Buffer[] = [];
    const { sink, goOn, waiting } = slowSink();
    const done = pour(Readable.from([own(10), own(10), own(10)]), sink, (chunk) => (picked.push(chunk), chunk));
    for (let step = 1; step <= 3; step += 1) {
      await turn();
      expect([picked.length, waiting()]).toStrictEqual([step, 1]);
      goOn();
    }
    await done;
  });

  it('gives memory back after its last chunk was written, and not before', async () => {
    const shared = own(20);
    const memory = shared.buffer as ArrayBuffer;
    const { sink, goOn, received } = slowSink();
    const expected = Buffer.concat([shared]);
    const done = pour(Readable.from([shared.subarray(0, 10), shared.subarray(10), own(5), own(5)]), sink, (chunk) => chunk);
    const detached: boolean[] = [];
    for (let step = 0; step < 4; step += 1) {
      await turn();
      detached.push(memory.detached);
      goOn();
    }
    await done;
    expect(detached).toStrictEqual([false, false, true, true]);
    expect(received().subarray(0, 20).equals(expected)).toBe(true);
  });

  it('leaves the memory alone that small buffers share', async () => {
    const [first, second] = [Buffer.from('first'), Buffer.from('second')];
    const neighbour = Buffer.from('neighbour');
    await pour(Readable.from([first, own(3), second, own(3)]), all().sink, (chunk) => chunk);
    expect([first, second, neighbour].map(String)).toStrictEqual(['first', 'second', 'neighbour']);
  });

  it('ends when the sink closes, and fails as its source or its reader does', async () => {
    const endless = (): Readable => new Readable({ read: () => undefined });
    const { sink } = all();
    const ended = pour(endless(), sink, (chunk) => chunk);
    sink.destroy();
    await ended;
    await pour(endless(), sink, (chunk) => chunk);
    const failing = endless();
    const failed = pour(failing, all().sink, (chunk) => chunk);
    failing.destroy(new Error('cut'));
    await expect(failed).rejects.toThrow('cut');
    const cut = endless();
    const premature = pour(cut, all().sink, (chunk) => chunk);
    cut.destroy();
    await expect(premature).rejects.toThrow('Premature close');
    const unread = pour(Readable.from([own(1)]), all().sink, () => {
      throw new Error('unreadable');
    });
    await expect(unread).rejects.toThrow('unreadable');
  });
});
