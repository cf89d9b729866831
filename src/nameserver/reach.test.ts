import { afterEach, beforeEach, expect, it } from 'vitest';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { TestNameServer } from './test-name-server.ts';

const minute = 60_000;
let store: Store;
let server: TestNameServer;
let holder: string;
let stranger: string;

beforeEach(async () => {
  const clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  server = await TestNameServer.start(store, clock);
  [holder, stranger] = [await server.addHost('h1'), await server.addHost('h2')];
  await server.as(null).createProject({ body: { name: 'shop', requireGrants: true } });
  await server.as(null).createApplication({ body: { project: 'shop', name: 'web' } });
  await server.as(holder).createVolume({ body: { name: 'secret', project: 'shop' } });
  await server.as(holder).createVolume({ body: { name: 'open' } });
  for (const volume of ['secret', 'open']) await claim(holder, volume);
});

afterEach(() => store.close());

const claim = (host: string, volume = 'secret') => server.as(host).claimVolume({ parameters: { volume } });
const pass = (by: string | null) =>
  server.as(by).createPass({ parameters: { application: 'shop/web' }, body: { host: 'h2', uses: 'once', lifetimeMilliseconds: minute } });
const grant = () => server.as(null).createGrant({ body: { application: 'shop/web', volume: null, mode: 'read-write', reason: 'r' } });
const refused = { code: 'not-found', message: 'There is no "secret" that host "h2" is told of.' };

it('a host that has nothing of a volume gets neither it, nor a move to itself, nor a ticket', async () => {
  await expect(claim(stranger)).rejects.toMatchObject(refused);
  await expect(server.as(stranger).createMove({ body: { volume: 'secret', to: 'h2' } })).rejects.toMatchObject(refused);
  await expect(server.as(stranger).createReplicaTicket({ parameters: { volume: 'secret' } })).rejects.toMatchObject(refused);
  const { move } = await server.as(null).createMove({ body: { volume: 'secret', to: 'h2' } });
  const other = await server.addHost('h3');
  await expect(server.as(other).createTicket({ parameters: { move: move?.id ?? '' } })).rejects.toMatchObject({ code: 'not-found' });
});

it('of an open project, any host gets it', async () => {
  expect((await claim(stranger, 'open')).move).not.toBeNull();
});

it('gets it once an operator has admitted an application there that may use it, for as long as the pass lives', async () => {
  await pass(null);
  await expect(claim(stranger), 'without a grant').rejects.toMatchObject(refused);
  await grant();
  expect((await claim(stranger)).move).not.toBeNull();
});

it('does not get it by a pass that has run out, or that it made for itself', async () => {
  await grant();
  await pass(stranger);
  await expect(claim(stranger)).rejects.toMatchObject(refused);
  await pass(null);
  await server.clock.advance(minute);
  await expect(claim(stranger)).rejects.toMatchObject(refused);
});
