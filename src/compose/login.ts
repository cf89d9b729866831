import { X509Certificate } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { LoginOptions, LoginSummary } from '../cli/dependencies.ts';
import { SupercargoError } from '../model/errors.ts';
import { clusterRecord } from '../model/records.ts';
import { loadCredentials, saveCredentials } from '../pki/credentials-file.ts';
import type { Credentials } from '../pki/credentials.ts';
import { clusterOf } from '../pki/identity.ts';
import { createKeyAndRequest } from '../pki/request.ts';
import { clientTlsOptions, fetchAuthority } from '../pki/tls.ts';
import { createClient } from '../protocol/client.ts';
import { routes } from '../protocol/routes.ts';
import { splitAddress, tlsTransport } from '../protocol/transport.ts';
import type { Transport } from '../protocol/transport.ts';
import { systemClock } from '../system/clock.ts';
import { loadJson, saveJson } from './state-directory.ts';

/** Beside the key and certificate: whom they are for. */
const loginFile = z.object({ cluster: clusterRecord, user: z.string(), nameServer: z.string() });

const fileIn = (directory: string): string => join(directory, 'login.json');

/** Gets a certificate for a key that is made here. */
export async function login(options: LoginOptions): Promise<LoginSummary> {
  const authority = await fetchAuthority({ ...splitAddress(options.address), fingerprint: options.caFingerprint });
  const cluster = clusterOf(new X509Certificate(authority));
  const expectedIdentity = { kind: 'name-server', cluster } as const;
  const transport = tlsTransport(options.address, () => clientTlsOptions({ authorities: [authority], expectedIdentity }), peer(options.address));
  try {
    const { privateKeyPem, requestPem } = await createKeyAndRequest();
    const answer = await createClient(routes, transport).login({ body: { token: options.token, request: requestPem } });
    await saveCredentials(options.directory, { privateKeyPem, certificatePem: answer.certificate, authorities: answer.authorities });
    await saveJson(fileIn(options.directory), { cluster: answer.cluster, user: answer.user.name, nameServer: answer.nameServer });
    return { cluster: answer.cluster.name, user: answer.user.name, until: endOf(answer.certificate).toISOString() };
  } finally {
    transport.close();
  }
}

/** The connection of the user who has logged in here, renewed if half of its time is over; undefined if nobody has. @throws unauthenticated if it has run out */
export async function openLogin(directory: string): Promise<Transport | undefined> {
  const file = await loadJson(fileIn(directory), loginFile);
  const credentials = file === undefined ? undefined : await loadCredentials(directory);
  if (file === undefined || credentials === undefined) return undefined;
  const certificate = new X509Certificate(credentials.certificatePem);
  const now = systemClock.wallMilliseconds();
  const { validFromDate, validToDate } = certificate;
  if (validToDate.getTime() <= now) {
    throw new SupercargoError('unauthenticated', `The login of "${file.user}" ended at ${validToDate.toISOString()}.`, {
      hint: `Ask for a new token: supercargo user invite ${file.user}`,
    });
  }
  const fresh = now - validFromDate.getTime() < validToDate.getTime() - now ? credentials : await renew(directory, file, credentials);
  return connect(file, fresh);
}

export async function logout(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true });
}

function connect({ cluster, nameServer }: z.infer<typeof loginFile>, credentials: Credentials): Transport {
  const expectedIdentity = { kind: 'name-server', cluster: cluster.id } as const;
  return tlsTransport(nameServer, () => clientTlsOptions({ credentials, expectedIdentity }), peer(nameServer));
}

/** The new key is kept before it is used; without an answer the old one goes on. */
async function renew(directory: string, file: z.infer<typeof loginFile>, credentials: Credentials): Promise<Credentials> {
  const transport = connect(file, credentials);
  try {
    const { privateKeyPem, requestPem } = await createKeyAndRequest();
    const { certificate, authorities } = await createClient(routes, transport).renewLogin({ body: { request: requestPem } });
    const renewed = { privateKeyPem, certificatePem: certificate, authorities };
    await saveCredentials(directory, renewed);
    return renewed;
  } finally {
    transport.close();
  }
}

function peer(address: string): Parameters<typeof tlsTransport>[2] {
  return { title: `The name server (${address})`, unreachable: 'name-server-unreachable', hint: 'Check the address, and that it runs.' };
}

function endOf(certificate: string): Date {
  return new X509Certificate(certificate).validToDate;
}
