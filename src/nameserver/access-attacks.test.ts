import http from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import { unprotected } from '../model/records.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { accessRoutes } from '../protocol/access-routes.ts';
import type { CallerIdentity } from '../protocol/server.ts';
import { createServer } from '../protocol/server.ts';
import { routes } from '../protocol/routes.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { TestNameServer, fixedMasterKeys } from './test-name-server.ts';

let store: Store;
let server: TestNameServer;
let app: Awaited<ReturnType<typeof createServer>>;
let caller: CallerIdentity;
const defects: unknown[] = [];

beforeEach(async () => {
  const clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  server = await TestNameServer.start(store, clock, { masterKeys: fixedMasterKeys() });
  await server.as(null).createApplication({ body: { project: 'default', name: 'web' } });
  caller = { caller: 'operator', host: null, certificate: null };
  app = await createServer({
    routes,
    handlers: server.handlers,
    identify: () => caller,
    serverFactory: (handler) => http.createServer(handler),
    onDefect: (error) => defects.push(error),
    version: 'test',
  });
});

afterEach(async () => {
  await app.close();
  await store.close();
  if (defects.length > 0) throw new AggregateError(defects.splice(0), 'the name server met defects');
});

async function ask(method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', url: string, body?: unknown): Promise<{ status: number; code: unknown }> {
  const answer = await app.inject({ method, url, ...(body === undefined ? {} : { payload: body as object }) });
  return { status: answer.statusCode, code: answer.json<{ code?: unknown }>().code };
}

describe('a host', () => {
  const isChange = ([name, { method }]: [string, { method: string }]): boolean =>
    method !== 'GET' && name !== 'createPass' && name !== 'acknowledgeAccess';

  it.each(Object.entries(accessRoutes).filter(isChange))('may not call %s', async (_, { method, path }) => {
    caller = { caller: 'host', host: await server.addHost('h1'), certificate: null };
    const url = path.replaceAll(/:\w+/g, 'default');
    expect(await ask(method, url, method === 'DELETE' ? undefined : {})).toEqual({ status: 403, code: 'forbidden' });
  });

  it('acknowledges for itself only, and nobody does who is none', async () => {
    expect(await ask('PUT', '/v1/access/acknowledgement', { revision: 0 })).toEqual({ status: 403, code: 'forbidden' });
    caller = { caller: 'host', host: await server.addHost('h1'), certificate: null };
    expect(await ask('PUT', '/v1/access/acknowledgement', { revision: 0, host: newIdentifier('hst') })).toMatchObject({ status: 400 });
    expect(await ask('PUT', '/v1/access/acknowledgement', { revision: 0 })).toMatchObject({ status: 200 });
  });
});

const sealed = {
  description: '',
  driver: 'btrfs',
  sizeBytes: 2 ** 30,
  maximumSizeBytes: null,
  encryption: 'luks' as const,
  protection: unprotected,
};

/** A host whose certificate is good, and which has nothing to do with the volume or its move: whatever it says of them, from whatever address. */
it.each([
  ['POST', '/v1/volumes/orders/key', { epoch: 1 }],
  ['POST', '/v1/volumes/orders/rekey/confirm', { epoch: 1, number: 2 }],
  ['POST', '/v1/volumes/orders/lineage', { epoch: 1, snapshot: newIdentifier('snp'), bytes: 1, takenAt: '2026-01-01T00:00:00Z' }],
  ['POST', '/v1/volumes/orders/replica-ticket', undefined],
  ['POST', '/v1/volumes/orders/diverged', { epoch: 1, snapshot: newIdentifier('snp') }],
  ['POST', '/v1/volumes/orders/reclaim', { epoch: 1 }],
  ['POST', '/v1/volumes/orders/removal/confirm', undefined],
  ['POST', '/v1/volumes/orders/removal/refuse', { uses: [] }],
  ['POST', '/v1/moves/MOVE/ready', undefined],
  ['POST', '/v1/moves/MOVE/blocked', { uses: [] }],
  ['POST', '/v1/moves/MOVE/release', { epoch: 1, snapshot: newIdentifier('snp') }],
  ['POST', '/v1/moves/MOVE/commit', { copy: { kind: 'live', snapshots: [] } }],
  ['POST', '/v1/moves/MOVE/abort', { code: 'forbidden', message: 'm', hint: null }],
  ['PUT', '/v1/moves/MOVE/progress', { round: 1, transferredBytes: 1, totalBytes: 1, bytesPerSecond: 1, totalTransferredBytes: 1 }],
  ['POST', '/v1/moves/MOVE/ticket', undefined],
] as const)('%s %s by a host that is neither holder nor destination is refused', async (method, path, body) => {
  for (const name of ['h1', 'h2']) await server.addHost(name);
  const operator = server.as(null);
  await operator.putClass({ parameters: { class: 'sealed' }, body: sealed });
  await operator.createVolume({ body: { name: 'orders', host: 'h1', class: 'sealed' } });
  const { move } = await operator.createMove({ body: { volume: 'orders', to: 'h2' } });
  caller = { caller: 'host', host: await server.addHost('h3'), certificate: null };
  const before = await store.list('state/');
  const { status } = await ask(method, path.replace('MOVE', move?.id ?? ''), body);
  expect([403, 409]).toContain(status);
  expect((await store.list('state/')).entries).toEqual(before.entries);
});

