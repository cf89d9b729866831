import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { routes } from '../protocol/routes.ts';
import type { Routes, WatchMessage } from '../protocol/routes.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { hasRule } from './host-access.ts';
import { TestNameServer } from './test-name-server.ts';

const minute = 60_000;
let store: Store;
let server: TestNameServer;
/** Holds volume secret; has nothing. */
let [h1, h2]: [string, string] = ['', ''];
let client: AbortController;

beforeEach(async () => {
  const clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  server = await TestNameServer.start(store, clock);
  [h1, h2] = [await server.addHost('h1'), await server.addHost('h2')];
  client = new AbortController();
  await server.as(null).createProject({ body: { name: 'shop', requireGrants: true } });
  for (const name of ['web', 'other']) await server.as(null).createApplication({ body: { project: 'shop', name } });
  for (const name of ['secret', 'hidden']) await server.as(h1).createVolume({ body: { name, project: 'shop', host: h1 } });
  await server.as(h1).createVolume({ body: { name: 'open', host: h1 } });
});

afterEach(async () => {
  client.abort();
  await store.close();
});

const parameters = { volume: 'secret' };
const grant = (volume: string | null = 'secret', until?: string) =>
  server
    .as(null)
    .createGrant({ body: { application: 'shop/web', volume, mode: 'read-write', reason: 'r', ...(until === undefined ? {} : { until }) } });
const pass = (by: string | null = null) =>
  server.as(by).createPass({ parameters: { application: 'shop/web' }, body: { host: 'h2', uses: 'once', lifetimeMilliseconds: minute } });
const names = (items: readonly { name: string }[]): string[] => items.map(({ name }) => name).sort();
const volumesOf = async (host: string): Promise<string[]> => names((await server.as(host).listVolumes({})).items);

it('there is a rule for every route that a host may call, and for no other', () => {
  const all = Object.entries(routes) as [keyof Routes, { callers: readonly string[] }][];
  for (const [route, { callers }] of all) expect(hasRule(route), route).toBe(callers.includes('host'));
});

