import { X509Certificate } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { SecureVersion } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openAuthority } from '../../src/pki/authority.ts';
import type { AuthorityMaterial } from '../../src/pki/authority.ts';
import type { Credentials } from '../../src/pki/credentials.ts';
import type { HostFile } from '../../src/compose/state-directory.ts';
import { hostUri, nameServerUri } from '../../src/pki/identity.ts';
import { createKeyAndRequest } from '../../src/pki/request.ts';
import { createTestCluster } from '../../src/pki/test-cluster.ts';
import { systemClock } from '../../src/system/clock.ts';
import type { Host } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import type { RequestOutcome } from './support/request-once.ts';

/** Short, so that certificates are renewed several times while the tests run. */
const lifetimeMilliseconds = 30_000;

let cluster: Cluster;
let h1: Host;
let h2: Host;
/** What h1 and h2 had, and what each port showed, at the beginning. */
let first: { h1: Credentials; h2: Credentials; shown: string[] };

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 3, environment: { all: { SUPERCARGO_CERTIFICATE_LIFETIME: String(lifetimeMilliseconds) } } });
  [h1, h2] = [cluster.host('h1'), cluster.host('h2')];
  first = { h1: credentialsOf(h1), h2: credentialsOf(h2), shown: await Promise.all(places.map(shownAt)) };
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

const readJson = (host: Host, path: string): unknown => JSON.parse(readFileSync(host.path(`/var/lib/supercargo/${path}`), 'utf8'));
const credentialsOf = (host: Host): Credentials => readJson(host, 'agent/identity.json') as Credentials;
const hostFileOf = (host: Host): HostFile => readJson(host, 'agent/host.json') as HostFile;

/** A certificate by the cluster's own authority, which only its name server should have. */
async function forge(subjectUri: string, lifetimeMilliseconds: number): Promise<Credentials> {
  const material = readJson(h1, 'name-server/authority.json') as AuthorityMaterial;
  const authority = openAuthority(material, systemClock);
  const { privateKeyPem, requestPem } = await createKeyAndRequest();
  const certificatePem = await authority.issueForRequest(requestPem, { subjectUri, lifetimeMilliseconds });
  return { privateKeyPem, certificatePem, authorities: [material.certificatePem] };
}

interface Attempt {
  protocol: 'https' | 'http';
  credentials?: Pick<Credentials, 'certificatePem' | 'privateKeyPem'>;
  maxVersion?: SecureVersion;
  /** Sent with POST. */
  body?: object;
}

const places = [
  { place: 'the name server', name: 'h1', port: 7470, path: '/v1/volumes' },
  { place: 'the agent beside it', name: 'h1', port: 7472, path: '/v1/peer/health' },
  { place: 'another agent', name: 'h2', port: 7472, path: '/v1/peer/health' },
] as const;

