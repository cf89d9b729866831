import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { UserRole } from '../model/access.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { TestNameServer } from './test-name-server.ts';
import type { Calls } from './test-name-server.ts';

let store: Store;
let server: TestNameServer;
let operator: Calls;
let h1: string;
let h2: string;
let grant: string;

beforeEach(async () => {
  const clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  server = await TestNameServer.start(store, clock);
  operator = server.as(null);
  [h1, h2] = [await server.addHost('h1'), await server.addHost('h2')];
  await operator.createApplication({ body: { project: 'default', name: 'web' } });
  grant = (await operator.createGrant({ body: { application: 'default/web', volume: null, mode: 'read-write', reason: 'r' } })).id;
});

afterEach(() => store.close());

const web = { parameters: { application: 'default/web' } };
const revoke = (policy: 'now' | 'graceful', reason = 'Broken into.') => operator.revokeGrant({ parameters: { grant }, body: { policy, reason } });
const revokeApplication = (policy: 'now' | 'graceful', reason = 'Broken into.') => operator.revokeApplication({ ...web, body: { policy, reason } });
const acknowledge = (host: string, revision: number) => server.as(host).acknowledgeAccess({ body: { revision } });
const acknowledged = async (revision: number) =>
  (await operator.listAcknowledgements({ query: { revision } })).items.filter((each) => each.acknowledged).map(({ name }) => name);

async function eventsOf(type: string): Promise<unknown[]> {
  const { items } = await operator.listEvents({ query: { after: 0, limit: 100 } });
  return items.filter((event) => event.type === type).map(({ subject, actor, message }) => ({ subject, actor, message }));
}

describe('a revocation', () => {
  it('of a grant says when, by whom, why and how, once', async () => {
    const first = await revoke('now');
    expect(first.grant.revocation).toEqual({
      at: server.context.repository.now(),
      actor: 'operator',
      reason: 'Broken into.',
      policy: 'now',
      role: 'admin',
    });
    await server.clock.advance(1000);
    expect(await revoke('now', 'Again.')).toEqual(first);
    expect(await revoke('graceful')).toEqual(first);
    expect(await eventsOf('grant.revoked')).toEqual([
      {
        subject: 'default/web',
        actor: 'operator',
        message: `Grant ${grant} of "default/web" was taken back; what rests on it is ended at once. Broken into.`,
      },
    ]);
  });

  it('that was gentle can be made sharp', async () => {
    const first = await revoke('graceful');
    const second = await revoke('now', 'It does not stop.');
    expect(second.grant.revocation).toMatchObject({ policy: 'now', reason: 'It does not stop.' });
    expect(second.revision).toBeGreaterThan(first.revision);
    expect(await eventsOf('grant.revoked')).toHaveLength(2);
  });

  it('of an application lasts until it is reinstated', async () => {
    const { application } = await revokeApplication('now');
    expect(application.revocation).toMatchObject({ policy: 'now', reason: 'Broken into.' });
    expect(await revokeApplication('graceful', 'Again.')).toMatchObject({ application });
    expect(await operator.reinstateApplication({ ...web, body: { reason: 'Mended.' } })).toMatchObject({ revocation: null });
    expect(await operator.reinstateApplication({ ...web, body: { reason: 'Mended.' } })).toMatchObject({ revocation: null });
    expect(await eventsOf('application.reinstated')).toEqual([
      { subject: 'default/web', actor: 'operator', message: 'Application "default/web" counts again. Mended.' },
    ]);
    expect(await eventsOf('application.revoked')).toHaveLength(1);
  });

  it('is taken back by whoever may do as much as who revoked, and by nobody who may do less', async () => {
    const user = async (name: string, role: UserRole): Promise<Calls> =>
      server.as({ user: (await operator.createUser({ body: { name, role, project: null } })).id });
    const [anna, ben] = [await user('anna', 'admin'), await user('ben', 'operator')];
    const body = (policy: 'now' | 'graceful') => ({ body: { policy, reason: 'r' } });
    const reinstate = (who: Calls) => who.reinstateApplication({ ...web, body: { reason: 'Mended.' } });
    const refused = { code: 'forbidden', hint: expect.stringContaining('Ask an administrator') };

    await ben.revokeApplication({ ...web, ...body('graceful') });
    await reinstate(ben);
    for (const who of [anna, operator]) {
      // Whoever may do less can make it sharper, and it is no more his to take back.
      await who.revokeApplication({ ...web, ...body('graceful') });
      await ben.revokeApplication({ ...web, ...body('now') });
      await expect(reinstate(ben)).rejects.toMatchObject(refused);
      await reinstate(anna);
      // Whoever may do more takes over what somebody revoked before, as sharp as it was.
      await ben.revokeApplication({ ...web, ...body('now') });
      expect((await who.revokeApplication({ ...web, ...body('graceful') })).application.revocation).toMatchObject({ policy: 'now', role: 'admin' });
      await expect(reinstate(ben)).rejects.toMatchObject(refused);
      await reinstate(who);
    }
  });

  it('is of what there is', async () => {
    const body = { policy: 'now' as const, reason: 'r' };
    await expect(operator.revokeGrant({ parameters: { grant: newIdentifier('grt') }, body })).rejects.toMatchObject({ code: 'not-found' });
    await expect(operator.revokeApplication({ parameters: { application: 'default/none' }, body })).rejects.toMatchObject({ code: 'not-found' });
  });

  it('names the revision under which the agents hear of it', async () => {
    const client = new AbortController();
    const stream = server.as(h1, { signal: client.signal }).watch({})[Symbol.asyncIterator]();
    await stream.next();
    const first = await revoke('now');
    expect((await stream.next()).value).toMatchObject({ type: 'grant', id: grant, revision: first.revision, grant: first.grant });
    await operator.createProject({ body: { name: 'later' } });
    expect((await stream.next()).value).toMatchObject({ type: 'project' });
    expect((await revoke('now')).revision).toBe(first.revision);
    const second = await revokeApplication('graceful');
    expect((await stream.next()).value).toMatchObject({ type: 'application', revision: second.revision });
    client.abort();
  });
});