describe('a host with a stolen certificate', () => {
  it('lists nothing of what it has no part in', async () => {
    await grant();
    await server.as(null).createMove({ body: { volume: 'open', to: 'h2' } });
    const as = server.as(h2);
    expect(await volumesOf(h2)).toEqual(['open']);
    expect((await as.listMoves({})).items).toMatchObject([{ volumeName: 'open' }]);
    expect(names((await as.listProjects({})).items)).toEqual(['default']);
    expect((await as.listApplications({ query: {} })).items).toEqual([]);
    expect((await as.listGrants({ query: {} })).items).toEqual([]);
    const events = JSON.stringify(await as.listEvents({ query: { after: 0, limit: 1000 } }));
    expect(events).toContain('open');
    expect(events).not.toMatch(/secret|hidden|shop/);
  });

  it('is told of what it names as if it were not there, whatever it calls', async () => {
    const { move } = await server.as(null).createMove({ body: { volume: 'secret', to: h1 } });
    expect(move).toBeNull();
    const as = server.as(h2);
    const copy = { kind: 'replica' as const, snapshots: [] };
    const calls = [
      ...[as.getVolume, as.where, as.getVolumeStatus, as.previewFailover, as.removeVolume, as.claimVolume, as.confirmRemoval].map(
        (call) => (volume: string) => call({ parameters: { volume } }),
      ),
      (volume: string) => as.createReplicaTicket({ parameters: { volume } }),
      (volume: string) => as.reportCopy({ parameters: { volume }, body: { copy, seen: 0 } }),
      (volume: string) => as.updateVolume({ parameters: { volume }, body: { labels: {} } }),
      (volume: string) => as.releaseKeys({ parameters: { volume }, body: { epoch: 1 } }),
      (volume: string) => as.createMove({ body: { volume, to: 'h2' } }),
      (volume: string) => as.createVolume({ body: { name: 'new', from: { volume, snapshot: newIdentifier('snp') } } }),
      (volume: string) => as.listGrants({ query: { volume } }),
      ...[as.createSnapshot, as.revertVolume].map(
        (call) => (volume: string) => call({ parameters: { volume }, body: { snapshot: 'nightly' } as never }),
      ),
      (volume: string) => as.listSnapshots({ query: { volume } }),
      (volume: string) => as.deleteSnapshot({ parameters: { volume, snapshot: 'nightly' } }),
    ];
    for (const call of calls) {
      for (const volume of ['secret', 'absent'])
        await expect(call(volume)).rejects.toMatchObject({ code: 'not-found', message: `There is no "${volume}" that host "h2" is told of.` });
    }
    expect(await volumesOf(h2)).toEqual(['open']);
    for (const project of ['shop', 'absent']) await expect(as.getProject({ parameters: { project } })).rejects.toMatchObject({ code: 'not-found' });
  });

  it('learns that a name is taken by trying, and nothing more', async () => {
    await expect(server.as(h2).createVolume({ body: { name: 'secret', host: h2 } })).rejects.toMatchObject({ code: 'already-exists', details: {} });
  });

  it('learns nothing by passes that it makes for itself, but of the application that it named', async () => {
    await grant();
    await pass(h2);
    expect(await volumesOf(h2)).toEqual(['open']);
    expect(names((await server.as(h2).listApplications({ query: {} })).items)).toEqual(['web']);
    expect((await server.as(h2).listGrants({ query: {} })).items).toEqual([]);
  });

  it('learns of other hosts only while it may have to do with them', async () => {
    expect(names((await server.as(h2).listHosts({})).items)).toEqual(['h1', 'h2']);
    await server.as(null).updateProject({ parameters: { project: 'default' }, body: { requireGrants: true } });
    expect(names((await server.as(h2).listHosts({})).items)).toEqual(['h2']);
    await expect(server.as(h2).getHost({ parameters: { host: 'h1' } })).rejects.toMatchObject({ code: 'not-found' });
    await server.as(null).createMove({ body: { volume: 'secret', to: 'h2' } });
    expect(names((await server.as(h2).listHosts({})).items)).toEqual(['h1', 'h2']);
  });
});

it('a host is told of what an operator lets come to it: by a pass and a grant, or a move', async () => {
  await pass();
  expect(await volumesOf(h2), 'without a grant').toEqual(['open']);
  const { id } = await grant();
  expect(await volumesOf(h2)).toEqual(['open', 'secret']);
  expect((await server.as(h2).listGrants({ query: {} })).items).toMatchObject([{ id }]);
  await server.clock.advance(minute);
  expect(await volumesOf(h2), 'once the pass has run out').toEqual(['open']);
  expect(names((await server.as(h2).listApplications({ query: {} })).items), 'it may still have its containers').toEqual(['web']);
  const { move } = await server.as(null).createMove({ body: { volume: 'hidden', to: 'h2' } });
  expect(await volumesOf(h2)).toEqual(['hidden', 'open']);
  await server.as(null).cancelMove({ parameters: { move: move!.id } });
  expect(await volumesOf(h2), 'it may have received something').toEqual(['hidden', 'open']);
});

