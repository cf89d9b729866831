import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ManualClock } from '../ports/manual-clock.ts';
import { loadCredentials, saveCredentials } from './credentials-file.ts';
import { createTestCluster } from './test-cluster.ts';

let directory: string;

beforeEach(async () => {
  directory = join(await mkdtemp(join(tmpdir(), 'supercargo-pki-')), 'identity');
});

afterEach(() => rm(join(directory, '..'), { recursive: true, force: true }));

async function newCredentials() {
  const cluster = await createTestCluster(new ManualClock());
  return cluster.credentialsFor(cluster.newHost());
}

it('credentials come back as they were saved, readable by their owner only', async () => {
  expect(await loadCredentials(directory)).toBeUndefined();
  const [first, second] = [await newCredentials(), await newCredentials()];
  await saveCredentials(directory, first);
  await saveCredentials(directory, second);
  expect(await loadCredentials(directory)).toEqual(second);
  expect((await stat(directory)).mode & 0o777).toBe(0o700);
  expect((await stat(join(directory, 'identity.json'))).mode & 0o777).toBe(0o600);
  expect(await readdir(directory)).toEqual(['identity.json']);
});

it('a save that was cut off leaves the credentials of before', async () => {
  const credentials = await newCredentials();
  await saveCredentials(directory, credentials);
  await writeFile(join(directory, '.identity.json.0123'), '{"certificatePem": "');
  expect(await loadCredentials(directory)).toEqual(credentials);
});

it('a damaged file is refused, without its text in the error', async () => {
  const [one, other] = [await newCredentials(), await newCredentials()];
  await saveCredentials(directory, { ...one, privateKeyPem: other.privateKeyPem });
  await expect(loadCredentials(directory)).rejects.toMatchObject({ code: 'wrong-state' });
  await writeFile(join(directory, 'identity.json'), `{"privateKeyPem": ${one.privateKeyPem}`);
  const damaged = await loadCredentials(directory).catch((error: unknown) => error);
  expect(damaged).toMatchObject({ code: 'wrong-state' });
  expect(inspect(damaged)).not.toContain(one.privateKeyPem.split('\n')[1]);
});
