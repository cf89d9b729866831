import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isSupercargoError } from '../model/errors.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { pruneDenials } from './deny-list.ts';
import { enrolLocalHost } from './enrolment.ts';
import { certificatesOf, renewCertificate } from './host-certificates.ts';
import { TestNameServer, testLifetimeMilliseconds } from './test-name-server.ts';

const hour = 3_600_000;
const denied = { code: 'forbidden', message: expect.stringContaining('denied') };
let store: Store;
let server: TestNameServer;
let h1: string;
let h2: string;

beforeEach(async () => {
  const clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  server = await TestNameServer.start(store, clock);
  h1 = await server.addHost('h1', true);
  h2 = await join('h2', 'request 0');
});

afterEach(() => store.close());

async function join(name: string, request: string, host?: string): Promise<string> {
  const { token } = await server.as(null).createInvite({ body: { lifetimeMilliseconds: 60_000, host } });
  return (await server.as(null).join({ body: { token, name, address: `${name}:7472`, request } })).host.id;
}

/** Serial number of the certificate that was issued last. */
const latest = async (host = h2) => (await certificatesOf(server.context.repository, host))?.latest.serial ?? '';
const renew = (certificate: string, request: string) => server.as(h2, { certificate }).renewCertificate({ body: { request } });
const denials = async () => (await server.as(null).listDenials({})).items;
const events = async () => (await server.as(null).listEvents({ query: { after: 0, limit: 1000 } })).items;
const reaches = (certificate: string) => server.as(h2, { certificate }).listVolumes({});

/** The host renews in good order. @returns serial numbers before and after */
async function renewed(request = 'request 1'): Promise<[string, string]> {
  const before = await latest();
  await renew(before, request);
  return [before, await latest()];
}

describe('a renewal', () => {
  it('from the latest certificate is answered, each time with another one', async () => {
    const serials = [await latest()];
    for (const number of [1, 2, 3]) {
      await renew(serials.at(-1) ?? '', `request ${number}`);
      serials.push(await latest());
    }
    expect(new Set(serials).size).toBe(4);
    for (const serial of serials) await reaches(serial);
    expect(await denials()).toEqual([]);
  });

  it('that is repeated, because its answer was lost, gets the same certificate, also from the one before', async () => {
    const [first, second] = await renewed();
    await renew(first, 'request 1');
    await renew(second, 'request 1');
    expect(await latest()).toBe(second);
    expect(await denials()).toEqual([]);
  });

  it('from one that was renewed already puts the host into quarantine, whoever of the two asks, with an alarm that says what to do', async () => {
    const [first, second] = await renewed();
    await expect(renew(first, 'request of a thief')).rejects.toMatchObject({ code: 'forbidden', message: expect.stringContaining('quarantine') });
    for (const certificate of [first, second]) await expect(reaches(certificate)).rejects.toMatchObject(denied);
    await expect(renew(second, 'request 2')).rejects.toMatchObject(denied);
    expect(await denials()).toMatchObject([{ subject: 'host', value: h2, actor: 'name server' }]);
    const alarm = (await events()).find(({ type }) => type === 'host.quarantined');
    expect(alarm).toMatchObject({ subject: 'h2', message: expect.stringMatching(/^ALARM.*invite --host h2.*host readmit h2/) });
  });

  it('is caught as well when the thief was first, and the host comes second', async () => {
    const own = await latest();
    await renew(own, 'request of a thief');
    await expect(renew(own, 'request 1')).rejects.toMatchObject({ code: 'forbidden' });
    await expect(reaches(await latest())).rejects.toMatchObject(denied);
  });

  it('from one that no record knows, after they were put back from a backup, is answered', async () => {
    await renew('4'.repeat(32), 'request 1');
    expect(await denials()).toEqual([]);
  });

  it('of a denied host gets no certificate, even if its request was let in before', async () => {
    const certificate = await latest();
    await server.as(null).denyHost({ parameters: { host: 'h2' }, body: { reason: 'stolen' } });
    await expect(renewCertificate(server.context, h2, certificate, 'request 1')).rejects.toMatchObject(denied);
  });

  it('forgets certificates that have run out, which cannot be shown any more', async () => {
    await renewed();
    await server.clock.advance(testLifetimeMilliseconds + hour);
    await renew(await latest(), 'request 2');
    expect((await certificatesOf(server.context.repository, h2))?.earlier).toEqual([]);
  });
});

describe('the host of the name server', () => {
  it('gets a new certificate at each start, and goes on with the latest', async () => {
    const before = await latest(h1);
    await enrolLocalHost(server.context, { name: 'h1', address: 'h1:7472', request: 'request of the next start' }, h1);
    expect(await latest(h1)).not.toBe(before);
    await server.as(h1, { certificate: await latest(h1) }).renewCertificate({ body: { request: 'next' } });
    expect(await denials()).toEqual([]);
  });

  it('is not denied as a whole', async () => {
    await expect(server.as(null).denyHost({ parameters: { host: 'h1' }, body: { reason: 'r' } })).rejects.toMatchObject({ code: 'wrong-state' });
  });
});

