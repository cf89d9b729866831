import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { identityUri } from '../pki/identity.ts';
import { loadCredentials, saveCredentials } from '../pki/credentials-file.ts';
import { createTestCluster, systemClock } from '../pki/test-cluster.ts';
import type { TestCluster } from '../pki/test-cluster.ts';
import type { Client } from '../protocol/client.ts';
import type { Routes } from '../protocol/routes.ts';
import { HostCredentials } from './host-credentials.ts';
import { openStateDirectory, saveJson } from './state-directory.ts';
import type { StateDirectory } from './state-directory.ts';

let root: string;
let directory: StateDirectory;
let cluster: TestCluster;
/** What was asked for, and whether the answer arrives. */
let requests: string[];
let answers: boolean;

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'credentials-'));
  directory = await openStateDirectory(root);
  cluster = await createTestCluster(systemClock());
  await saveCredentials(directory.agent, await cluster.credentialsFor(cluster.newHost()));
  requests = [];
  answers = true;
});

afterEach(() => rmSync(root, { recursive: true }));

const open = (): Promise<HostCredentials> => HostCredentials.open(directory, cluster.id);
const host = { kind: 'host' as const, cluster: '', id: 'hst_000000000000000000000001' };

/** The name server, as far as it renews. */
const client = {
  renewCertificate: async ({ body }: { body: { request: string } }) => {
    requests.push(body.request);
    const options = { subjectUri: identityUri({ ...host, cluster: cluster.id }), lifetimeMilliseconds: 60_000 };
    const certificate = await cluster.authority.issueForRequest(body.request, options);
    if (!answers) throw new Error('the answer is lost');
    return { certificate, authorities: [cluster.authority.certificatePem] };
  },
} as unknown as Client<Routes>;

it('asks for the same key again after a lost answer, also after a restart, and for another one the next time', async () => {
  answers = false;
  await expect((await open()).renew(client)).rejects.toThrow('lost');
  answers = true;
  const credentials = await open();
  await credentials.renew(client);
  expect(requests[1]).toBe(requests[0]);
  await credentials.renew(client);
  expect(requests[2]).not.toBe(requests[1]);
});

it('asks for another key if it was killed after it had saved the new one', async () => {
  await (await open()).renew(client);
  const { privateKeyPem } = (await loadCredentials(directory.agent))!;
  await saveJson(join(directory.agent, 'renewing.json'), { privateKeyPem, requestPem: requests[0] });
  await (await open()).renew(client);
  expect(requests[1]).not.toBe(requests[0]);
});

it('loses neither a new certificate nor new authorities when both come at once', async () => {
  const credentials = await open();
  const before = credentials.holder.current.certificatePem;
  const next = await createTestCluster(systemClock(), cluster.id);
  const both = [next.authority.certificatePem, cluster.authority.certificatePem];
  await credentials.renew(client);
  await Promise.all([credentials.follow(both), credentials.renew(client), credentials.follow(both)]);
  const kept = (await loadCredentials(directory.agent))!;
  expect(kept).toEqual(credentials.holder.current);
  expect(kept.certificatePem).not.toBe(before);
  expect(new X509Certificate(kept.certificatePem).subject).toContain(host.id);
  await credentials.follow(both);
  expect(credentials.report().authorities).toHaveLength(2);
});

it('trusts no authority of another cluster', async () => {
  const foreign = await createTestCluster(systemClock());
  await expect((await open()).follow([foreign.authority.certificatePem])).rejects.toMatchObject({ code: 'unauthenticated' });
});