describe('the stream of a host', () => {
  let stream: AsyncIterator<WatchMessage>;
  const next = async (): Promise<WatchMessage> => {
    const { value } = (await stream.next()) as { value: WatchMessage };
    return value;
  };
  /** All up to and with the first for which it holds. */
  const until = async (isLast: (message: WatchMessage) => boolean): Promise<WatchMessage[]> => {
    const messages = [await next()];
    while (!isLast(messages.at(-1)!)) messages.push(await next());
    return messages;
  };
  const open = (host: string): void => {
    stream = server.as(host, { signal: client.signal }).watch({})[Symbol.asyncIterator]();
  };

  it('begins with what concerns the host, and says that there are projects which require grants', async () => {
    await grant();
    open(h2);
    const reset = await next();
    expect(reset).toMatchObject({ volumes: [{ name: 'open' }], applications: [], grants: [] });
    expect(reset).toMatchObject({ projects: [{ name: 'default' }, { name: 'other projects', requireGrants: true }] });
    expect(JSON.stringify(reset)).not.toMatch(/secret|hidden|shop/);
    open(h1);
    expect(await next()).toMatchObject({ volumes: [{}, {}, {}], projects: [{}, { name: 'shop' }], applications: [{ name: 'web' }], grants: [{}] });
  });

  it('tells of a volume that comes within reach with all that goes with it, the application last, and then that it is out of reach again', async () => {
    open(h2);
    await next();
    await pass();
    expect((await until(({ type }) => type === 'application')).map(({ type }) => type)).toEqual(['project', 'project', 'application']);
    const { id, revision } = { ...(await grant()), revision: 0 };
    const told = await until(({ type }) => type === 'grant');
    expect(told).toMatchObject([
      { type: 'volume', volume: { name: 'secret', copies: [] } },
      { type: 'grant', id },
    ]);
    expect(told[0]!.revision).toBeGreaterThan(revision);
    const last = until(({ type }) => type === 'volume');
    await server.clock.advance(minute);
    await server.clock.advance(3100);
    expect((await last).at(-1)).toMatchObject({ type: 'volume', volume: null });
  });

  it('ends the reach of a revoked application, which is told of', async () => {
    await Promise.all([pass(), grant()]);
    open(h2);
    expect(names(((await next()) as { volumes: { name: string }[] }).volumes)).toEqual(['open', 'secret']);
    await server.as(null).revokeApplication({ parameters: { application: 'shop/web' }, body: { policy: 'now', reason: 'r' } });
    const told = await until(({ type }) => type === 'application');
    expect(told).toContainEqual(expect.objectContaining({ type: 'volume', volume: null }));
    expect(told.at(-1)).toMatchObject({ application: { name: 'web', revocation: { policy: 'now' } } });
  });

  it('says that access has changed where nothing of it may be told: the name server waits for an answer of every host', async () => {
    open(h2);
    await next();
    await grant();
    const { revision } = await server.as(null).revokeApplication({ parameters: { application: 'shop/web' }, body: { policy: 'now', reason: 'r' } });
    const told = await until((message) => message.revision === revision);
    expect(JSON.stringify(told)).not.toMatch(/secret|hidden|shop|web/);
    expect(told.at(-1)).toMatchObject({ type: 'project', project: { name: 'other projects' } });
  });

  it('goes on telling a host that has a copy, whatever right is taken away and wherever the volume goes', async () => {
    await grant();
    open(h1);
    await next();
    await server.as(h1).reportCopy({ parameters, body: { copy: { kind: 'live', snapshots: [] }, seen: 0 } });
    const { move } = await server.as(null).createMove({ body: { volume: 'secret', to: 'h2' } });
    const snapshot = newIdentifier('snp');
    await server.as(h1).releaseMove({ parameters: { move: move!.id }, body: { epoch: 1, snapshot } });
    await server.as(h2).commitMove({ parameters: { move: move!.id }, body: { copy: { kind: 'replica', snapshots: [snapshot] } } });
    await server.as(null).revokeApplication({ parameters: { application: 'shop/web' }, body: { policy: 'now', reason: 'r' } });
    const told = await until(({ type }) => type === 'application');
    const volumes = told.filter((message) => message.type === 'volume');
    expect(volumes.at(-1)).toMatchObject({ volume: { placement: { state: 'held', host: h2 } } });
    expect(volumes.filter(({ volume }) => volume === null)).toEqual([]);
    expect(await volumesOf(h1)).toContain('secret');
  });

  it('tells nothing of what happens to other volumes', async () => {
    open(h2);
    await next();
    await server.as(null).updateVolume({ parameters, body: { labels: { a: 'b' } } });
    await server.as(null).createMove({ body: { volume: 'open', to: 'h2' } });
    expect(await next()).toMatchObject({ type: 'volume', volume: { name: 'open' } });
  });
});
