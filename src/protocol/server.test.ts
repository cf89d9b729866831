import http from 'node:http';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { SupercargoError } from '../model/errors.ts';
import { createClient } from './client.ts';
import { problemMediaType } from './problem.ts';
import { defineRoutes } from './route.ts';
import { createServer } from './server.ts';
import type { CallerIdentity, Handlers } from './server.ts';
import { unixTransport } from './transport.ts';
import type { Transport } from './transport.ts';

const table = defineRoutes({
  read: {
    method: 'GET',
    path: '/v1/things/:thing',
    summary: 'One thing.',
    callers: ['operator'],
    parameters: z.object({ thing: z.string().max(20) }),
    query: z.object({ limit: z.coerce.number().int().max(10).default(3) }),
    response: z.object({ thing: z.string(), limit: z.int() }),
  },
  write: {
    method: 'PUT',
    path: '/v1/things',
    summary: 'Writes.',
    callers: ['operator', 'host'],
    body: z.strictObject({ size: z.int() }),
    response: z.object({ size: z.int() }),
  },
  follow: { method: 'GET', path: '/v1/follow', summary: 'Follows.', callers: ['operator'], response: z.object({ number: z.int() }), stream: true },
});

let directory: string;
let socketPath: string;
let app: FastifyInstance;
let transport: Transport;
let caller: CallerIdentity;
let follow: Handlers<typeof table>['follow'];
const defects: unknown[] = [];

const handlers: Handlers<typeof table> = {
  read: async ({ parameters, query }, context) => {
    if (parameters.thing === 'none')
      throw new SupercargoError('not-found', 'There is no such thing.', { hint: 'Make one.', details: { thing: 'none' } });
    if (parameters.thing === 'broken') throw new TypeError('secret detail');
    context.setEntityTag('7');
    return { thing: `${parameters.thing} ${context.ifMatch ?? '-'}`, limit: query.limit };
  },
  write: async ({ body }) => body,
  follow: (input, context) => follow(input, context),
};

async function start(): Promise<void> {
  app = await createServer({
    routes: table,
    handlers,
    identify: () => caller,
    serverFactory: (handler) => http.createServer(handler),
    onDefect: (error) => defects.push(error),
    version: '1.2.3',
  });
  await new Promise<void>((resolve) => {
    app.server.listen(socketPath, resolve);
  });
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'supercargo-http-'));
  socketPath = join(directory, 's');
  caller = { caller: 'operator', host: null, certificate: null };
  defects.length = 0;
  transport = unixTransport(socketPath, { title: 'The server', unreachable: 'host-unreachable', hint: 'Start it.' });
  await start();
});

async function stop(): Promise<void> {
  await new Promise<void>((resolve) => {
    app.server.close(() => resolve());
    app.server.closeAllConnections();
  });
  await app.close();
}

afterEach(async () => {
  transport.close();
  await stop();
  rmSync(directory, { recursive: true, force: true });
});

interface Raw {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: Record<string, unknown>;
}

function raw(method: string, path: string, body?: string, headers: Record<string, string> = {}): Promise<Raw> {
  return new Promise((resolve, reject) => {
    const request = http.request({ socketPath, method, path, headers }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: JSON.parse(text) as Record<string, unknown> }),
      );
    });
    request.on('error', reject);
    request.end(body);
  });
}

const client = () => createClient(table, transport);

