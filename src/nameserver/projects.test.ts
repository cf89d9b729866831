import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import { defaultProject } from '../model/records.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { TestNameServer } from './test-name-server.ts';
import type { Calls } from './test-name-server.ts';

let store: Store;
let server: TestNameServer;
let operator: Calls;

beforeEach(async () => {
  const clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  server = await TestNameServer.start(store, clock);
  operator = server.as(null);
});

afterEach(() => store.close());

const mebibyte = 1024 ** 2;
const shop = { parameters: { project: 'shop' } };
const createShop = (settings: object = {}) => operator.createProject({ body: { name: 'shop', ...settings } });
const createVolume = (name: string, more: object = { project: 'shop' }) => operator.createVolume({ body: { name, ...more } });

async function events(type: string): Promise<string[]> {
  const { items } = await operator.listEvents({ query: { after: 0, limit: 1000 } });
  return items.filter((event) => event.type === type).map(({ message }) => message);
}

describe('projects', () => {
  it('begin with the default one, in which everything is allowed, once and for all', async () => {
    await TestNameServer.start(store, server.clock);
    const { items } = await operator.listProjects({});
    expect(items).toMatchObject([{ ...defaultProject, requireGrants: false, quota: { bytes: null, volumes: null } }]);
    await operator.updateProject({ parameters: { project: 'default' }, body: { requireGrants: true } });
    await TestNameServer.start(store, server.clock);
    expect(await operator.getProject({ parameters: { project: 'default' } })).toMatchObject({ requireGrants: true });
  });

  it('are made once, whoever asks again and however many at once', async () => {
    const made = await Promise.all(Array.from({ length: 20 }, () => createShop()));
    expect(new Set(made.map(({ id }) => id)).size).toBe(1);
    expect(await events('project.created')).toHaveLength(1);
    expect(await createShop({ requireGrants: false })).toEqual(made[0]);
    await expect(createShop({ requireGrants: true })).rejects.toMatchObject({ code: 'already-exists', hint: expect.stringContaining('project set') });
    await expect(createShop({ quota: { volumes: 3 } })).rejects.toMatchObject({ code: 'already-exists' });
  });

  it.each(['../x', 'a/b', '', 'x'.repeat(300), 'ü', newIdentifier('prj'), '.', '__proto__'])('refuse the name %j', async (name) => {
    await expect(operator.createProject({ body: { name } })).rejects.toMatchObject({ code: 'invalid-name' });
  });

  it('keep what is not given, and tell of a change once', async () => {
    await createShop({ quota: { bytes: 1024, volumes: 5 } });
    expect(await operator.updateProject({ ...shop, body: { requireGrants: true, reason: 'Audit 7.' } })).toMatchObject({
      requireGrants: true,
      quota: { bytes: 1024, volumes: 5, snapshots: null },
    });
    await operator.updateProject({ ...shop, body: { requireGrants: true } });
    expect(await events('project.changed')).toEqual(['Project "shop" was set: grants are required, at most 1.0 KiB and 5 volumes. Audit 7.']);
    expect(await operator.updateProject({ ...shop, body: { quota: { bytes: null } } })).toMatchObject({ quota: { bytes: null, volumes: 5 } });
  });

  it('are found by name or identifier', async () => {
    const { id } = await createShop();
    expect(await operator.getProject({ parameters: { project: id } })).toMatchObject({ name: 'shop' });
    await expect(operator.getProject({ parameters: { project: 'none' } })).rejects.toMatchObject({ code: 'not-found' });
  });
});

describe('removing a project', () => {
  it('is refused while it has volumes or applications, which are named', async () => {
    await createShop();
    await createVolume('orders');
    await operator.createApplication({ body: { project: 'shop', name: 'web' } });
    await expect(operator.deleteProject(shop)).rejects.toMatchObject({
      code: 'wrong-state',
      message: 'Project "shop" still has the volumes "orders", and the applications "web".',
    });
    await operator.removeVolume({ parameters: { volume: 'orders' } });
    await operator.deleteApplication({ parameters: { application: 'shop/web' } });
    await operator.deleteProject(shop);
    await expect(operator.getProject(shop)).rejects.toMatchObject({ code: 'not-found' });
    expect(await events('project.removed')).toHaveLength(1);
    expect((await createShop()).usage.volumes).toBe(0);
  });

  it('is never possible for the default one', async () => {
    await expect(operator.deleteProject({ parameters: { project: 'default' } })).rejects.toMatchObject({ code: 'wrong-state' });
  });

  it('leaves nothing behind that came into it at the same moment', async () => {
    for (let round = 0; round < 80; round += 1) {
      await createShop();
      const make = (): Promise<unknown> =>
        round % 2 === 0 ? createVolume('v') : operator.createApplication({ body: { project: 'shop', name: 'web' } });
      const remove = (): Promise<unknown> => operator.deleteProject(shop);
      const [first, second] = round % 4 < 2 ? [make, remove] : [remove, make];
      const begun = first().catch(() => undefined);
      // Each time a little later.
      for (let step = 0; step < round / 4; step += 1) await Promise.resolve();
      await Promise.all([begun, second().catch(() => undefined)]);
      const projects = new Set((await operator.listProjects({})).items.map(({ id }) => id));
      const belonging = [...(await operator.listVolumes({})).items, ...(await operator.listApplications({ query: {} })).items];
      expect(belonging.filter(({ project }) => !projects.has(project))).toEqual([]);
      await operator.deleteApplication({ parameters: { application: 'shop/web' } }).catch(() => undefined);
      await operator.removeVolume({ parameters: { volume: 'v' } }).catch(() => undefined);
    }
  });
});

