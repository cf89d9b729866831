import { X509Certificate, createPublicKey } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import { clusterOf, hostUri, identityOf, nameServerUri, parseIdentity } from './identity.ts';
import { renewalDue, renewalTime } from './renewal.ts';
import { createKeyAndRequest } from './request.ts';
import { createTestCluster, type TestCluster } from './test-cluster.ts';
import { verifyCertificate, verifyFingerprint } from './verification.ts';
import { loadX509, signingAlgorithm } from './x509.ts';

const hour = 3_600_000;
let clock: ManualClock;
let cluster: TestCluster;

beforeAll(async () => {
  clock = new ManualClock();
  cluster = await createTestCluster(clock);
});

function issueFor(requestPem: string, subjectUri: string): Promise<string> {
  return cluster.authority.issueForRequest(requestPem, { subjectUri, lifetimeMilliseconds: hour });
}

describe('an authority', () => {
  it('is an authority for its own cluster, for ten years, without authorities below it', () => {
    const certificate = new X509Certificate(cluster.authority.certificatePem);
    expect(certificate.ca).toBe(true);
    expect(clusterOf(certificate)).toBe(cluster.id);
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    expect(certificate.validToDate.getUTCFullYear()).toBe(2036);
    expect(cluster.authority.fingerprint).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(verifyFingerprint(cluster.authority.certificatePem, cluster.authority.fingerprint.toUpperCase())).toBe(true);
    expect(verifyFingerprint(cluster.authority.certificatePem, cluster.authority.fingerprint.replace(/.$/, 'x'))).toBe(false);
  });

  it('issues what it was told, for the key of the request', async () => {
    const host = cluster.newHost();
    const { privateKeyPem, requestPem } = await createKeyAndRequest();
    const certificate = new X509Certificate(await issueFor(requestPem, hostUri(cluster.id, host.id)));
    expect(identityOf(certificate)).toEqual(host);
    expect(certificate.publicKey.equals(createPublicKey(privateKeyPem))).toBe(true);
    expect(certificate.validFromDate.getTime()).toBe(clock.wallMilliseconds() - 5 * 60_000);
    expect(certificate.validToDate.getTime()).toBe(clock.wallMilliseconds() + hour);
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    expect(certificate.ca).toBe(false);
    expect(verifyCertificate(certificate, [cluster.authority.certificatePem], clock)).toEqual(host);
  });

  it('copies no name from a request', async () => {
    const x509 = await loadX509();
    const keys = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
    const request = await x509.Pkcs10CertificateRequestGenerator.create({
      name: 'CN=admin',
      keys,
      signingAlgorithm,
      extensions: [
        new x509.SubjectAlternativeNameExtension([{ type: 'url', value: nameServerUri(cluster.id) }]),
        new x509.BasicConstraintsExtension(true),
      ],
    });
    const host = cluster.newHost();
    const certificate = new X509Certificate(await issueFor(request.toString('pem'), hostUri(cluster.id, host.id)));
    expect([certificate.subject, certificate.subjectAltName, certificate.ca]).toEqual([
      `CN=${host.id}`,
      `URI:${hostUri(cluster.id, host.id)}`,
      false,
    ]);
  });

  it('refuses a request whose signature is not by its key', async () => {
    const x509 = await loadX509();
    const { requestPem } = await createKeyAndRequest();
    const der = Buffer.from(new x509.Pkcs10CertificateRequest(requestPem).rawData);
    der[der.length - 1] = (der.at(-1) ?? 0) ^ 1;
    const broken = new x509.Pkcs10CertificateRequest(der).toString('pem');
    await expect(issueFor(broken, nameServerUri(cluster.id))).rejects.toMatchObject({
      code: 'invalid-request',
      message: expect.stringContaining('signature'),
    });
  });

  it('refuses what is no request, and keys that are not P-256', async () => {
    const x509 = await loadX509();
    const keys = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-384' }, true, ['sign', 'verify']);
    const request = await x509.Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm });
    for (const text of [request.toString('pem'), '', 'x'.repeat(100_000), cluster.authority.certificatePem]) {
      await expect(issueFor(text, nameServerUri(cluster.id))).rejects.toMatchObject({ code: 'invalid-request' });
    }
  });

  it('issues for its own cluster only, and never beyond its own end', async () => {
    const { requestPem } = await createKeyAndRequest();
    await expect(issueFor(requestPem, nameServerUri(newIdentifier('clu')))).rejects.toMatchObject({ code: 'invalid-request' });
    const options = { subjectUri: nameServerUri(cluster.id), lifetimeMilliseconds: 20 * 365 * 24 * hour };
    const certificate = new X509Certificate(await cluster.authority.issueForRequest(requestPem, options));
    expect(certificate.validTo).toBe(new X509Certificate(cluster.authority.certificatePem).validTo);
  });

  it('gives every certificate its own serial number', async () => {
    const issued = await Promise.all(Array.from({ length: 20 }, () => cluster.credentialsFor(cluster.nameServer)));
    const serials = issued.map(({ certificatePem }) => new X509Certificate(certificatePem).serialNumber);
    expect(new Set(serials).size).toBe(20);
    expect(serials.every((serial) => serial.length === 32)).toBe(true);
  });
});

