import { createPublicKey, X509Certificate } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import type tls from 'node:tls';
import { AuthorityKeeper } from './authority-keeper.ts';
import type { AuthorityState } from './authority-keeper.ts';
import { createAuthority } from './authority.ts';
import type { Credentials } from './credentials.ts';
import { identityUri } from './identity.ts';
import type { Identity } from './identity.ts';
import { createKeyAndRequest } from './request.ts';
import { greet, listen, systemClock } from './test-cluster.ts';
import { clientTlsOptions, serverTlsOptions } from './tls.ts';
import { verifyCertificate } from './verification.ts';

const clock = systemClock();
const cluster = newIdentifier('clu');
const nameServer: Identity = { kind: 'name-server', cluster };
const host: Identity = { kind: 'host', cluster, id: newIdentifier('hst') };
const servers: tls.Server[] = [];
/** What was made durable. */
let saved: AuthorityState[];
let changes: number;

beforeEach(() => {
  saved = [];
  changes = 0;
});

afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

function open(state: AuthorityState, save = async (each: AuthorityState): Promise<void> => void saved.push(each)): AuthorityKeeper {
  const onChange = async (): Promise<void> => void (changes += 1);
  return new AuthorityKeeper({ state, clusterId: cluster, clusterName: 'test', clock, save, onChange });
}

async function begin(): Promise<AuthorityKeeper> {
  return open({ ...(await createAuthority({ clusterId: cluster, clusterName: 'test', clock })), rotation: null });
}

async function credentialsBy({ signing, certificates }: AuthorityKeeper, identity: Identity): Promise<Credentials> {
  const { privateKeyPem } = await createKeyAndRequest();
  const publicKeyPem = createPublicKey(privateKeyPem).export({ format: 'pem', type: 'spki' }).toString();
  const certificatePem = await signing.issueForKey(publicKeyPem, { subjectUri: identityUri(identity), lifetimeMilliseconds: 3_600_000 });
  return { certificatePem, privateKeyPem, authorities: certificates };
}

/** Whether a host with these credentials and a name server with those come together, each by what it trusts. */
async function meet(client: Credentials, server: Credentials): Promise<boolean> {
  const listening = await listen(serverTlsOptions(server));
  servers.push(listening.server);
  try {
    (await greet(listening.port, clientTlsOptions({ credentials: client, expectedIdentity: nameServer }))).destroy();
    return true;
  } catch {
    return false;
  }
}

describe('a rotation', () => {
  it('lets old and new certificates meet in each phase, and the old ones no more after it', async () => {
    const keeper = await begin();
    const old = { host: await credentialsBy(keeper, host), nameServer: await credentialsBy(keeper, nameServer) };
    expect(keeper.phase).toBe('none');
    await keeper.introduce();
    expect([keeper.phase, keeper.certificates.length]).toEqual(['introducing', 2]);
    const told = { ...old.host, authorities: keeper.certificates };
    expect(await meet(told, await credentialsBy(keeper, nameServer))).toBe(true);
    await keeper.promote();
    expect(keeper.phase).toBe('retiring');
    const renewed = { host: await credentialsBy(keeper, host), nameServer: await credentialsBy(keeper, nameServer) };
    expect(await meet(told, renewed.nameServer)).toBe(true);
    expect(await meet(renewed.host, renewed.nameServer)).toBe(true);
    expect(await meet(renewed.host, { ...old.nameServer, authorities: keeper.certificates })).toBe(true);
    expect(await meet(old.host, renewed.nameServer), 'who does not trust the new one').toBe(false);
    await keeper.retire();
    expect([keeper.phase, keeper.certificates.length]).toEqual(['none', 1]);
    const last = { host: { ...renewed.host, authorities: keeper.certificates }, nameServer: await credentialsBy(keeper, nameServer) };
    expect(await meet(last.host, last.nameServer)).toBe(true);
    expect(await meet(told, last.nameServer), 'who still shows an old one').toBe(false);
    expect(() => verifyCertificate(new X509Certificate(old.host.certificatePem), keeper.certificates, clock)).toThrow('not issued by this cluster');
  });

  it('goes on from what was saved, whenever it was killed, and takes no step twice', async () => {
    let keeper = await begin();
    await Promise.all([keeper.introduce(), keeper.introduce()]);
    for (const step of ['introduce', 'promote', 'promote', 'introduce', 'retire', 'retire'] as const) {
      keeper = open(saved.at(-1)!);
      await keeper[step]();
    }
    expect(saved.map(({ rotation }) => rotation?.phase ?? 'none')).toEqual(['introducing', 'retiring', 'none']);
    expect(changes).toBe(3);
  });

  it('keeps no key of an authority that signs no more', async () => {
    const keeper = await begin();
    await keeper.introduce();
    const keyOfNext = (saved[0]!.rotation as { privateKeyPem: string }).privateKeyPem;
    await keeper.promote();
    expect(saved[1]?.privateKeyPem).toBe(keyOfNext);
    expect(JSON.stringify(saved[1]).match(/PRIVATE KEY/g)).toHaveLength(2); // the first and the last line of one
  });

  it('has not taken a step that could not be saved, and takes it later', async () => {
    const material = await createAuthority({ clusterId: cluster, clusterName: 'test', clock });
    const full = ['the disk is full'];
    const keeper = open({ ...material, rotation: null }, async (state) => {
      const reason = full.pop();
      if (reason !== undefined) throw new Error(reason);
      saved.push(state);
    });
    await expect(keeper.introduce()).rejects.toThrow('the disk is full');
    expect([keeper.phase, keeper.certificates.length, changes]).toEqual(['none', 1, 0]);
    await keeper.introduce();
    expect([keeper.phase, saved.length]).toEqual(['introducing', 1]);
  });
});
