import { createPrivateKey, X509Certificate } from 'node:crypto';
import { CompactSign } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Credentials } from './credentials.ts';
import { createTestCluster, type TestCluster } from './test-cluster.ts';
import { issueTicket, verifyTicket, type TicketClaims, type TicketExpectations } from './ticket.ts';

let clock: ManualClock;
let cluster: TestCluster;
let nameServer: Credentials;
let claims: TicketClaims;
let expectations: TicketExpectations;

beforeAll(async () => {
  clock = new ManualClock();
  cluster = await createTestCluster(clock);
  nameServer = await cluster.credentialsFor(cluster.nameServer);
  const [source, destination] = [newIdentifier('hst'), newIdentifier('hst')];
  const [id, move, volume] = [newIdentifier('tkt'), newIdentifier('mov'), newIdentifier('vol')];
  claims = { id, move, volume, epoch: 3, source, destination, expires: clock.wallMilliseconds() + 60_000 };
  expectations = { authorities: nameServer.authorities, clock, source, destination };
});

const refusal = (reason: string) => ({ code: 'forbidden', message: expect.stringContaining(reason) });

describe('a ticket', () => {
  it('gives its claims to the host it is for', async () => {
    expect(await verifyTicket(await issueTicket(nameServer, claims), expectations)).toEqual(claims);
  });

  it('is refused for other hosts, and from its expiry on', async () => {
    const token = await issueTicket(nameServer, claims);
    const other = newIdentifier('hst');
    await expect(verifyTicket(token, { ...expectations, source: other })).rejects.toMatchObject(refusal('another source'));
    await expect(verifyTicket(token, { ...expectations, destination: other })).rejects.toMatchObject(refusal('another destination'));
    await expect(verifyTicket(token, { ...expectations, clock: new ManualClock(claims.expires) })).rejects.toMatchObject(refusal('expired'));
  });

  it('is refused when any part of it was changed', async () => {
    const parts = (await issueTicket(nameServer, claims)).split('.');
    const changed = Buffer.from(JSON.stringify({ ...claims, volume: newIdentifier('vol') })).toString('base64url');
    const none = Buffer.from(JSON.stringify({ alg: 'none', typ: 'supercargo-transfer' })).toString('base64url');
    const tampered = [
      `${parts[0]}.${changed}.${parts[2]}`,
      `${none}.${parts[1]}.`,
      `${none}.${parts[1]}.${parts[2]}`,
      '',
      'a.b.c',
      'x'.repeat(10_000),
    ];
    for (const token of tampered) await expect(verifyTicket(token, expectations)).rejects.toMatchObject(refusal('not signed'));
  });

  it('is refused from a host, from a foreign name server, and from one whose certificate has expired', async () => {
    const host = await cluster.credentialsFor(cluster.newHost());
    const foreign = await createTestCluster(clock, cluster.id);
    const stranger = await foreign.credentialsFor(foreign.nameServer);
    const expired = await cluster.credentialsFor(cluster.nameServer, {
      clock: new ManualClock(clock.wallMilliseconds() - 60_000),
      lifetimeMilliseconds: 1,
    });
    for (const signer of [host, stranger, expired]) {
      await expect(verifyTicket(await issueTicket(signer, claims), expectations)).rejects.toMatchObject(refusal('not signed'));
    }
  });

  it('is refused with the certificate of the name server but the key of another', async () => {
    const { privateKeyPem } = await cluster.credentialsFor(cluster.newHost());
    const token = await issueTicket({ ...nameServer, privateKeyPem }, claims);
    await expect(verifyTicket(token, expectations)).rejects.toMatchObject(refusal('not signed'));
  });

  it('is refused when it is something else that the name server signed', async () => {
    const x5c = [new X509Certificate(nameServer.certificatePem).raw.toString('base64')];
    const sign = (payload: unknown, typ: string) =>
      new CompactSign(Buffer.from(JSON.stringify(payload)))
        .setProtectedHeader({ alg: 'ES256', typ, x5c })
        .sign(createPrivateKey(nameServer.privateKeyPem));
    await expect(verifyTicket(await sign(claims, 'supercargo-other'), expectations)).rejects.toMatchObject(refusal('not signed'));
    await expect(verifyTicket(await sign({ ...claims, epoch: undefined }, 'supercargo-transfer'), expectations)).rejects.toMatchObject(
      refusal('not signed'),
    );
    expect(await verifyTicket(await sign(claims, 'supercargo-transfer'), expectations)).toEqual(claims); // so it was these
  });
});
