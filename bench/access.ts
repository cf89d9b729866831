/** What it costs that somebody is asked: a container's create, a revocation on five hosts, certificates. */
import { randomBytes } from 'node:crypto';
import { createAuthority, openAuthority } from '../src/pki/authority.ts';
import { hostUri } from '../src/pki/identity.ts';
import { createKeyAndRequest } from '../src/pki/request.ts';
import { newIdentifier } from '../src/model/identifiers.ts';
import { systemClock } from '../src/system/clock.ts';
import { Cluster } from '../test/e2e/support/cluster.ts';
import { waitUntil } from '../testbed/process.ts';
import { figure } from './figure.ts';
import type { Figure } from './figure.ts';
import { timed } from './lab.ts';
import type { BenchOptions } from './lab.ts';
import { PluginSocket, callSocket } from './local-call.ts';
import type { Call } from './local-call.ts';
import type { Host } from '../testbed/lab.ts';

const bench = 'access';
const unit = 'ms';
const better = 'lower';
const operatorSocket = '/run/supercargo/name-server.sock';

export async function measureAccess(options: BenchOptions): Promise<Figure[]> {
  return [...(await measureCreate(options)), await measureRevocation(options), await measureCertificates(options)];
}

const operator = <Answer>(host: Host, call: Call): Promise<Answer> => callSocket<Answer>(host.path(operatorSocket), call);
const post = <Answer>(host: Host, path: string, body: object): Promise<Answer> => operator<Answer>(host, { method: 'POST', path, body });

/** Three clusters of one host at the same time, so that what else the machine does meets all alike. */
async function measureCreate({ runs = 40, small, say }: BenchOptions): Promise<Figure[]> {
  const [applications, volumes] = small ? [10, 10] : [100, 100];
  await using off = await shop();
  await using one = await shop();
  await using many = await shop();
  for (const { host } of [one, many]) await operator(host, { method: 'PATCH', path: '/v1/projects/shop', body: { requireGrants: true } });
  say(`access: ${applications * volumes} grants`);
  await grantMuch(many.host, applications, volumes);
  for (const { host } of [one, many]) await waitUntil('a grant is required', async () => !(await isAllowed(host, questions(''))));
  const pass = await passOf(many.host);
  await waitUntil('the agent has heard of all grants', () => isAllowed(many.host, questions(pass, `volume-${volumes - 1}`)));
  say('access: create');
  const samples = { off: [] as number[], one: [] as number[], many: [] as number[] };
  for (let run = -1; run < runs; run += 1) {
    const [atOff, atOne, atMany] = [await askedOnce(off.host), await askedOnce(one.host), await askedOnce(many.host)];
    // The first time is not counted.
    if (run < 0) continue;
    samples.off.push(atOff);
    samples.one.push(atOne);
    samples.many.push(atMany);
  }
  const row = { bench, unit, better } as const;
  return [
    figure(
      { ...row, measure: 'asked about a create', target: { ours: 5 }, rivalName: 'the same while nothing is required' },
      { ours: samples.one, rival: samples.off },
    ),
    figure(
      { ...row, measure: `asked about a create, ${applications * volumes} grants`, target: { ratio: 1.25 }, rivalName: 'the same with one grant' },
      { ours: samples.many, rival: samples.one },
    ),
  ];
}

/** One host with a project, whose application has a grant for its volume. */
async function shop(): Promise<AsyncDisposable & { host: Host }> {
  const cluster = await Cluster.start({ hosts: 1 });
  const host = cluster.host('h1');
  await post(host, '/v1/projects', { name: 'shop' });
  await post(host, '/v1/volumes', { name: 'orders', project: 'shop' });
  await post(host, '/v1/applications', { project: 'shop', name: 'web' });
  await post(host, '/v1/grants', { application: 'shop/web', volume: 'orders', mode: 'read-write', reason: 'bench' });
  return { host, [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose]() };
}

interface Questions {
  before: object;
  after: object;
}

/** What an engine asks before it makes a container with a volume, and tells after. */
function questions(pass: string, volume = 'orders'): Questions {
  const hostConfig = { Binds: [`${volume}:/data`], VolumeDriver: 'supercargo' };
  const body = JSON.stringify({ Image: 'image', Labels: { 'supercargo.pass': pass }, HostConfig: hostConfig });
  const before = { RequestMethod: 'POST', RequestUri: '/v1.41/containers/create', RequestBody: Buffer.from(body).toString('base64') };
  const made = Buffer.from(JSON.stringify({ Id: randomBytes(32).toString('hex') })).toString('base64');
  return { before, after: { ...before, ResponseStatusCode: 201, ResponseBody: made } };
}

