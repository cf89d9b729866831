import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import { createAuthority } from '../pki/authority.ts';
import { AuthorityKeeper } from '../pki/authority-keeper.ts';
import { fingerprintOf } from '../pki/verification.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { takeSteps } from './authority.ts';
import { TestNameServer } from './test-name-server.ts';

let store: Store;
let server: TestNameServer;
let keeper: AuthorityKeeper;
let ids: Record<'h1' | 'h2', string>;

beforeEach(async () => {
  const clock = new ManualClock();
  const options = { clusterId: newIdentifier('clu'), clusterName: 'test', clock };
  const state = { ...(await createAuthority(options)), rotation: null };
  const nothing = async (): Promise<void> => undefined;
  keeper = new AuthorityKeeper({ ...options, state, save: nothing, onChange: nothing });
  store = openSqliteStore({ path: ':memory:', clock });
  server = await TestNameServer.start(store, clock, { rotation: keeper });
  ids = { h1: await server.addHost('h1'), h2: await server.addHost('h2') };
});

afterEach(() => store.close());

/** A heartbeat of a host that trusts these and has a certificate of the one. @returns what it is told to trust */
async function beat(name: 'h1' | 'h2', authorities: readonly string[], issuer: string | undefined): Promise<string[]> {
  const trust = { authorities: authorities.map(fingerprintOf), issuer: issuer === undefined ? null : fingerprintOf(issuer) };
  const body = { session: newIdentifier('ses'), address: `${name}:7472`, version: '1', pool: null, leases: [], trust };
  return (await server.as(ids[name]).heartbeat({ body })).authorities;
}

const rotate = (cut?: string[]) => server.as(null).rotateAuthority({ body: { cut } });
const events = async () => (await server.as(null).listEvents({ query: { after: 0, limit: 1000 } })).items.map(({ type }) => type);
const unready = async () => (await server.as(null).getAuthority({})).hosts.filter(({ isReady }) => !isReady).map(({ host }) => host);

/** Both hosts have heard of the authorities as they are now, and have a certificate of the one that signs. */
async function follow(): Promise<void> {
  for (const name of ['h1', 'h2'] as const) await beat(name, keeper.certificates, keeper.certificates[0]);
}

describe('a rotation', () => {
  it('waits in each phase until every host is ready for the next, and then goes on by itself', async () => {
    const [old = ''] = keeper.certificates;
    await follow();
    expect((await rotate()).phase).toBe('introducing');
    const both = keeper.certificates;
    expect(await unready()).toEqual(['h1', 'h2']);
    expect(await beat('h1', [old], old)).toEqual(both);
    expect(await beat('h1', both, old)).toEqual([]);
    await takeSteps(server.context);
    expect([keeper.phase, await unready()]).toEqual(['introducing', ['h2']]);
    await beat('h2', both, old);
    await takeSteps(server.context);
    expect(keeper.phase).toBe('retiring');
    const [next = ''] = keeper.certificates;
    expect(keeper.certificates).toEqual(both.toReversed());
    expect(await beat('h1', both, old)).toEqual(both.toReversed());
    await beat('h1', keeper.certificates, next);
    await beat('h2', keeper.certificates, old);
    await takeSteps(server.context);
    expect([keeper.phase, await unready()]).toEqual(['retiring', ['h2']]);
    await beat('h2', keeper.certificates, next);
    await takeSteps(server.context);
    expect([keeper.phase, keeper.certificates]).toEqual(['none', [next]]);
    expect((await events()).filter((type) => type === 'authority.rotated')).toHaveLength(3);
  });

  it('goes on past hosts that are not ready only if the operator names them all', async () => {
    await follow();
    await rotate();
    await beat('h1', keeper.certificates, keeper.certificates[0]);
    for (const cut of [[], ['h1'], ['h1', 'h2']]) await expect(rotate(cut)).rejects.toMatchObject({ code: 'precondition-failed' });
    expect(keeper.phase).toBe('introducing');
    expect((await rotate(['h2'])).phase).toBe('retiring');
  });

  it('that goes on is not begun again', async () => {
    await rotate();
    const before = keeper.certificates;
    expect((await rotate()).phase).toBe('introducing');
    expect(keeper.certificates).toEqual(before);
  });

  it('does not wait for a host that is denied, which needs new keys anyway', async () => {
    await rotate();
    await beat('h1', keeper.certificates, keeper.certificates[0]);
    await server.as(null).denyHost({ parameters: { host: 'h2' }, body: { reason: 'r' } });
    await takeSteps(server.context);
    expect(keeper.phase).toBe('retiring');
  });
});
