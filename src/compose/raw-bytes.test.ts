import type { Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isErrorCode } from '../model/errors.ts';
import { DoorSet, doorNames } from './test-doors.ts';
import type { Door } from './test-doors.ts';

/** Plays a run again: each run says its own. */
const seed = Number(process.env['FUZZ_SEED'] ?? Date.now() % 2 ** 31);
const mebibyte = 1024 * 1024;

let doors: DoorSet;

beforeAll(async () => {
  process.stdout.write(`raw bytes with FUZZ_SEED=${seed}\n`);
  doors = await DoorSet.open();
});
afterAll(() => doors?.close());

const crlf = '\r\n';
const head = (line: string, ...headers: string[]): Buffer => Buffer.from(`${[line, 'host: x', ...headers].join(crlf)}${crlf}${crlf}`, 'latin1');
const post = (path: string, body: string | Uint8Array, ...headers: string[]): Buffer =>
  Buffer.concat([
    head(`POST ${path} HTTP/1.1`, 'content-type: application/json', `content-length: ${Buffer.byteLength(body)}`, ...headers),
    Buffer.from(body),
  ]);

/** What somebody may send who knows the protocol, and keeps to it only as far as it serves him. */
function hostile(path: string): fc.Arbitrary<Uint8Array> {
  const bytes = fc.uint8Array({ maxLength: 3000 });
  const whole = post(path, '{}');
  const depth = fc.constantFrom(1, 100, 5000, 100_000);
  return fc.oneof(
    bytes,
    fc.nat({ max: whole.length }).map((length) => whole.subarray(0, length)),
    // Heads.
    fc.constantFrom(1000, 15_000, 100_000, mebibyte).map((length) => head(`GET ${path} HTTP/1.1`, `x: ${'y'.repeat(length)}`)),
    fc.constant(head(`GET ${path} HTTP/1.1`, ...Array.from({ length: 5000 }, (_, index) => `x${index}: y`))),
    fc.constantFrom(300, 9000, 100_000).map((length) => head(`GET ${path}/${'a'.repeat(length)} HTTP/1.1`)),
    fc.uint8Array({ maxLength: 200 }).map((text) => head(`GET /${Buffer.from(text).toString('latin1')} HTTP/1.1`)),
    fc
      .constantFrom(
        'GET  / HTTP/1.1',
        'GET / HTTP/9.9',
        'GET /',
        'get / HTTP/1.1',
        'PRI * HTTP/2.0',
        'CONNECT x:1 HTTP/1.1',
        'GET http://x/y HTTP/1.1',
      )
      .map((line) => head(line)),
    fc
      .constantFrom('/%', '/%00', '//', '/../..', '*', '?', '#', '/v1/local/%2e%2e/x', '/v1/volumes/%ff%fe', `${path}?a[b]=%`)
      .map((target) => head(`GET ${target} HTTP/1.1`)),
    fc
      .constantFrom('upgrade: x\r\nconnection: upgrade', 'expect: 100-continue', 'expect: tea', 'connection: x\u0000y', 'a b: c', ': c', 'x: \rz')
      .map((header) => post(path, '{}', header)),
    // Lengths that are not those of the body.
    fc
      .constantFrom('-1', '1e3', '999', '0', '18446744073709551616', '2, 2', 'x')
      .map((length) =>
        Buffer.concat([head(`POST ${path} HTTP/1.1`, 'content-type: application/json', `content-length: ${length}`), Buffer.from('{}')]),
      ),
    fc.constant(post(path, '{}', 'content-length: 5')),
    fc.constant(post(path, `0${crlf}${crlf}GET ${path} HTTP/1.1${crlf}${crlf}`, 'transfer-encoding: chunked')),
    fc
      .constantFrom(`ffffffffffffffff${crlf}x`, `-1${crlf}`, `2;${'x'.repeat(20_000)}${crlf}{}${crlf}0${crlf}${crlf}`, `2${crlf}{}`)
      .map((chunks) =>
        Buffer.concat([head(`POST ${path} HTTP/1.1`, 'content-type: application/json', 'transfer-encoding: chunked'), Buffer.from(chunks)]),
      ),
    // Bodies.
    fc.uint8Array({ maxLength: 500 }).map((body) => post(path, body)),
    fc.uint8Array({ maxLength: 50 }).map((text) => post(path, Buffer.concat([Buffer.from('{"Name":"'), text, Buffer.from('"}')]))),
    fc.constant(post(path, `{"Name":"${'\u0000'.repeat(3)}","name":"\\u0000"}`)),
    depth.map((levels) => post(path, '['.repeat(levels))),
    depth.map((levels) => post(path, `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`)),
    depth.map((levels) => post(path, `{"Opts":${'['.repeat(levels)}${']'.repeat(levels)},"name":${'['.repeat(levels)}${']'.repeat(levels)}}`)),
    depth.map((levels) => post(path, JSON.stringify(authorizationOf(`{"HostConfig":${'['.repeat(levels)}${']'.repeat(levels)}}`)))),
    bytes.map((body) => post(path, JSON.stringify(authorizationOf(body)))),
    fc.constant(post(path, `{"Name":"${'x'.repeat(2 * mebibyte)}"}`)),
    fc
      .constantFrom('{"__proto__":{"x":1}}', '{"constructor":{"prototype":1}}', '1e999', '"\\ud800"', 'null', '[]', '\ufeff{}')
      .map((body) => post(path, body)),
    // More than one.
    bytes.map((garbage) => Buffer.concat([whole, garbage])),
    fc.constant(Buffer.concat(Array.from({ length: 500 }, () => whole))),
  );
}

