import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { unprotected } from '../model/records.ts';
import type { Volume } from '../model/records.ts';
import { volumeKeys } from '../model/volume-keys.ts';
import { MasterKeys } from '../pki/master-key.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { keys } from './keys.ts';
import { fixedMasterKeys, TestNameServer } from './test-name-server.ts';
import type { MasterKeySource } from './volume-keys.ts';

let store: Store;
let server: TestNameServer;
let masterKeys: MasterKeySource;
let [h1, h2] = ['', ''];

const sizeBytes = 64 * 1024 ** 2;
const body = { description: '', driver: 'btrfs', sizeBytes, maximumSizeBytes: null, protection: unprotected };

beforeEach(async () => {
  const clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  masterKeys = fixedMasterKeys();
  server = await TestNameServer.start(store, clock, { masterKeys });
  [h1, h2] = [await server.addHost('h1'), await server.addHost('h2')];
  await server.as(null).putClass({ parameters: { class: 'sealed' }, body: { ...body, encryption: 'luks' } });
});
afterEach(() => store.close());

const parameters = { volume: 'data' };
const create = () => server.as(h1).createVolume({ body: { name: 'data', class: 'sealed', host: h1 } });
const release = (host = h1, epoch = 1) => server.as(host).releaseKeys({ parameters, body: { epoch } });
const storedKeys = async ({ id }: Volume) => {
  const entry = await store.get(keys.volumeKeys(id));
  return entry === undefined ? undefined : volumeKeys.parse(entry.value).keys;
};
const events = async () => (await server.as(null).listEvents({ query: { after: 0, limit: 100 } })).items;

describe('the key of an encrypted volume', () => {
  it('is made with it, is stored wrapped, and is in nothing that is watched or told', async () => {
    const volume = await create();
    expect(volume.encryption).toEqual({ engine: 'luks', key: 1, keyInUse: 1 });
    const { keys: released } = await release();
    expect(released).toEqual([{ number: 1, key: expect.stringMatching(/^[\w+/=]{16,}$/) as string }]);
    const { entries } = await store.list('');
    expect(JSON.stringify(entries)).not.toContain(released[0]!.key);
    expect((await store.list(keys.state)).entries.map(({ key }) => key)).not.toContain(keys.volumeKeys(volume.id));
  });

  it('is not made for a class without encryption, and stays whatever becomes of the class', async () => {
    const volume = await create();
    await server.as(null).putClass({ parameters: { class: 'sealed' }, body });
    const plain = await server.as(h1).createVolume({ body: { name: 'plain', class: 'sealed', host: h1 } });
    expect([plain.encryption, await storedKeys(plain)]).toEqual([null, undefined]);
    expect((await server.as(null).getVolume({ parameters })).encryption).toEqual(volume.encryption);
    await expect(server.as(h1).releaseKeys({ parameters: { volume: 'plain' }, body: { epoch: 1 } })).rejects.toMatchObject({ code: 'wrong-state' });
  });

  it.each([null, 1024 ** 2])('cannot be made for a volume of size %j', async (size) => {
    await server.as(null).putClass({ parameters: { class: 'sealed' }, body: { ...body, sizeBytes: size, encryption: 'luks' } });
    await expect(create()).rejects.toMatchObject({ code: 'invalid-option' });
  });

  it('is given to the holder at its epoch only, and every question is recorded', async () => {
    await create();
    await release();
    await expect(release(h2)).rejects.toMatchObject({ code: 'forbidden' });
    await expect(release(h1, 0)).rejects.toMatchObject({ code: 'stale-epoch' });
    const recorded = (await events()).filter(({ type }) => type.startsWith('volume.key-'));
    expect(recorded.map(({ type, actor }) => [type, actor])).toEqual([
      ['volume.key-released', 'h1'],
      ['volume.key-refused', 'h2'],
      ['volume.key-refused', 'h1'],
    ]);
  });

  it('goes with the volume from host to host, and from nobody to nobody in between', async () => {
    const snapshot = `snp_${'1'.repeat(24)}`;
    await create();
    const { key } = (await release()).keys[0]!;
    const { move } = await server.as(h2).claimVolume({ parameters });
    const moving = { parameters: { move: move!.id } };
    await server.as(h2).readyMove(moving);
    await release();
    await server.as(h1).releaseMove({ ...moving, body: { epoch: 1, snapshot } });
    await expect(release(h1)).rejects.toMatchObject({ code: 'forbidden' });
    await expect(release(h2)).rejects.toMatchObject({ code: 'forbidden' });
    await server.as(h2).commitMove({ ...moving, body: { copy: { kind: 'replica', snapshots: [snapshot] } } });
    expect((await release(h2, 2)).keys[0]!.key).toBe(key);
    await expect(release(h1, 2)).rejects.toMatchObject({ code: 'forbidden' });
  });

  it('is deleted in the same change that removes the volume, while its copies are still there', async () => {
    const volume = await create();
    await server.as(h1).reportCopy({ parameters, body: { copy: { kind: 'live', snapshots: [] }, seen: 0 } });
    const removing = server.as(null).removeVolume({ parameters });
    await expect.poll(async () => (await server.as(null).getVolume({ parameters })).placement.state).toBe('removing');
    const { revision } = await store.list('');
    await server.as(h1).confirmRemoval({ parameters });
    await removing;
    expect(await storedKeys(volume)).toBeUndefined();
    const record = await store.get(keys.volume(volume.id));
    expect(record).toMatchObject({ revision: revision + 1, value: { placement: { confirmed: true } } });
  });

  it('is deleted with a volume that nobody ever held', async () => {
    const volume = await server.as(null).createVolume({ body: { name: 'data', class: 'sealed' } });
    expect(await storedKeys(volume)).toHaveLength(1);
    await server.as(null).removeVolume({ parameters });
    expect(await storedKeys(volume)).toBeUndefined();
  });
});