/** One request, from h3, to a port. Whom it talks to the client does not check: what is tried here is whom the server lets in. */
async function attempt(
  place: { name: string; port: number; path: string },
  { protocol, credentials, maxVersion, body }: Attempt,
): Promise<RequestOutcome> {
  const options = {
    protocol: `${protocol}:`,
    host: cluster.host(place.name).address,
    port: place.port,
    path: place.path,
    rejectUnauthorized: false,
    ...(maxVersion === undefined ? {} : { maxVersion, minVersion: maxVersion }),
    ...(credentials === undefined ? {} : { cert: credentials.certificatePem, key: credentials.privateKeyPem }),
    ...(body === undefined ? {} : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  };
  const client = ['node', fileURLToPath(new URL('support/request-once.ts', import.meta.url))];
  return JSON.parse((await cluster.host('h3').run(client, { input: JSON.stringify(options) })).stdout) as RequestOutcome;
}

/** Serial number of the certificate that a port shows. */
async function shownAt(place: (typeof places)[number]): Promise<string> {
  return (await attempt(place, { protocol: 'https', credentials: credentialsOf(cluster.host('h3')) })).serial ?? '';
}

describe.each(places)('$place', (place) => {
  it('lets a host of the cluster in', async () => {
    expect(await attempt(place, { protocol: 'https', credentials: credentialsOf(cluster.host('h3')) })).toMatchObject({ outcome: '200' });
  });

  it('refuses everybody else', async () => {
    const { id, cluster: own } = hostFileOf(cluster.host('h3'));
    const foreign = await createTestCluster(systemClock);
    // An authority that calls itself like ours, and issues the name of a host of ours.
    const twin = await createTestCluster(systemClock, own.id);
    const valid = credentialsOf(cluster.host('h3'));
    const expired = await forge(hostUri(own.id, id), 1);
    await waitUntil('the certificate has expired', () => new X509Certificate(expired.certificatePem).validToDate.getTime() < Date.now());
    const selfSigned = { certificatePem: twin.authority.certificatePem, privateKeyPem: twin.authorityPrivateKeyPem };
    const attempts: Record<string, Attempt> = {
      'no certificate': { protocol: 'https' },
      'another cluster': { protocol: 'https', credentials: await foreign.credentialsFor(foreign.newHost()) },
      'a wrong authority of the same name': { protocol: 'https', credentials: await twin.credentialsFor({ kind: 'host', cluster: own.id, id }) },
      'an authority itself': { protocol: 'https', credentials: selfSigned },
      'an expired certificate': { protocol: 'https', credentials: expired },
      'TLS 1.2': { protocol: 'https', credentials: valid, maxVersion: 'TLSv1.2' },
      'plain HTTP': { protocol: 'http' },
    };
    for (const [who, how] of Object.entries(attempts)) expect((await attempt(place, how)).outcome, who).toMatch(/^refused: /);
    // A name server's certificate is valid, but it is no host.
    expect((await attempt(place, { protocol: 'https', credentials: await forge(nameServerUri(own.id), 60_000) })).outcome).toBe('401');
  });
});

describe('joining', () => {
  interface Invitation {
    token: string;
    expiresAt: string;
    joinAddress: string;
    fingerprint: string;
  }
  const invite = (...options: string[]): Promise<Invitation> => cluster.json<Invitation>(h1, 'invite', ...options);
  let applicants = 0;

  /** Joins as one more host, whose state is in a folder of its own on h2. */
  async function joinWith({ joinAddress, token, fingerprint }: Invitation): Promise<{ exitCode: number; stderr: string }> {
    applicants += 1;
    const own = ['--name', `applicant-${applicants}`, '--state-directory', `/tmp/applicant-${applicants}`, '--address', `${h2.address}:9999`];
    return cluster.tryRun(h2, 'join', joinAddress, '--token', token, '--ca-fingerprint', fingerprint, ...own);
  }

  const hostNames = async (): Promise<string[]> => (await cluster.json<{ name: string }[]>(h1, 'host', 'ls')).map(({ name }) => name);

  it('takes a token once', async () => {
    const invitation = await invite();
    expect(await joinWith(invitation)).toMatchObject({ exitCode: 0 });
    const before = await hostNames();
    expect(before).toContain('applicant-1');
    const again = await joinWith(invitation);
    expect(again.exitCode).toBe(1);
    expect(again.stderr).toContain('The join token is wrong, was used, or has expired.');
    expect(await hostNames()).toEqual(before);
  });

  it('refuses tokens that are expired, wrong, malformed or absent', async () => {
    const before = await hostNames();
    const invitation = await invite();
    const [id] = invitation.token.split('.');
    const wrongSecret = `${id}.${'A'.repeat(43)}`;
    expect((await joinWith({ ...invitation, token: wrongSecret })).stderr).toContain('The join token is wrong');
    expect((await joinWith({ ...invitation, token: 'anything' })).stderr).toContain('malformed');
    expect((await joinWith({ ...invitation, token: '' })).stderr).toContain('missing');
    const shortLived = await invite('--lifetime', '1s');
    await waitUntil('the token has expired', () => Date.parse(shortLived.expiresAt) < Date.now());
    expect((await joinWith(shortLived)).stderr).toContain('has expired');
    expect(await hostNames()).toEqual(before);
  });

  it('refuses a name server that does not have the fingerprint', async () => {
    const invitation = await invite();
    const foreign = await createTestCluster(systemClock);
    const refused = await joinWith({ ...invitation, fingerprint: foreign.authority.fingerprint });
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toContain('does not belong to the cluster with the given fingerprint');
    // The token was not shown to whoever answered.
    expect(await joinWith(invitation)).toMatchObject({ exitCode: 0 });
  });

  it('offers nothing else on its port, and speaks TLS 1.3 only', async () => {
    const port = { name: 'h1', port: 7471 };
    const { requestPem } = await createKeyAndRequest();
    const application = { token: 'anything', name: 'guest', address: '10.77.0.9:7472', request: requestPem };
    expect(await attempt({ ...port, path: '/v1/join' }, { protocol: 'https', body: application })).toMatchObject({ outcome: '401' });
    expect(await attempt({ ...port, path: '/v1/join' }, { protocol: 'https', body: { token: 1 } })).toMatchObject({ outcome: '400' });
    for (const path of ['/v1/volumes', '/v1/hosts', '/v1/watch', '/v1/peer/health']) {
      expect(await attempt({ ...port, path }, { protocol: 'https', credentials: credentialsOf(h2) })).toMatchObject({ outcome: '404' });
    }
    expect((await attempt({ ...port, path: '/v1/join' }, { protocol: 'https', maxVersion: 'TLSv1.2', body: application })).outcome).toMatch(
      /^refused: /,
    );
    expect((await attempt({ ...port, path: '/v1/join' }, { protocol: 'http', body: application })).outcome).toMatch(/^refused: /);
  });

  it('is opened on the host of the name server only, and its secrets are written nowhere', async () => {
    const refused = await cluster.tryRun(h2, 'invite');
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toContain('Run it as root on the host that runs the name server.');
    const { token } = await invite();
    const secret = token.split('.')[1]!;
    const state = h1.path('/var/lib/supercargo');
    const files = [state, join(state, 'agent'), join(state, 'name-server')].flatMap((folder) =>
      readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
        entry.isFile() && entry.name !== 'pool.img' ? [join(folder, entry.name)] : [],
      ),
    );
    expect(files.filter((file) => readFileSync(file).includes(token.split('.')[0]!))).not.toEqual([]);
    expect(files.filter((file) => readFileSync(file).includes(secret))).toEqual([]);
  });
});

