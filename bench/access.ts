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
import { BenchLab, timed } from './lab.ts';
import type { BenchOptions } from './lab.ts';
import { callSocket } from './local-call.ts';
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

async function measureCreate({ runs = 40, small, say }: BenchOptions): Promise<Figure[]> {
  await using lab = await BenchLab.start('512M');
  const host = lab.source;
  await post(host, '/v1/projects', { name: 'shop' });
  await post(host, '/v1/volumes', { name: 'orders', project: 'shop' });
  await post(host, '/v1/applications', { project: 'shop', name: 'web' });
  await post(host, '/v1/grants', { application: 'shop/web', volume: 'orders', mode: 'read-write', reason: 'bench' });
  say('access: create, nothing is required');
  const off = await askedOften(lab, runs);
  await operator(host, { method: 'PATCH', path: '/v1/projects/shop', body: { requireGrants: true } });
  const isRequired = async (): Promise<boolean> => !(await isAllowed(lab, questions('')));
  await waitUntil('the agent has heard of it', isRequired);
  say('access: create, by a grant');
  const on = await askedOften(lab, runs);
  const [applications, volumes] = small ? [10, 10] : [100, 100];
  say(`access: ${applications * volumes} grants`);
  await grantMuch(host, applications, volumes);
  const pass = await passOf(host);
  await waitUntil('the agent has heard of all grants', async () => isAllowed(lab, questions(pass, `volume-${volumes - 1}`)));
  say('access: create, by one of them');
  const among = await askedOften(lab, runs);
  const row = { bench, unit, better } as const;
  return [
    figure(
      { ...row, measure: 'asked about a create', target: { ours: 5 }, rivalName: 'the same while nothing is required' },
      { ours: on, rival: off },
    ),
    figure(
      { ...row, measure: `asked about a create, ${applications * volumes} grants`, target: { ratio: 1.25 }, rivalName: 'the same with one grant' },
      { ours: among, rival: on },
    ),
  ];
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

async function isAllowed(lab: BenchLab, { before }: Questions): Promise<boolean> {
  return lab
    .plugin(lab.source)
    .authorize('AuthZReq', before)
    .then(
      () => true,
      () => false,
    );
}

/** Both questions, with a pass of its own each time. The first time is not counted. */
async function askedOften(lab: BenchLab, runs: number): Promise<number[]> {
  const plugin = lab.plugin(lab.source);
  const samples: number[] = [];
  for (let run = -1; run < runs; run += 1) {
    const { before, after } = questions(await passOf(lab.source));
    const milliseconds = await timed(async () => {
      await plugin.authorize('AuthZReq', before);
      await plugin.authorize('AuthZRes', after);
    });
    if (run >= 0) samples.push(milliseconds);
  }
  return samples;
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
  const count = small ? 20 : 500;
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