/** What an engine would ask about that body. */
function authorizationOf(body: string | Uint8Array): object {
  return { RequestMethod: 'POST', RequestUri: '/v1.41/containers/create', RequestBody: Buffer.from(body).toString('base64') };
}

/** Lines of the guard's own protocol, nearly. */
const lines: fc.Arbitrary<Uint8Array> = fc
  .array(
    fc.oneof(
      fc.json({ maxDepth: 4 }),
      fc.constantFrom('hello', 'hold', 'drop', 'states').map((request) => JSON.stringify({ id: 1, request, leases: [{}], volumes: [1] })),
      fc.constantFrom('{"id":1,"request":"states"}', '{"id":1e999,"request":"states"}', '', '\u0000', '['.repeat(100_000)),
    ),
    { maxLength: 5 },
  )
  .map((texts) => Buffer.from(`${texts.join('\n')}\n`));

/** Shows its beginning if it fails, and not a mebibyte of numbers. */
const toMessage = (bytes: Uint8Array) => ({
  bytes,
  [fc.toStringMethod]: () => `${bytes.length} bytes: ${JSON.stringify(Buffer.from(bytes.subarray(0, 400)).toString('latin1'))}`,
});

/** Sends the bytes, says that there are no more, and gives what came until the other side closed. Nobody closing is a hang, and fails by the test's time. */
async function exchange(socket: Socket, bytes: Uint8Array): Promise<string> {
  const parts: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => parts.push(chunk));
  // Not `once`: a connection that was reset is closed as well.
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.end(bytes);
  await closed;
  return Buffer.concat(parts).toString('latin1');
}

/** More than anybody takes, of a body that was said to be longer still. Resolves with the connection open, unless the other side has closed it. */
async function sendWithoutEnd(socket: Socket, path: string): Promise<void> {
  socket.resume();
  socket.write(head(`POST ${path} HTTP/1.1`, 'content-type: application/json', `content-length: ${1024 * mebibyte}`));
  for (let sent = 0; sent < 80 && !socket.closed; sent += 1) {
    if (!socket.write(Buffer.alloc(mebibyte, 'x'))) await new Promise((resolve) => socket.once('drain', resolve).once('close', resolve));
  }
}

/** Every answer with a status of a failure of ours says which, and none is a defect. */
function expectDecent(answer: string): void {
  // The engine is told of what is refused, and of a defect of ours in another place.
  expect(answer).not.toMatch(/"Allow":false,.*"Err":"[^"]/);
  for (const [, status = '', rest = ''] of answer.matchAll(/HTTP\/1\.1 (\d{3})(.*?)(?=HTTP\/1\.1 |$)/gs)) {
    if (!status.startsWith('5')) continue;
    const code = /"code":"([a-z-]+)"/.exec(rest)?.[1];
    const isPluginRefusal = /"Err":"[^"]/.test(rest);
    expect(isPluginRefusal || (code !== undefined && isErrorCode(code) && code !== 'internal'), `${status}${rest.slice(0, 500)}`).toBe(true);
  }
}

describe.each(doorNames)('%s', (name) => {
  const door = (): Door => doors.door(name);

  it('answers whatever comes, without a defect, and serves the next caller', { timeout: 120_000 }, async () => {
    const shapes = door().speaks === 'lines' ? fc.oneof(lines, hostile('/')) : fc.oneof(...door().paths.map(hostile));
    await fc.assert(
      fc.asyncProperty(shapes.map(toMessage), async ({ bytes }) => expectDecent(await exchange(await door().connect(), bytes))),
      { seed, numRuns: 80 },
    );
    expect(doors.defects).toEqual([]);
    await door().works();
  });

  it('keeps nothing of a body without end', { timeout: 120_000 }, async () => {
    for (const path of ['/', ...door().paths]) {
      const before = await usedBytes();
      const socket = await door().connect();
      await sendWithoutEnd(socket, path);
      const kept = (await usedBytes()) - before;
      expect(kept / mebibyte, path).toBeLessThan(24);
      socket.destroy();
    }
    await door().works();
  });
});

it('a caller who says nothing hinders nobody', async () => {
  for (const name of doorNames) {
    const silent: Socket[] = Array.from({ length: 20 }, () => doors.door(name).dial());
    await doors.door(name).works();
    for (const socket of silent) socket.destroy();
  }
});

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

async function usedBytes(): Promise<number> {
  // What the first finds is given back beside the program, and counted as that by the next.
  for (let round = 0; round < 3; round += 1) {
    collectGarbage();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