const grant = { application: 'default/web', volume: null, reason: 'r' };
const deep = `${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`;

it.each([
  ['POST', '/v1/projects', {}],
  ['POST', '/v1/projects', { name: 7 }],
  ['POST', '/v1/projects', { name: 'a', id: newIdentifier('prj') }],
  ['POST', '/v1/projects', { name: 'a', requireGrants: 'no' }],
  ['POST', '/v1/projects', { name: 'a', quota: { volumes: -1 } }],
  ['POST', '/v1/projects', { name: 'a', quota: { volumes: 1.5 } }],
  ['POST', '/v1/projects', { name: 'a', quota: { bytes: 2 ** 60 } }],
  ['POST', '/v1/projects', { name: 'a', quota: { snapshots: 1 } }],
  ['POST', '/v1/projects', { name: '\u0000' }],
  ['POST', '/v1/projects', [1, 2]],
  ['POST', '/v1/projects', deep],
  ['PATCH', '/v1/projects/default', { name: 'other' }],
  ['PATCH', '/v1/projects/default', { reason: '  ' }],
  ['PATCH', '/v1/projects/default', { requireGrants: null }],
  ['POST', '/v1/applications', { project: 'default' }],
  ['POST', '/v1/applications', { project: '', name: 'a' }],
  ['POST', '/v1/applications', { project: 'default', name: { toString: 1 } }],
  ['POST', '/v1/applications', { project: 'default', name: 'a', revocation: null }],
  ['POST', '/v1/applications', { project: 'x'.repeat(301), name: 'a' }],
  ['POST', '/v1/grants', { ...grant, volume: undefined }],
  ['POST', '/v1/grants', { ...grant, reason: '' }],
  ['POST', '/v1/grants', { ...grant, reason: '\t ' }],
  ['POST', '/v1/grants', { ...grant, reason: 'x'.repeat(1025) }],
  ['POST', '/v1/grants', { ...grant, mode: 'read' }],
  ['POST', '/v1/grants', { ...grant, from: 'tomorrow' }],
  ['POST', '/v1/grants', { ...grant, until: '2026-13-40T00:00:00Z' }],
  ['POST', '/v1/grants', { ...grant, until: 1e15 }],
  ['POST', '/v1/grants', { ...grant, actor: 'somebody else' }],
  ['POST', '/v1/grants', { ...grant, createdAt: '2020-01-01T00:00:00Z' }],
  ['POST', '/v1/grants/..%2Fx/revoke', { policy: 'now', reason: 'r' }],
  ['POST', `/v1/grants/${newIdentifier('grt')}/revoke`, { policy: 'later', reason: 'r' }],
  ['POST', `/v1/grants/${newIdentifier('grt')}/revoke`, { policy: 'now' }],
  ['POST', '/v1/applications/default%2Fweb/revoke', { policy: 'now', reason: '' }],
  ['POST', '/v1/applications/default%2Fweb/reinstate', {}],
  ['POST', '/v1/applications/default%2Fweb/passes', { host: 'h1', lifetimeMilliseconds: 43_200_001 }],
  ['POST', '/v1/applications/default%2Fweb/passes', { host: 'h1', lifetimeMilliseconds: 0 }],
  ['POST', '/v1/applications/default%2Fweb/passes', { host: 'h1', uses: 'always' }],
  ['POST', '/v1/applications/default%2Fweb/passes', { host: 'h1', pass: newIdentifier('pas') }],
  ['GET', '/v1/access/acknowledgements', undefined],
  ['GET', '/v1/access/acknowledgements?revision=-1', undefined],
  ['GET', '/v1/access/acknowledgements?revision=x', undefined],
  ['GET', '/v1/grants?application=..%2F..%2Fx%2Fy', undefined],
  ['GET', '/v1/applications?project=', undefined],
] as const)('%s %s with %j is refused', async (method, url, body) => {
  const before = await store.list('');
  const answer = await ask(method, url, body);
  expect(answer).toMatchObject({ status: 400, code: expect.stringMatching(/^invalid-/) });
  expect((await store.list('')).entries).toEqual(before.entries);
});

it.each(['..%2f..%2fstate', '%00', 'a%2Fb%2Fc', '%F0%9F%92%A9', '__proto__', 'state%2Fprojects%2F'])('nothing is found as %s', async (word) => {
  for (const url of [`/v1/projects/${word}`, `/v1/applications/${word}`]) {
    const { status } = await ask('DELETE', url);
    expect([400, 404]).toContain(status);
  }
});
