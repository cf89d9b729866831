import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isErrorCode } from '../model/errors.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { createAuthority } from '../pki/authority.ts';
import { AuthorityKeeper } from '../pki/authority-keeper.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { routes } from '../protocol/routes.ts';
import { createServer } from '../protocol/server.ts';
import type { CallerIdentity } from '../protocol/server.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { TestNameServer } from './test-name-server.ts';

const secretVolume = 'planted-volume-name';
/** Names that exist, so that requests get further than to "there is no such thing". */
const known = ['data', 'h1', 'default', 'shop', 'shop/web', 'anna', 'safe'];

let directory: string;
let store: Store;
let server: TestNameServer;
let host: string;
const apps = new Map<CallerIdentity['caller'], FastifyInstance>();
const defects: unknown[] = [];

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'supercargo-fuzz-'));
  const clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  const options = { clusterId: newIdentifier('clu'), clusterName: 'test', clock };
  const state = { ...(await createAuthority(options)), rotation: null };
  const nothing = async (): Promise<void> => undefined;
  server = await TestNameServer.start(store, clock, { rotation: new AuthorityKeeper({ ...options, state, save: nothing, onChange: nothing }) });
  host = await server.addHost('h1');
  const operator = server.as(null);
  await operator.createProject({ body: { name: 'shop', requireGrants: true } });
  await operator.createApplication({ body: { project: 'shop', name: 'web', privileged: false } });
  const anna = await operator.createUser({ body: { name: 'anna', role: 'operator', project: 'shop' } });
  for (const name of ['data', secretVolume]) await operator.createVolume({ body: { name } });
  const identities: CallerIdentity[] = [
    { caller: 'guest', host: null, certificate: null },
    { caller: 'user', host: null, user: anna.id, certificate: null },
    { caller: 'host', host, certificate: null },
    { caller: 'operator', host: null, certificate: null },
  ];
  for (const identity of identities) apps.set(identity.caller, await serve(identity));
});

afterAll(async () => {
  for (const app of apps.values()) await app.close();
  await store.close();
  rmSync(directory, { recursive: true });
});

async function serve(identity: CallerIdentity): Promise<FastifyInstance> {
  const app = await createServer({
    routes,
    handlers: server.handlers,
    identify: () => identity,
    serverFactory: (handler) => http.createServer(handler),
    onDefect: (error) => defects.push(error),
    version: 'test',
  });
  await app.listen({ path: join(directory, identity.caller) });
  return app;
}

interface Schema {
  type?: string | string[];
  enum?: unknown[];
  const?: unknown;
  properties?: Record<string, Schema>;
  items?: Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
}

/** Values that nearly fit a schema: most members are right, so that a wrong one is met where it hurts. */
function nearly(schema: Schema): fc.Arbitrary<unknown> {
  return fc.oneof({ weight: 9, arbitrary: fitting(schema) }, { weight: 1, arbitrary: fc.anything({ maxDepth: 2 }) });
}

function fitting(schema: Schema): fc.Arbitrary<unknown> {
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return fc.oneof(...choices.map(nearly));
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  if (schema.const !== undefined) return fc.constant(schema.const);
  switch (schema.type) {
    case 'object':
      return fc.record(Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, member]) => [name, nearly(member)])), {
        requiredKeys: [],
      });
    case 'array':
      return fc.array(nearly(schema.items ?? {}), { maxLength: 4 });
    case 'boolean':
      return fc.boolean();
    case 'integer':
    case 'number':
      return fc.oneof(fc.integer({ min: 0, max: 100_000 }), fc.constantFrom(-1, 2 ** 53, 1e300, 0.5));
    case 'null':
      return fc.constant(null);
    default:
      return words;
  }
}

const words = fc.oneof(
  fc.constantFrom(...known, '../x', 'a/b', '', '\u0000', '%2e%2e', '__proto__', 'constructor', `vol_${'0'.repeat(24)}`, '2026-01-01T00:00:00Z'),
  fc.string({ unit: 'binary', maxLength: 300 }),
);

interface Operation {
  method: string;
  path: string;
  body: Schema | undefined;
}

