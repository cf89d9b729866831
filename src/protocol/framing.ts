import type { IncomingHttpHeaders } from 'node:http';
import type { Duplex } from 'node:stream';
import { Readable, Writable } from 'node:stream';

/**
 * The answer to a request that took its connection over (HTTP Upgrade): frames of a length (4 bytes, big-endian) and as many bytes. A length of
 * nought says that only one more frame follows, which holds the trailers. Node's HTTP parser copies every piece of a body; this copies nothing.
 */
export const framedProtocol = 'supercargo-frames';

const headerBytes = 4;
const mostTrailerBytes = 4096;

/** What is written to it goes out in frames. Destroying it breaks the connection, which says that this is not all. */
export class FrameWriter extends Writable {
  readonly #socket: Duplex;
  readonly #trailers: Record<string, string> = {};

  constructor(socket: Duplex) {
    super({ highWaterMark: 1 << 20 });
    this.#socket = socket;
    socket.on('error', () => undefined);
    socket.on('close', () => this.destroy());
    // A write that failed: the connection is gone, and whoever writes sees that it is closed.
    this.on('error', () => undefined);
    // Nothing comes, but only who reads learns that the other end is gone.
    socket.resume();
  }

  /** Takes the connection over. */
  flushHeaders(): void {
    this.#socket.write(`HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ${framedProtocol}\r\n\r\n`);
  }

  /** What the other end learns after all the bytes. */
  addTrailers(trailers: Record<string, string>): void {
    Object.assign(this.#trailers, trailers);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (chunk.length === 0) return done();
    this.#frame(chunk, done);
  }

  #frame(content: Buffer, done?: (error?: Error | null) => void): void {
    this.#socket.cork();
    this.#socket.write(header(content.length));
    this.#socket.write(content, done);
    this.#socket.uncork();
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#socket.write(header(0));
    this.#frame(Buffer.from(JSON.stringify(this.#trailers)));
    this.#socket.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.writableFinished) this.#socket.destroy();
    done(error);
  }
}

function header(length: number): Buffer {
  const bytes = Buffer.allocUnsafe(headerBytes);
  bytes.writeUInt32BE(length);
  return bytes;
}

/** The bytes of the frames that a connection brings. It ends only after the last frame: what is cut before fails. */
export class FrameReader extends Readable {
  readonly statusCode = 200;
  readonly headers: IncomingHttpHeaders = {};
  /** Known at the end. */
  trailers: Record<string, string> = {};
  readonly #socket: Duplex;
  #header = { bytes: 0, length: 0 };
  /** Of the frame that is being read. */
  #left = 0;
  #last = false;
  #whole = false;
  #tail = '';

  /** @param head what the connection brought already */
  constructor(socket: Duplex, head: Buffer) {
    super({ highWaterMark: 1 << 20 });
    this.#socket = socket;
    // Whoever has read enough does not listen any more, and need not know what became of the rest.
    this.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', (error) => this.#broken(error));
    for (const end of ['end', 'close']) socket.on(end, () => this.#broken(new Error('the connection was closed before the last frame')));
    if (head.length > 0) this.#take(head);
  }

  #take(chunk: Buffer): void {
    for (let position = 0; position < chunk.length && !this.destroyed;) {
      if (this.#left === 0) {
        this.#takeHeader(chunk[position] ?? 0);
        position += 1;
        continue;
      }
      const part = chunk.subarray(position, position + this.#left);
      position += part.length;
      this.#left -= part.length;
      if (!this.#last) {
        if (!this.push(part)) this.#socket.pause();
        continue;
      }
      this.#tail += part.toString('latin1');
      if (this.#left === 0) return this.#finish();
    }
  }

  #takeHeader(byte: number): void {
    this.#header = { bytes: this.#header.bytes + 1, length: this.#header.length * 256 + byte };
    if (this.#header.bytes < headerBytes) return;
    const { length } = this.#header;
    this.#header = { bytes: 0, length: 0 };
    if (this.#last && (length === 0 || length > mostTrailerBytes)) this.destroy(new Error('the last frame is not one'));
    if (length === 0) this.#last = true;
    this.#left = length;
  }

  #finish(): void {
    try {
      this.trailers = JSON.parse(this.#tail) as Record<string, string>;
    } catch (error) {
      this.destroy(error as Error);
      return;
    }
    this.#whole = true;
    this.push(null);
  }

  #broken(error: Error): void {
    // All is here already, and perhaps not read yet.
    if (!this.#whole) this.destroy(error);
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }
}