describe('verification of a certificate', () => {
  const verify = (pem: string, at: ManualClock = clock) => verifyCertificate(new X509Certificate(pem), [cluster.authority.certificatePem], at);

  it('refuses another authority of the same name', async () => {
    const twin = await createTestCluster(clock, cluster.id);
    const { certificatePem } = await twin.credentialsFor(twin.nameServer);
    expect(() => verify(certificatePem)).toThrow(/not issued by this cluster/);
  });

  it('refuses an authority in the place of its own subject', () => {
    expect(() => verify(cluster.authority.certificatePem)).toThrow(/not issued by this cluster/);
  });

  it('refuses before the beginning and from the end on', async () => {
    const { certificatePem } = await cluster.credentialsFor(cluster.nameServer);
    const { validFromDate, validToDate } = new X509Certificate(certificatePem);
    expect(() => verify(certificatePem, new ManualClock(validFromDate.getTime() - 1))).toThrow(/valid from/);
    expect(() => verify(certificatePem, new ManualClock(validToDate.getTime()))).toThrow(/valid from/);
    expect(verify(certificatePem, new ManualClock(validToDate.getTime() - 1))).toEqual(cluster.nameServer);
  });

  it('reads only whole URIs of hosts and name servers', () => {
    const [cluster, host] = [newIdentifier('clu'), newIdentifier('hst')];
    expect(parseIdentity(hostUri(cluster, host))).toEqual({ kind: 'host', cluster, id: host });
    expect(parseIdentity(nameServerUri(cluster))).toEqual({ kind: 'name-server', cluster });
    const wrong = ['', `spiffe://${cluster}`, `${nameServerUri(cluster)}/x`, `x${nameServerUri(cluster)}`, `spiffe://${cluster}/host/../name-server`];
    for (const uri of [...wrong, hostUri(cluster, 'hst_1'), nameServerUri(cluster).toUpperCase(), `${nameServerUri(cluster)}\n`]) {
      expect(() => parseIdentity(uri)).toThrow(/nobody/);
    }
  });

  it('reads nothing from a certificate with several names', () => {
    const named = (subjectAltName: string) => identityOf({ subjectAltName } as X509Certificate);
    const [one, other] = [nameServerUri(cluster.id), hostUri(cluster.id, newIdentifier('hst'))];
    expect(named(`URI:${one}`)).toEqual(cluster.nameServer);
    for (const names of [`URI:${one}, URI:${other}`, `DNS:x, URI:${one}`, `URI:"${one}"`, `DNS:${one}`, ''])
      expect(() => named(names)).toThrow(/nobody/);
  });
});

describe('renewal', () => {
  it('is due after a third of the life, later by the jitter', async () => {
    const { certificatePem } = await cluster.credentialsFor(cluster.nameServer, { lifetimeMilliseconds: 24 * hour });
    const issued = clock.wallMilliseconds();
    expect(renewalTime(certificatePem, 0)).toBe(issued + 8 * hour);
    expect(renewalTime(certificatePem, 1)).toBe(issued + 10 * hour);
    expect(renewalDue(certificatePem, new ManualClock(issued + 8 * hour - 1), 0)).toBe(false);
    expect(renewalDue(certificatePem, new ManualClock(issued + 8 * hour), 0)).toBe(true);
  });
});
