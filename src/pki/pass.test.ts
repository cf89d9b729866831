import { createPrivateKey, X509Certificate } from 'node:crypto';
import { CompactSign } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Credentials } from './credentials.ts';
import { issuePass, verifyPass } from './pass.ts';
import type { PassClaims, PassExpectations } from './pass.ts';
import { createTestCluster } from './test-cluster.ts';
import type { TestCluster } from './test-cluster.ts';
import { issueTicket, verifyTicket } from './ticket.ts';

let clock: ManualClock;
let cluster: TestCluster;
let nameServer: Credentials;
let claims: PassClaims;
let expectations: PassExpectations;

beforeAll(async () => {
  clock = new ManualClock();
  cluster = await createTestCluster(clock);
  nameServer = await cluster.credentialsFor(cluster.nameServer);
  claims = {
    pass: newIdentifier('pas'),
    application: newIdentifier('app'),
    host: newIdentifier('hst'),
    uses: 'once',
    expires: clock.wallMilliseconds() + 60_000,
  };
  expectations = { authorities: nameServer.authorities, clock, host: claims.host };
});

const refusal = (reason: string) => ({ code: 'forbidden', message: expect.stringContaining(reason) });
const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const certificateOf = ({ certificatePem }: Credentials): string => new X509Certificate(certificatePem).raw.toString('base64');

function sign(payload: unknown, header: { typ?: string; x5c?: string[] }, { privateKeyPem }: Credentials): Promise<string> {
  return new CompactSign(Buffer.from(JSON.stringify(payload))).setProtectedHeader({ alg: 'ES256', ...header }).sign(createPrivateKey(privateKeyPem));
}

describe('a pass', () => {
  it('gives its claims on the host it is for, and is short enough for a label', async () => {
    const token = await issuePass(nameServer, claims);
    expect(await verifyPass(token, expectations)).toEqual(claims);
    expect(token.length).toBeLessThan(2048);
  });

  it('is refused on another host, and from its expiry on', async () => {
    const token = await issuePass(nameServer, claims);
    await expect(verifyPass(token, { ...expectations, host: newIdentifier('hst') })).rejects.toMatchObject(refusal('another host'));
    await expect(verifyPass(token, { ...expectations, clock: new ManualClock(claims.expires) })).rejects.toMatchObject(refusal('expired'));
  });

  it('is refused when any part of it was changed', async () => {
    const parts = (await issuePass(nameServer, claims)).split('.');
    const tampered = [
      `${parts[0]}.${encode({ ...claims, application: newIdentifier('app') })}.${parts[2]}`,
      `${encode({ alg: 'none', typ: 'supercargo-pass', x5c: [certificateOf(nameServer)] })}.${parts[1]}.`,
      `${parts.join('.')}A`,
      '',
      'x'.repeat(10_000),
    ];
    for (const token of tampered) await expect(verifyPass(token, expectations)).rejects.toMatchObject(refusal('not signed'));
  });

  it('is refused from a host, and from the name server of another cluster', async () => {
    const host = await cluster.credentialsFor(cluster.newHost());
    const foreign = await createTestCluster(clock);
    const namesake = await createTestCluster(clock, cluster.id);
    for (const signer of [host, await foreign.credentialsFor(foreign.nameServer), await namesake.credentialsFor(namesake.nameServer)]) {
      await expect(verifyPass(await issuePass(signer, claims), expectations)).rejects.toMatchObject(refusal('not signed'));
    }
  });

  it('is refused with the certificate of another than the signer, with several, and with none', async () => {
    const host = await cluster.credentialsFor(cluster.newHost());
    const own = certificateOf(nameServer);
    const typ = 'supercargo-pass';
    for (const x5c of [[own], [certificateOf(host)], [certificateOf(host), own], []]) {
      await expect(verifyPass(await sign(claims, { typ, x5c }, host), expectations)).rejects.toMatchObject(refusal('not signed'));
    }
    await expect(verifyPass(await sign(claims, { typ }, nameServer), expectations)).rejects.toMatchObject(refusal('not signed'));
    expect(await verifyPass(await sign(claims, { typ, x5c: [own] }, nameServer), expectations)).toEqual(claims); // so it was these
  });

  it('is refused as anything else than a pass, also with the very claims', async () => {
    const x5c = [certificateOf(nameServer)];
    for (const typ of ['supercargo-transfer', 'supercargo-Pass', '']) {
      await expect(verifyPass(await sign(claims, { typ, x5c }, nameServer), expectations)).rejects.toMatchObject(refusal('not signed'));
    }
    const malformed = [{ ...claims, uses: 'ever' }, { ...claims, more: true }, { ...claims, expires: null }, [claims], null];
    for (const payload of malformed) {
      const token = await sign(payload, { typ: 'supercargo-pass', x5c }, nameServer);
      await expect(verifyPass(token, expectations)).rejects.toMatchObject(refusal('not signed'));
    }
  });

  it('never counts as a ticket, nor a ticket as a pass', async () => {
    const [source, destination] = [claims.host, newIdentifier('hst')];
    const subject = { id: newIdentifier('tkt'), move: newIdentifier('mov'), volume: newIdentifier('vol') };
    const ticketClaims = { ...subject, epoch: 1, source, destination, expires: claims.expires };
    const ticket = await issueTicket(nameServer, ticketClaims);
    await expect(verifyPass(ticket, expectations)).rejects.toMatchObject(refusal('not signed'));
    await expect(verifyTicket(await issuePass(nameServer, claims), { ...expectations, clock, source, destination })).rejects.toMatchObject(
      refusal('not signed'),
    );
    // Nor with the claims of the one under the name of the other.
    const x5c = [certificateOf(nameServer)];
    const disguised = await sign(ticketClaims, { typ: 'supercargo-pass', x5c }, nameServer);
    await expect(verifyPass(disguised, expectations)).rejects.toMatchObject(refusal('not signed'));
  });

  it('is in no error', async () => {
    const token = await issuePass(nameServer, claims);
    const error: unknown = await verifyPass(token, { ...expectations, host: newIdentifier('hst') }).catch((thrown: unknown) => thrown);
    expect(JSON.stringify(error) + String(error)).not.toContain(token.slice(0, 20));
  });
});