function operations(): Operation[] {
  const document = apps.get('operator')!.swagger() as {
    paths: Record<string, Record<string, { requestBody?: { content: { 'application/json': { schema: Schema } } } }>>;
  };
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(() => !path.endsWith('/follow') && path !== '/v1/watch') // they have no end
      .map(([method, { requestBody }]) => ({ method: method.toUpperCase(), path, body: requestBody?.content['application/json'].schema })),
  );
}

/** A removal waits for its holder, who is not there: what is asked is no answer within the test's patience. */
const isSlow = ({ method, path }: Operation): boolean => method === 'DELETE' && path === '/v1/volumes/{volume}';

function request(): fc.Arbitrary<{ method: string; url: string; payload: unknown }> {
  return fc.constantFrom(...operations().filter((each) => !isSlow(each))).chain(({ method, path, body }) =>
    fc.record({
      method: fc.constant(method),
      url: fc.array(words, { minLength: 3, maxLength: 3 }).map((values) => {
        let next = 0;
        return path.replaceAll(/\{\w+\}/g, () => encodeURIComponent(values[next++] ?? ''));
      }),
      payload: body === undefined ? fc.constant(undefined) : nearly(body),
    }),
  );
}

async function send(caller: CallerIdentity['caller'], { method, url, payload }: { method: string; url: string; payload: unknown }) {
  let text: string | undefined;
  try {
    text = payload === undefined ? undefined : JSON.stringify(payload);
  } catch {
    text = '{"circular":';
  }
  const answer = await apps.get(caller)!.inject({
    method: method as 'GET',
    url,
    ...(text === undefined ? {} : { payload: text, headers: { 'content-type': 'application/json' } }),
  });
  return { status: answer.statusCode, body: answer.body };
}

function expectDecent(answer: { status: number; body: string }): void {
  if (answer.status < 400) return;
  const { code } = JSON.parse(answer.body) as { code: string };
  expect(isErrorCode(code), answer.body).toBe(true);
  expect(code, answer.body).not.toBe('internal');
}

describe.each(['guest', 'user', 'host', 'operator'] as const)('the API, asked by a %s for what its own document describes, wrongly', (caller) => {
  it('answers with a code, and meets no defect', async () => {
    await fc.assert(
      fc.asyncProperty(request(), async (asked) => expectDecent(await send(caller, asked))),
      { numRuns: 400 },
    );
    expect(defects).toEqual([]);
  });
});

it('tells a guest nothing', async () => {
  await fc.assert(
    fc.asyncProperty(request(), async (asked) => {
      const { status, body } = await send('guest', asked);
      expect(status).toBeGreaterThanOrEqual(400);
      expect(body).not.toContain(secretVolume);
    }),
    { numRuns: 200 },
  );
});

describe('raw bytes on a socket', () => {
  const raw = (caller: string, bytes: Uint8Array): Promise<string> =>
    new Promise((resolve) => {
      const socket = connect(join(directory, caller));
      let text = '';
      socket.on('data', (chunk) => (text += chunk.toString('latin1')));
      socket.on('error', () => undefined);
      socket.on('close', () => resolve(text));
      socket.end(bytes);
    });

  const shapes = fc.oneof(
    fc.uint8Array({ maxLength: 2000 }),
    fc
      .uint8Array({ maxLength: 500 })
      .map((body) => Buffer.concat([Buffer.from('POST /v1/volumes HTTP/1.1\r\nhost: x\r\ncontent-length: 400\r\n\r\n'), body])),
    fc.string({ unit: 'binary' }).map((text) => Buffer.from(`GET /${text} HTTP/1.1\r\nhost: x\r\n\r\n`)),
    fc.constant(
      Buffer.from(
        'POST /v1/volumes HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\nGET /v1/volumes HTTP/1.1\r\n\r\n',
      ),
    ),
  );

  it('are answered without data or a defect, and the next caller is served', async () => {
    await fc.assert(
      fc.asyncProperty(shapes, async (bytes) => {
        expect(await raw('guest', bytes)).not.toContain(secretVolume);
      }),
      { numRuns: 150 },
    );
    expect(defects).toEqual([]);
    expect((await send('operator', { method: 'GET', url: '/v1/volumes', payload: undefined })).body).toContain(secretVolume);
  });
});