describe('a volume', () => {
  it('belongs to the default project unless told otherwise, and is found again in its own', async () => {
    const project = await createShop();
    expect((await createVolume('plain', {})).project).toBe(defaultProject.id);
    const orders = await createVolume('orders');
    expect(orders.project).toBe(project.id);
    expect(await createVolume('orders')).toEqual(orders);
    expect(await createVolume('orders', {})).toEqual(orders);
    expect(await createVolume('orders', { project: project.id })).toEqual(orders);
    await expect(createVolume('orders', { project: 'default' })).rejects.toMatchObject({
      code: 'already-exists',
      message: expect.stringContaining('another project'),
    });
    await expect(createVolume('other', { project: 'none' })).rejects.toMatchObject({ code: 'not-found' });
  });

  it('that is restored stays in the project of what was kept', async () => {
    const h1 = await server.addHost('h1');
    const { id } = await createShop();
    const orders = await createVolume('orders', { project: 'shop', host: h1 });
    const snapshot = newIdentifier('snp');
    const kept = { ...orders, diverged: [{ host: h1, snapshot, epoch: 1, keptAt: orders.createdAt }] };
    await server.context.repository.transact(async (transaction) => transaction.put(`state/volumes/${orders.id}`, kept));
    const from = { volume: 'orders', snapshot };
    await expect(createVolume('stolen', { project: 'default', from })).rejects.toMatchObject({ code: 'forbidden' });
    expect((await createVolume('restored', { from })).project).toBe(id);
  });
});

describe('a quota', () => {
  const outcomes = async (creations: Promise<unknown>[]) => {
    const settled = await Promise.allSettled(creations);
    return settled.map((each) => (each.status === 'fulfilled' ? 'made' : (each.reason as { code: string }).code));
  };

  it('of volumes lets in as many as there is room for, of those that come at once', async () => {
    await createShop({ quota: { volumes: 5 } });
    const made = await outcomes(Array.from({ length: 20 }, (_, index) => createVolume(`v${index}`)));
    expect(made.filter((each) => each === 'made')).toHaveLength(5);
    expect(made.filter((each) => each === 'quota-exceeded')).toHaveLength(15);
    expect(await operator.getProject(shop)).toMatchObject({ usage: { volumes: 5, unlimited: 5 } });
    await expect(createVolume('more')).rejects.toMatchObject({
      message: 'Project "shop" has 5 volumes and may have 5: there is no room for volume "more".',
      hint: expect.stringContaining('supercargo project set shop'),
    });
  });

  it('lets a hundred in at once if there is room for all', async () => {
    await createShop({ quota: { volumes: 100 } });
    const made = await outcomes(Array.from({ length: 100 }, (_, index) => createVolume(`v${index}`)));
    expect(made).toEqual(Array.from({ length: 100 }, () => 'made'));
  });

  it('of bytes sums size limits, and needs one', async () => {
    await createShop({ quota: { bytes: 10 * mebibyte } });
    const sized = (name: string, mebibytes: number) => createVolume(name, { project: 'shop', sizeBytes: mebibytes * mebibyte });
    const made = await outcomes(Array.from({ length: 20 }, (_, index) => sized(`v${index}`, 2)));
    expect(made.filter((each) => each === 'made')).toHaveLength(5);
    await operator.removeVolume({ parameters: { volume: (await operator.listVolumes({})).items[0]!.name } });
    await expect(sized('large', 3)).rejects.toMatchObject({
      code: 'quota-exceeded',
      message: 'Project "shop" has volumes of 8.0 MiB and may have 10.0 MiB: there is no room for volume "large" of 3.0 MiB.',
    });
    await expect(createVolume('unlimited')).rejects.toMatchObject({ code: 'invalid-option', hint: expect.stringContaining('--size 1G') });
    await sized('fits', 2);
    expect((await operator.getProject(shop)).usage).toEqual({ volumes: 5, bytes: 10 * mebibyte, unlimited: 0 });
  });

  it('holds for its project alone, is not spent by asking again, and may be below what is there', async () => {
    await createShop({ quota: { volumes: 1 } });
    await createVolume('elsewhere', {});
    const first = await createVolume('first');
    expect(await createVolume('first')).toEqual(first);
    await operator.updateProject({ ...shop, body: { quota: { volumes: 0 } } });
    await expect(createVolume('second')).rejects.toMatchObject({ code: 'quota-exceeded' });
    await operator.updateProject({ ...shop, body: { quota: { volumes: null } } });
    await createVolume('second');
  });

  it('of the default project holds as well', async () => {
    await operator.updateProject({ parameters: { project: 'default' }, body: { quota: { volumes: 3 } } });
    const made = await outcomes(Array.from({ length: 10 }, (_, index) => createVolume(`v${index}`, {})));
    expect(made.filter((each) => each === 'made')).toHaveLength(3);
  });

  it('does not count a volume that was removed, though a host still has to delete its copy', async () => {
    const h1 = await server.addHost('h1');
    await createShop({ quota: { volumes: 1 } });
    await createVolume('first', { project: 'shop', host: h1 });
    const removal = operator.removeVolume({ parameters: { volume: 'first' } });
    await server.clock.advance(0);
    await expect(createVolume('second')).rejects.toMatchObject({ code: 'quota-exceeded' });
    await server.as(h1).confirmRemoval({ parameters: { volume: 'first' } });
    await removal;
    await createVolume('second');
  });
});