describe('a route', () => {
  it('passes parameters, query with its defaults, and If-Match, and answers with an entity tag', async () => {
    expect(await client().read({ parameters: { thing: 'a/b ü' }, query: {} }, { ifMatch: '7' })).toEqual({ thing: 'a/b ü 7', limit: 3 });
    const { headers, body } = await raw('GET', '/v1/things/x?limit=5', undefined, { 'if-match': 'W/"9"' });
    expect(body).toEqual({ thing: 'x 9', limit: 5 });
    expect(headers.etag).toBe('"7"');
  });

  it.each([
    ['a value of the wrong type', '{"size":"big"}', 'size'],
    ['an unknown member', '{"size":1,"extra":2}', 'extra'],
    ['truncated JSON', '{"size":', ''],
    ['no body', '', ''],
    ['another type', '[]', ''],
  ])('refuses %s with a problem that says where', async (_, body, word) => {
    const answer = await raw('PUT', '/v1/things', body, { 'content-type': 'application/json' });
    expect(answer.status).toBe(400);
    expect(answer.headers['content-type']).toContain(problemMediaType);
    expect(answer.body).toMatchObject({ code: 'invalid-request', type: 'urn:supercargo:error:invalid-request', status: 400 });
    expect(String(answer.body['detail'])).toContain(word);
    expect(defects).toEqual([]);
  });

  it('refuses a query and a parameter that are not valid', async () => {
    expect(await raw('GET', '/v1/things/x?limit=11')).toMatchObject({ status: 400, body: { code: 'invalid-request' } });
    expect(await raw('GET', `/v1/things/${'x'.repeat(21)}`)).toMatchObject({ status: 400, body: { code: 'invalid-request' } });
  });

  it('is for its callers only, whatever the body', async () => {
    caller = { caller: 'host', host: 'hst_1', certificate: null };
    expect(await raw('GET', '/v1/things/x')).toMatchObject({ status: 403, body: { code: 'forbidden' } });
    caller = { caller: 'guest', host: null, certificate: null };
    expect(await raw('PUT', '/v1/things', '{', { 'content-type': 'application/json' })).toMatchObject({ status: 403, body: { code: 'forbidden' } });
  });

  it('tells errors with code, hint and details, and arrives at the client as it was thrown', async () => {
    expect(await raw('GET', '/v1/things/none')).toMatchObject({
      status: 404,
      body: { code: 'not-found', detail: 'There is no such thing.', hint: 'Make one.', details: { thing: 'none' } },
    });
    await expect(client().read({ parameters: { thing: 'none' }, query: {} })).rejects.toMatchObject({
      code: 'not-found',
      hint: 'Make one.',
      details: { thing: 'none' },
    });
  });

  it('reports a defect', async () => {
    expect(await raw('GET', '/v1/things/broken')).toMatchObject({ status: 500, body: { code: 'internal' } });
    expect(defects).toHaveLength(1);
  });

  it('that there is none of is a problem too', async () => {
    expect(await raw('GET', '/v1/nothing')).toMatchObject({ status: 404, body: { code: 'not-found' } });
    expect(await raw('DELETE', '/v1/things')).toMatchObject({ status: 404, body: { code: 'not-found' } });
  });
});

describe('a stream', () => {
  it('arrives line by line and ends', async () => {
    follow = async function* () {
      for (let number = 1; number <= 3; number += 1) yield { number };
    };
    const numbers: number[] = [];
    for await (const { number } of client().follow({})) numbers.push(number);
    expect(numbers).toEqual([1, 2, 3]);
  });

  it('that fails in the middle is a broken connection, not an end', async () => {
    const arrived = Promise.withResolvers<void>();
    follow = async function* () {
      yield { number: 1 };
      await arrived.promise;
      throw new Error('lost');
    };
    const numbers: number[] = [];
    const read = async (): Promise<void> => {
      for await (const { number } of client().follow({})) {
        numbers.push(number);
        arrived.resolve();
      }
    };
    await expect(read()).rejects.toThrow();
    expect(numbers).toEqual([1]);
  });

  it('ends for its source when the reader leaves', async () => {
    const gone = Promise.withResolvers<void>();
    follow = async function* (_, { signal }) {
      signal.addEventListener('abort', () => gone.resolve());
      yield { number: 1 };
      await gone.promise;
    };
    for await (const { number } of client().follow({})) {
      expect(number).toBe(1);
      break;
    }
    await gone.promise;
  });

  it('ends for its reader when the server dies, or when the reader gives up', async () => {
    follow = async function* (_, { signal }) {
      yield { number: 1 };
      await new Promise((resolve) => {
        signal.addEventListener('abort', resolve);
      });
    };
    const controller = new AbortController();
    const read = async (stop: () => void, signal?: AbortSignal): Promise<void> => {
      for await (const _ of client().follow({}, signal === undefined ? {} : { signal })) stop();
    };
    await expect(read(() => controller.abort(new Error('enough')), controller.signal)).rejects.toThrow();
    await expect(read(() => app.server.closeAllConnections())).rejects.toThrow();
  });
});

describe('a client', () => {
  it('says who does not answer', async () => {
    await stop();
    await expect(client().write({ body: { size: 1 } })).rejects.toMatchObject({
      code: 'host-unreachable',
      hint: 'Start it.',
      message: expect.stringContaining('The server') as string,
    });
  });

  it('goes on after a restart of the server, over the connection that it had kept', async () => {
    expect(await client().write({ body: { size: 1 } })).toEqual({ size: 1 });
    await stop();
    await start();
    expect(await client().write({ body: { size: 2 } })).toEqual({ size: 2 });
  });

  it('passes its caller’s reason on when it is told to stop', async () => {
    const reason = new Error('enough');
    await expect(client().write({ body: { size: 1 } }, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});

describe('the OpenAPI document', () => {
  it('is made of the same table', async () => {
    const { body } = await raw('GET', '/v1/openapi.json');
    expect(body).toMatchObject({
      openapi: '3.1.0',
      info: { version: '1.2.3' },
      paths: {
        '/v1/things/{thing}': {
          get: { operationId: 'read', parameters: expect.arrayContaining([expect.objectContaining({ in: 'path', name: 'thing' })]) as unknown },
        },
        '/v1/things': {
          put: {
            requestBody: { content: { 'application/json': { schema: { properties: { size: { type: 'integer' } }, additionalProperties: false } } } },
          },
        },
      },
    });
  });
});