const pluginOf = (host: Host): PluginSocket => new PluginSocket(host.path('/run/docker/plugins/supercargo.sock'));

async function isAllowed(host: Host, { before }: Questions): Promise<boolean> {
  return pluginOf(host)
    .authorize('AuthZReq', before)
    .then(
      () => true,
      () => false,
    );
}

/** Both questions, with a pass of its own. */
async function askedOnce(host: Host): Promise<number> {
  const { before, after } = questions(await passOf(host));
  return timed(async () => {
    await pluginOf(host).authorize('AuthZReq', before);
    await pluginOf(host).authorize('AuthZRes', after);
  });
}

async function passOf(host: Host): Promise<string> {
  return (await post<{ pass: string }>(host, `/v1/applications/${encodeURIComponent('shop/web')}/passes`, { host: host.name })).pass;
}

/** Every application gets a grant for every volume; the one that is measured is the last. */
async function grantMuch(host: Host, applications: number, volumes: number): Promise<void> {
  for (let index = 0; index < volumes; index += 1) await post(host, '/v1/volumes', { name: `volume-${index}`, project: 'shop' });
  const names = [...Array.from({ length: applications - 1 }, (_, index) => `app-${index}`), 'web'];
  for (const name of names) {
    await post(host, '/v1/applications', { project: 'shop', name });
    const grants = Array.from({ length: volumes }, (_, index) => ({ application: `shop/${name}`, volume: `volume-${index}` }));
    for (const grant of grants) await post(host, '/v1/grants', { ...grant, mode: 'read-write', reason: 'bench' });
  }
}

/** From the order to the moment in which the last host is known to have put it into effect. */
async function measureRevocation({ runs = 15, say }: BenchOptions): Promise<Figure> {
  const hosts = 5;
  await using cluster = await Cluster.start({ hosts, docker: false });
  const host = cluster.host('h1');
  await cluster.connected();
  say('access: revocation');
  await post(host, '/v1/applications', { project: 'default', name: 'web' });
  const samples: number[] = [];
  for (let run = -1; run < runs; run += 1) {
    const { id } = await post<{ id: string }>(host, '/v1/grants', { application: 'default/web', volume: null, mode: 'read-write', reason: 'bench' });
    const milliseconds = await timed(async () => {
      const { revision } = await post<{ revision: number }>(host, `/v1/grants/${id}/revoke`, { policy: 'now', reason: 'bench' });
      await waitUntil('all hosts have acknowledged', async () => {
        const { items } = await operator<{ items: { acknowledged: boolean }[] }>(host, { path: `/v1/access/acknowledgements?revision=${revision}` });
        return items.length === hosts && items.every(({ acknowledged }) => acknowledged);
      });
    });
    if (run >= 0) samples.push(milliseconds);
  }
  const measure = `revocation to the last acknowledgement, ${hosts} hosts`;
  return figure({ bench, measure, unit, better, target: { ours: 1000 }, rivalName: null }, { ours: samples, rival: [] });
}

/** As the name server makes them for a request, whose proof of possession it checks; one after the other. */
async function measureCertificates({ runs = 7, small, say }: BenchOptions): Promise<Figure> {
  say('access: certificates');
  const clusterId = newIdentifier('clu');
  const authority = openAuthority(await createAuthority({ clusterId, clusterName: 'bench', clock: systemClock }), systemClock);
  const { requestPem } = await createKeyAndRequest();
  const count = small ? 20 : 100;
  const rates: number[] = [];
  for (let run = -1; run < runs; run += 1) {
    const milliseconds = await timed(async () => {
      for (let index = 0; index < count; index += 1) {
        const subjectUri = hostUri(clusterId, newIdentifier('hst'));
        await authority.issueForRequest(requestPem, { subjectUri, lifetimeMilliseconds: 86_400_000 });
      }
    });
    if (run >= 0) rates.push(count / (milliseconds / 1000));
  }
  return figure({ bench, measure: 'certificates issued', unit: '1/s', better: 'higher', target: null, rivalName: null }, { ours: rates, rival: [] });
}