describe('an acknowledgement', () => {
  it('is of a revision and all before it, host by host', async () => {
    const expiry = new Date(server.clock.wallMilliseconds() + server.context.issuer.lifetimeMilliseconds).toISOString();
    const { revision } = await revoke('now');
    expect(await acknowledged(revision)).toEqual([]);
    await acknowledge(h1, revision);
    await acknowledge(h2, revision - 1);
    expect(await acknowledged(revision)).toEqual(['h1']);
    expect(await acknowledged(revision - 1)).toEqual(['h1', 'h2']);
    expect((await operator.listAcknowledgements({ query: { revision } })).items).toMatchObject([
      { host: h1, name: 'h1', status: 'down', revision, acknowledged: true, certificateEndsAt: expiry },
      { host: h2, name: 'h2', status: 'down', revision: revision - 1, acknowledged: false },
    ]);
  });

  it('that comes late, or twice, takes nothing back', async () => {
    const { revision } = await revoke('now');
    await acknowledge(h1, revision);
    await acknowledge(h1, revision);
    await acknowledge(h1, revision - 2);
    expect(await acknowledged(revision)).toEqual(['h1']);
  });

  it('is of nothing that is still to come', async () => {
    const { revision } = await revoke('now');
    await expect(acknowledge(h1, revision + 100)).rejects.toMatchObject({ code: 'invalid-request' });
    expect(await acknowledged(0)).toEqual([]);
  });

  it('shows whether a host is up, and goes with it', async () => {
    const { revision } = await revoke('now');
    await acknowledge(h1, revision);
    await server.as(h1).heartbeat({ body: { session: newIdentifier('ses'), address: 'h1:7472', version: '', pool: null, leases: [], held: [] } });
    expect((await operator.listAcknowledgements({ query: { revision } })).items).toMatchObject([{ status: 'up' }, { status: 'down' }]);
    await operator.removeHost({ parameters: { host: 'h2' }, body: { lost: false, abandonVolumes: false } });
    await expect(acknowledge(h2, revision)).rejects.toMatchObject({ code: 'forbidden' });
    await acknowledge(h1, revision);
    expect((await operator.listAcknowledgements({ query: { revision } })).items).toHaveLength(1);
  });

  it('of a host that was removed is not kept', async () => {
    await acknowledge(h2, 1);
    expect((await store.list('acknowledgements/')).entries).toHaveLength(1);
    await operator.removeHost({ parameters: { host: 'h2' }, body: { lost: false, abandonVolumes: false } });
    expect((await store.list('acknowledgements/')).entries).toEqual([]);
  });
});
