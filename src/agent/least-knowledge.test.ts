import { afterEach, beforeEach, expect, it } from 'vitest';
import { SimulatedCluster } from '../../test/sim/simulated-cluster.ts';
import type { SimulatedHost } from '../../test/sim/simulated-host.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { keys } from '../nameserver/keys.ts';

let cluster: SimulatedCluster;
let h1: SimulatedHost;
let h2: SimulatedHost;

/** Volume data in a project that comes to require grants, with its live copy on h1. */
beforeEach(async () => {
  cluster = await SimulatedCluster.start({ seed: 1, hosts: 3 });
  [h1, h2] = [cluster.host(1), cluster.host(2)];
  await cluster.resolve(cluster.operator.createProject({ body: { name: 'shop' } }));
  await cluster.resolve(cluster.operator.createApplication({ body: { project: 'shop', name: 'web' } }));
  await cluster.resolve(h1.agent.verbs.create({ name: 'data', project: 'shop' }));
  await cluster.until(() => lives().length === 1, 'h1 has its live copy');
  await cluster.until(() => knownOn(h2), 'h2 has heard of the volume');
});

afterEach(() => cluster.stop());

const knownOn = (host: SimulatedHost): boolean => host.agent.verbs.list().some(({ volume }) => volume.name === 'data');
const copyOn = (host: SimulatedHost, id: string) => host.machine.disk.volume(id);
const lives = (): SimulatedHost[] => cluster.hosts.filter(({ machine: { disk } }) => disk.volumeIds().some((id) => disk.volume(id).live !== null));
const requireGrants = () => cluster.resolve(cluster.operator.updateProject({ parameters: { project: 'shop' }, body: { requireGrants: true } }));

it('a volume that a host is not told of any more goes from its list, and what the host with a copy has stays', async () => {
  await requireGrants();
  await cluster.until(() => !knownOn(h2), 'h2 has forgotten the volume');
  const { id } = await cluster.volume('data');
  await cluster.pass(60_000);
  expect(copyOn(h1, id).live).not.toBeNull();
  expect(knownOn(h1)).toBe(true);
  expect((await cluster.resolve(h1.agent.status())).volumes).toMatchObject([{ name: 'data', problem: null }]);
});

it('a host that gave the volume away goes on being told of it, keeps its snapshots, and takes it back', async () => {
  await requireGrants();
  await cluster.resolve(cluster.operator.createMove({ body: { volume: 'data', to: h2.id } }));
  await cluster.until(
    async () => (await cluster.volume('data')).placement.state === 'held' && lives().length === 1 && lives()[0] === h2,
    'h2 holds it',
  );
  const { id } = await cluster.volume('data');
  const body = { reason: 'test', policy: 'now' as const };
  await cluster.resolve(cluster.operator.revokeApplication({ parameters: { application: 'shop/web' }, body }));
  await cluster.pass(60_000);
  expect([knownOn(h1), knownOn(h2)]).toEqual([true, true]);
  expect(copyOn(h1, id).snapshots.size).toBeGreaterThan(0);
  await cluster.resolve(cluster.operator.createMove({ body: { volume: 'data', to: h1.id } }));
  await cluster.until(() => lives().length === 1 && lives()[0] === h1, 'h1 holds it again');
});

it('data that the records do not tell its host of any more is kept, and complained of', async () => {
  const { id } = await cluster.volume('data');
  await requireGrants();
  // As no name server of ours does: the record without any trace of the host that has the data.
  const volume = await cluster.volume('data');
  const placement = { state: 'held', host: newIdentifier('hst'), base: null };
  await cluster.falsify(keys.volume(id), { ...volume, copies: [], placement, epoch: volume.epoch + 1 });
  await cluster.until(() => !knownOn(h1), 'h1 is not told of it');
  await cluster.pass(60_000);
  expect(copyOn(h1, id).live).not.toBeNull();
  expect((await cluster.resolve(h1.agent.status())).volumes).toMatchObject([{ id, problem: expect.stringContaining('It is kept') }]);
});
