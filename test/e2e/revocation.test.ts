import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Move } from '../../src/model/records.ts';
import type { Credentials } from '../../src/pki/credentials.ts';
import { createKeyAndRequest } from '../../src/pki/request.ts';
import type { AuthorityView } from '../../src/protocol/certificate-routes.ts';
import type { Host } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import { openMoves, volumeRecord } from './support/invariants.ts';
import { Records } from './support/records.ts';
import type { RequestOutcome } from './support/request-once.ts';
import { Writer } from './support/writers.ts';

const mebibyte = 1024 * 1024;
/** Short, so that certificates are renewed while the tests run. */
const lifetimeMilliseconds = 120_000;
const patienceMilliseconds = 120_000;

let cluster: Cluster;
let h1: Host;
let h2: Host;
let h3: Host;

beforeAll(async () => {
  const environment = { all: { SUPERCARGO_CERTIFICATE_LIFETIME: String(lifetimeMilliseconds), SUPERCARGO_MOUNT_DEADLINE: '30000' } };
  cluster = await Cluster.start({ hosts: 3, environment });
  [h1, h2, h3] = [cluster.host('h1'), cluster.host('h2'), cluster.host('h3')];
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

const credentialsOf = (host: Host): Credentials =>
  JSON.parse(readFileSync(host.path('/var/lib/supercargo/agent/identity.json'), 'utf8')) as Credentials;
const serialOf = (host: Host): string => new X509Certificate(credentialsOf(host).certificatePem).serialNumber;

const places = [
  { name: 'h1', port: 7470, path: '/v1/volumes' },
  { name: 'h1', port: 7472, path: '/v1/peer/health' },
  { name: 'h2', port: 7472, path: '/v1/peer/health' },
] as const;

interface Place {
  name: string;
  port: number;
  path: string;
}

/** One request with somebody's credentials, sent from another host than theirs: addresses count for nothing. */
async function attempt(place: Place, credentials: Credentials, body?: object): Promise<string> {
  const options = {
    protocol: 'https:',
    host: cluster.host(place.name).address,
    port: place.port,
    path: place.path,
    rejectUnauthorized: false,
    cert: credentials.certificatePem,
    key: credentials.privateKeyPem,
    ...(body === undefined ? {} : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  };
  const client = ['node', fileURLToPath(new URL('support/request-once.ts', import.meta.url))];
  return (JSON.parse((await h2.run(client, { input: JSON.stringify(options) })).stdout) as RequestOutcome).outcome;
}

const outcomes = (credentials: Credentials): Promise<string[]> => Promise.all(places.map((place) => attempt(place, credentials)));
const authority = (): Promise<AuthorityView> => cluster.json<AuthorityView>(h1, 'authority', 'show');

describe('the authority', () => {
  it('is replaced under a running writer, with the name server killed on the way, and then the old one counts no more', async () => {
    await cluster.createVolume(h2, 'written');
    const writer = new Writer(h2, 'writer', 'written');
    await writer.start();
    const before = await authority();
    const old = credentialsOf(h3);
    await cluster.run(h1, 'authority', 'rotate');
    await cluster.restartDaemon(h1);
    await waitUntil('one authority is left', async () => (await authority()).phase === 'none', patienceMilliseconds);
    const after = await authority();
    expect(after.authorities).toHaveLength(1);
    expect(after.authorities[0]?.fingerprint).not.toBe(before.authorities[0]?.fingerprint);
    expect((await cluster.json<{ fingerprint: string }>(h1, 'invite')).fingerprint).toBe(after.authorities[0]?.fingerprint);
    await waitUntil('the old certificate is refused everywhere', async () => (await outcomes(old)).every((each) => each.startsWith('refused')));
    await cluster.connected();
    expect(await outcomes(credentialsOf(h3))).toEqual(['200', '200', '200']);
    const { acknowledged } = await writer.outcome();
    await waitUntil('the writer goes on', async () => (await writer.outcome()).acknowledged.length > acknowledged.length);
    await h2.docker('stop', '-t', '0', 'writer');
    const found = (await cluster.inContainer(h3, 'written', 'wc -l < /data/records')).stdout;
    expect(Number(found)).toBeGreaterThanOrEqual((await writer.outcome()).acknowledged.length);
  });
});

describe('a certificate that was stolen', () => {
  it('puts its host into quarantine when it is renewed; with new keys the host comes back, and the thief does not', async () => {
    const stolen = credentialsOf(h3);
    const first = serialOf(h3);
    await waitUntil('the host has renewed', () => serialOf(h3) !== first, lifetimeMilliseconds);
    expect(await attempt(places[0], stolen)).toBe('200');
    const own = credentialsOf(h3);
    const { requestPem } = await createKeyAndRequest();
    // The refusal, or the end of the connection that came before it.
    expect(await attempt({ ...places[0], path: '/v1/certificates' }, stolen, { request: requestPem })).toMatch(/^403$|^refused/);
    for (const credentials of [stolen, own]) {
      await waitUntil('it is refused everywhere', async () => (await outcomes(credentials)).every((each) => each === '403'));
    }
    const events = (await cluster.run(h1, 'events')).stdout;
    expect(events).toMatch(/ALARM: host "h3" is in quarantine/);
    const invitation = (await cluster.run(h1, 'invite', '--host', 'h3')).stdout.trim().split(/\s+/).slice(1);
    await cluster.killDaemon(h3);
    await cluster.run(h3, ...invitation, '--address', h3.address);
    await cluster.up(h3);
    await cluster.connected();
    expect(await outcomes(credentialsOf(h3))).toEqual(['200', '200', '200']);
    expect((await outcomes(stolen)).filter((each) => each === '200')).toEqual([]);
  });
});

describe('a host that is revoked', () => {
  it('gets no more of a transfer that it was receiving, and is refused on all ports; the volume stays usable', async () => {
    const records = new Records(cluster, 'wanted');
    await cluster.createVolume(h2, records.volume);
    await cluster.inContainer(h2, records.volume, `head -c ${64 * mebibyte} /dev/urandom > /data/bulk; sync /data/bulk`);
    await records.append(h2, 3);
    await h2.throttle(2 * mebibyte);
    const start = records.tryAppend(h3);
    const arriving = async (): Promise<Move | undefined> => (await openMoves(cluster, h1)).find(({ volumeName }) => volumeName === records.volume);
    await waitUntil('some of it has arrived', async () => ((await arriving())?.progress?.transferredBytes ?? 0) > 4 * mebibyte, patienceMilliseconds);
    const { id } = (await arriving())!;
    await cluster.run(h1, 'revoke', 'host', 'h3', '--reason', 'stolen', '--yes');
    await waitUntil('it is refused everywhere', async () => (await outcomes(credentialsOf(h3))).every((each) => each === '403'));
    expect(await cluster.query<Move>(h1, `/v1/moves/${id}`)).toMatchObject({ phase: 'aborted', error: { code: 'forbidden' } });
    expect((await start).exitCode).not.toBe(0);
    expect(cluster.log(h3)).toMatch(/is denied since/);
    await h2.throttle(0);
    expect((await volumeRecord(cluster, h1, records.volume)).placement).toMatchObject({ state: 'held' });
    await records.append(h2, 3);
  });

  it('comes back when it is readmitted', async () => {
    await cluster.run(h1, 'host', 'readmit', 'h3', '--reason', 'found again', '--yes');
    await cluster.connected();
    await new Records(cluster, 'other').append(h3);
  });
});