it('certificates renew by themselves, and everything works beyond the life of the first', async () => {
  const serialOf = ({ certificatePem }: Credentials): string => new X509Certificate(certificatePem).serialNumber;
  const ends = [first.h1, first.h2].map(({ certificatePem }) => new X509Certificate(certificatePem).validToDate.getTime());
  await waitUntil('the certificates have expired', () => Math.max(...ends) < Date.now(), 2 * lifetimeMilliseconds);
  expect(serialOf(credentialsOf(h1))).not.toBe(serialOf(first.h1));
  expect(serialOf(credentialsOf(h2))).not.toBe(serialOf(first.h2));
  const shown = await Promise.all(places.map(shownAt));
  for (const [index, serial] of shown.entries()) {
    expect(serial).toMatch(/^[0-9A-F]{32}$/);
    expect(serial).not.toBe(first.shown[index]);
  }
  expect((await attempt(places[0], { protocol: 'https', credentials: first.h2 })).outcome).toMatch(/^refused: /);

  await cluster.createVolume(h1, 'data');
  await cluster.inContainer(h1, 'data', 'echo kept > /data/file');
  expect((await cluster.inContainer(h2, 'data', 'cat /data/file')).stdout).toBe('kept\n');
  for (const host of [h1, h2]) expect((await cluster.status(host)).nameServer.connected).toBe(true);
});

describe('a user', () => {
  const logins = (name: string) => ({ SUPERCARGO_LOGIN_DIRECTORY: `/var/lib/supercargo/logins/${name}`, SUPERCARGO_RUN_DIRECTORY: '/run/nowhere' });
  const asUser = (name: string, ...words: string[]) => h2.run(['supercargo', ...words], { allowFailure: true, environment: logins(name) });

  async function logIn(name: string, ...rights: string[]): Promise<void> {
    const { stdout } = await cluster.run(h1, 'user', 'add', name, ...rights);
    const done = await asUser(name, ...stdout.trim().split(/\s+/).slice(1));
    expect(done.stdout).toContain(`You are ${name}`);
    expect((await asUser(name, ...stdout.trim().split(/\s+/).slice(1))).stderr).toContain('wrong, was used, or has expired');
  }

  it('logs in on another machine, may do what its role allows, and nothing any more once it is removed', async () => {
    await cluster.run(h1, 'project', 'add', 'shop');
    await cluster.run(h1, 'volume', 'create', 'orders', '--project', 'shop');
    await logIn('ben', '--role', 'operator', '--project', 'shop');
    expect(JSON.parse((await asUser('ben', 'volume', 'ls', '--json')).stdout)).toMatchObject([{ name: 'orders' }]);
    expect((await asUser('ben', 'invite')).stderr).toContain('may not call createInvite');
    await logIn('anna', '--role', 'admin');
    const following = asUser('anna', 'events', '--follow');
    await cluster.run(h1, 'user', 'rm', 'anna');
    expect((await following).exitCode).not.toBe(0);
    expect((await asUser('anna', 'volume', 'ls')).exitCode).not.toBe(0);
    const { stdout } = await cluster.run(h1, 'audit', 'ls', '--denied', '--json');
    expect(JSON.parse(stdout)).toContainEqual(expect.objectContaining({ action: 'createInvite', verdict: 'deny' }));
    expect((await cluster.run(h1, 'audit', 'verify')).stdout).toContain('The log is whole');
  });

  it('is no agent: what agents offer each other is refused to it', async () => {
    const credentials = readJson(h2, 'logins/ben/identity.json') as Credentials;
    for (const place of places.slice(1)) {
      const { outcome } = await attempt(place, { protocol: 'https', credentials });
      expect(outcome).toMatch(/^(refused: |40[13])/);
    }
  });
});
