import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex, duplexPair } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { FrameReader, FrameWriter } from './framing.ts';
import { unixTransport } from './transport.ts';

/** What a writer puts on the wire. */
async function wireOf(parts: readonly Buffer[], trailers: Record<string, string>): Promise<Buffer> {
  const [near, far] = duplexPair();
  const writer = new FrameWriter(near);
  for (const part of parts) writer.write(part);
  writer.addTrailers(trailers);
  writer.end();
  return buffer(far);
}

async function read(wire: Buffer, cuts: readonly number[], headBytes = 0): Promise<{ content: Buffer; trailers: Record<string, string> }> {
  const [near, far] = duplexPair();
  const reader = new FrameReader(near, wire.subarray(0, headBytes));
  let from = headBytes;
  for (const cut of [...cuts, wire.length]) {
    far.write(wire.subarray(from, cut));
    from = cut;
  }
  far.end();
  return { content: await buffer(reader), trailers: reader.trailers };
}

describe('frames', () => {
  const parts = [randomBytes(3), Buffer.alloc(0), randomBytes(300), randomBytes(2000)];
  const trailers = { length: '2303', digest: 'abc' };

  it('bring bytes and trailers, wherever they are cut', async () => {
    const wire = await wireOf(parts, trailers);
    const expected = { content: Buffer.concat(parts), trailers };
    for (let cut = 1; cut < 400; cut += 1) expect(await read(wire, [cut, cut + 1])).toStrictEqual(expected);
    for (let cut = wire.length - 60; cut < wire.length; cut += 1) expect(await read(wire, [cut])).toStrictEqual(expected);
    expect(await read(wire, [], 250)).toStrictEqual(expected);
  });

  it('fail if they were not all', async () => {
    const wire = await wireOf(parts, trailers);
    for (const length of [0, 3, 200, wire.length - 50, wire.length - 1]) {
      await expect(read(wire.subarray(0, length), [])).rejects.toThrow('closed before the last frame');
    }
  });

  it('fail if the last one is none', async () => {
    const empty = Buffer.alloc(8);
    await expect(read(empty, [])).rejects.toThrow('not one');
    await expect(read(Buffer.from('00000000ffffffff00', 'hex'), [])).rejects.toThrow('not one');
    await expect(read(Buffer.concat([Buffer.from('0000000000000002', 'hex'), Buffer.from('{x')]), [])).rejects.toThrow('JSON');
  });

  it('end quietly when a write fails, or when nobody listens any more', async () => {
    const broken = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done(new Error('write ECANCELED')) });
    const writer = new FrameWriter(broken);
    writer.write(randomBytes(10));
    await new Promise((resolve) => writer.once('close', resolve));
    const reader = new FrameReader(duplexPair()[0], Buffer.alloc(0));
    reader.destroy(new Error('given up'));
    await new Promise((resolve) => reader.once('close', resolve));
    expect([writer.destroyed, reader.destroyed]).toStrictEqual([true, true]);
  });

  it('stop when their reader does', async () => {
    const [near, far] = duplexPair();
    const reader = new FrameReader(near, Buffer.alloc(0));
    const writer = new FrameWriter(far);
    let taken = 0;
    while (taken < 1000 && writer.write(randomBytes(65_536))) taken += 1;
    expect(taken).toBeLessThan(1000);
    reader.destroy();
    near.destroy();
    far.destroy();
    await new Promise((resolve) => writer.once('close', resolve));
  });
});

describe('a streamed answer', () => {
  async function served(answer: (request: http.IncomingMessage, socket: Socket) => void, use: (path: string) => Promise<void>): Promise<void> {
    const directory = await mkdtemp(join(tmpdir(), 'framing-'));
    const server = http.createServer();
    const sockets: Socket[] = [];
    server.on('upgrade', (request, socket: Socket) => {
      sockets.push(socket);
      answer(request, socket);
    });
    await new Promise<void>((resolve) => server.listen(join(directory, 'socket'), resolve));
    try {
      await use(join(directory, 'socket'));
    } finally {
      for (const socket of sockets) socket.destroy();
      server.close();
      await rm(directory, { recursive: true });
    }
  }
  const peer = { title: 'the peer', unreachable: 'host-unreachable', hint: '' } as const;

  it('takes its connection over', async () => {
    const content = randomBytes(300_000);
    const answer = (_request: http.IncomingMessage, socket: Socket): void => {
      const writer = new FrameWriter(socket);
      writer.flushHeaders();
      writer.addTrailers({ a: 'b' });
      writer.end(content);
    };
    await served(answer, async (path) => {
      const response = await unixTransport(path, peer).stream({ method: 'GET', path: '/' });
      expect(response.statusCode).toBe(200);
      expect((await buffer(response)).equals(content)).toBe(true);
      expect(response.trailers).toStrictEqual({ a: 'b' });
    });
  });

  it('may be a refusal', async () => {
    const refuse = (_request: http.IncomingMessage, socket: Socket): void => void socket.end('HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno');
    await served(refuse, async (path) => {
      const response = await unixTransport(path, peer).stream({ method: 'GET', path: '/' });
      expect([response.statusCode, await text(response)]).toStrictEqual([403, 'no']);
    });
  });

  it('fails with the reason for which it was given up', async () => {
    const begin = (_request: http.IncomingMessage, socket: Socket): void => new FrameWriter(socket).flushHeaders();
    await served(begin, async (path) => {
      const giveUp = new AbortController();
      const response = await unixTransport(path, peer).stream({ method: 'GET', path: '/', signal: giveUp.signal });
      const content = buffer(response);
      giveUp.abort(new Error('enough'));
      await expect(content).rejects.toThrow('enough');
    });
  });
});