describe('a new key', () => {
  it('stands before the older ones, is confirmed by the holder, and is not made twice before that', async () => {
    await create();
    const first = (await release()).keys[0]!;
    expect((await server.as(null).rekeyVolume({ parameters })).encryption).toMatchObject({ key: 2, keyInUse: 1 });
    expect((await server.as(null).rekeyVolume({ parameters })).encryption).toMatchObject({ key: 2, keyInUse: 1 });
    const released = (await release()).keys;
    expect([released.map(({ number }) => number), released[1]]).toEqual([[2, 1], first]);
    await expect(server.as(h2).confirmRekey({ parameters, body: { epoch: 1, number: 2 } })).rejects.toMatchObject({ code: 'stale-epoch' });
    await server.as(h1).confirmRekey({ parameters, body: { epoch: 1, number: 2 } });
    expect((await server.as(null).getVolume({ parameters })).encryption).toMatchObject({ key: 2, keyInUse: 2 });
    // A replica from before the change may be all that is left.
    expect((await release()).keys).toEqual(released);
  });
});

describe('a new master key', () => {
  it('wraps all keys anew and leaves them as they are', async () => {
    const volume = await create();
    await server.as(null).rekeyVolume({ parameters });
    const [before, { fingerprint }] = [await release(), await masterKeys.load()];
    const rotated = await server.as(null).rotateMasterKey({});
    expect([rotated.volumes, rotated.kept, rotated.master === fingerprint]).toEqual([1, false, false]);
    expect((await storedKeys(volume))?.map(({ master }) => master)).toEqual([rotated.master, rotated.master]);
    expect([(await masterKeys.load()).count, await release()]).toEqual([1, before]);
  });

  it('goes on where it was ended', async () => {
    const volume = await create();
    const before = await release();
    // As if it had ended after the new key was saved.
    const begun = (await masterKeys.load()).withNew();
    await masterKeys.save?.(begun);
    expect(await server.as(null).rotateMasterKey({})).toEqual({ master: begun.fingerprint, volumes: 1, kept: false });
    expect((await storedKeys(volume))?.[0]?.master).toBe(begun.fingerprint);
    expect(await release()).toEqual(before);
  });

  it('is left to whoever keeps it', async () => {
    const masters = MasterKeys.make().withNew();
    server.context.masterKeys = { load: async () => masters, save: null };
    expect(await server.as(null).rotateMasterKey({})).toEqual({ master: masters.fingerprint, volumes: 0, kept: true });
  });
});