describe('a host in quarantine', () => {
  let first: string;
  let second: string;

  beforeEach(async () => {
    [first, second] = await renewed();
    const refusal = await renew(first, 'request of a thief').catch((error: unknown) => error);
    if (!isSupercargoError(refusal, 'forbidden')) throw refusal;
  });

  it('comes back with new keys by an invitation, and its old certificates never do', async () => {
    expect(await join('h2', 'request 9', 'h2')).toBe(h2);
    await reaches(await latest());
    for (const certificate of [first, second]) await expect(reaches(certificate)).rejects.toMatchObject(denied);
    await renew(await latest(), 'request 10');
  });

  it('comes back with the latest of its certificates, and no other, when the operator readmits it', async () => {
    const answer = await server.as(null).readmitHost({ parameters: { host: 'h2' }, body: { reason: 'a backup was put back' } });
    expect(answer).toMatchObject({ serial: second, denied: [first] });
    await reaches(second);
    await expect(reaches(first)).rejects.toMatchObject(denied);
    await renew(second, 'request 2');
    expect((await events()).map(({ type }) => type)).toContain('host.readmitted');
  });

  it('is not readmitted once its certificates have run out: it needs new ones', async () => {
    await server.clock.advance(testLifetimeMilliseconds + hour);
    const readmit = server.as(null).readmitHost({ parameters: { host: 'h2' }, body: { reason: 'r' } });
    await expect(readmit).rejects.toMatchObject({ code: 'wrong-state', hint: expect.stringContaining('invite --host h2') });
  });
});

describe('the deny list', () => {
  it('refuses a certificate by its serial number, however it is written, and no other of the host', async () => {
    const [first, second] = await renewed();
    const written = first.toLowerCase().replaceAll(/..(?=.)/g, '$&:');
    await server.as(null).denyCertificate({ parameters: { serial: written }, body: { reason: 'copied' } });
    await expect(reaches(first)).rejects.toMatchObject({ message: expect.stringContaining('copied') });
    await expect(server.as(h2, { certificate: first }).watch({})[Symbol.asyncIterator]().next()).rejects.toMatchObject(denied);
    await reaches(second);
  });

  it('has a host that was removed until its last certificate has run out, and then forgets it', async () => {
    await server.clock.advance(hour);
    await renewed();
    await server.as(null).removeHost({ parameters: { host: 'h2' }, body: { lost: false, abandonVolumes: false } });
    const [denial] = await denials();
    const expiry = server.clock.wallMilliseconds() + testLifetimeMilliseconds;
    expect(denial).toMatchObject({ subject: 'host', value: h2, until: new Date(expiry).toISOString() });
    await server.clock.advance(testLifetimeMilliseconds - 1);
    await pruneDenials(server.context);
    expect(await denials()).toHaveLength(1);
    await server.clock.advance(hour);
    await pruneDenials(server.context);
    expect(await denials()).toEqual([]);
  });

  it('ends the moves that a host takes part in when it is denied, with the reason', async () => {
    const { id } = await server.as(null).createVolume({ body: { name: 'data' } });
    await server.as(h1).claimVolume({ parameters: { volume: id } });
    const { move } = await server.as(h2, { certificate: await latest() }).claimVolume({ parameters: { volume: id } });
    await server.as(null).denyHost({ parameters: { host: 'h2' }, body: { reason: 'stolen' } });
    const ended = await server.as(null).getMove({ parameters: { move: move?.id ?? '' } });
    expect(ended).toMatchObject({ phase: 'aborted', error: { code: 'forbidden', message: expect.stringContaining('"h2" is denied') } });
    expect(await server.as(null).getVolume({ parameters: { volume: id } })).toMatchObject({ placement: { state: 'held', host: h1 } });
  });
});

describe('joining again', () => {
  it('with a token that is not for it does not use the token up', async () => {
    const { token } = await server.as(null).createInvite({ body: { lifetimeMilliseconds: 60_000 } });
    const body = { token, name: 'h3', address: 'h3:7472', request: 'request 3' };
    await expect(server.as(null).join({ body: { ...body, host: h2 } })).rejects.toMatchObject({ code: 'wrong-state' });
    expect((await server.as(null).join({ body })).host.id).not.toBe(h2);
  });

  it('with a request that was answered gives the certificate again, until the host has renewed it', async () => {
    const { token } = await server.as(null).createInvite({ body: { lifetimeMilliseconds: 60_000 } });
    const body = { token, name: 'h3', address: 'h3:7472', request: 'request 3' };
    const { host } = await server.as(null).join({ body });
    const serial = await latest(host.id);
    await server.as(null).join({ body });
    expect(await latest(host.id)).toBe(serial);
    await server.as(host.id, { certificate: serial }).renewCertificate({ body: { request: 'request 4' } });
    await expect(server.as(null).join({ body })).rejects.toMatchObject({ code: 'invalid-token' });
  });
});

it('an unknown host is told that it does not belong, not that it is denied', async () => {
  await expect(server.as(newIdentifier('hst')).listVolumes({})).rejects.toMatchObject({ message: expect.stringContaining('does not belong') });
});
