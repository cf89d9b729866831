import { X509Certificate } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { SerialQueue } from '../agent/serial-queue.ts';
import { SupercargoError } from '../model/errors.ts';
import { loadCredentials, saveCredentials } from '../pki/credentials-file.ts';
import { CredentialsHolder } from '../pki/credentials.ts';
import type { Credentials } from '../pki/credentials.ts';
import { clusterOf } from '../pki/identity.ts';
import { createKeyAndRequest } from '../pki/request.ts';
import type { KeyAndRequest } from '../pki/request.ts';
import { fingerprintOf } from '../pki/verification.ts';
import type { TrustReport } from '../protocol/certificate-routes.ts';
import type { Client } from '../protocol/client.ts';
import type { Routes } from '../protocol/routes.ts';
import { loadJson, saveJson } from './state-directory.ts';
import type { StateDirectory } from './state-directory.ts';

const pendingRequest = z.object({ privateKeyPem: z.string(), requestPem: z.string() });

/** The credentials of a host: on its disk first, then in use. */
export class HostCredentials {
  readonly holder: CredentialsHolder;
  readonly #directory: string;
  readonly #cluster: string;
  /** What is changed of them is changed one after the other: nothing may be put back by whoever had looked before. */
  readonly #changes = new SerialQueue();

  private constructor(directory: string, cluster: string, credentials: Credentials) {
    this.#directory = directory;
    this.#cluster = cluster;
    this.holder = new CredentialsHolder(credentials);
  }

  /** @throws wrong-state if there are none */
  static async open(directory: StateDirectory, cluster: string): Promise<HostCredentials> {
    const credentials = await loadCredentials(directory.agent);
    if (credentials !== undefined) return new HostCredentials(directory.agent, cluster, credentials);
    throw new SupercargoError('wrong-state', 'This host has no certificate.', {
      hint: 'Join the cluster again: supercargo invite on the first host prints how.',
    });
  }

  /** A new key each time: a key that leaked is worth little for long. */
  async renew(client: Client<Routes>): Promise<void> {
    const { privateKeyPem, requestPem } = await this.#nextKey();
    const { certificate, authorities } = await client.renewCertificate({ body: { request: requestPem } });
    await this.#change(() => ({ privateKeyPem, certificatePem: certificate, authorities }));
    await rm(this.#pendingPath, { force: true });
  }

  report(): TrustReport {
    const { certificatePem, authorities } = this.holder.current;
    const certificate = new X509Certificate(certificatePem);
    const issuer = authorities.find((pem) => certificate.verify(new X509Certificate(pem).publicKey));
    return { authorities: authorities.map(fingerprintOf), issuer: issuer === undefined ? null : fingerprintOf(issuer) };
  }

  /** Trusts what the name server says that the cluster trusts. @throws unauthenticated if one of them is of another cluster */
  async follow(authorities: readonly string[]): Promise<void> {
    if (authorities.some((pem) => clusterOf(new X509Certificate(pem)) !== this.#cluster)) {
      throw new SupercargoError('unauthenticated', 'The name server named an authority of another cluster.');
    }
    await this.#change((current) => ({ ...current, authorities }));
  }

  get #pendingPath(): string {
    return join(this.#directory, 'renewing.json');
  }

  /** Kept from the first try on: a certificate can be renewed once, and whoever lost the answer has to ask for the same key again. */
  async #nextKey(): Promise<KeyAndRequest> {
    const pending = await loadJson(this.#pendingPath, pendingRequest);
    if (pending !== undefined && pending.privateKeyPem !== this.holder.current.privateKeyPem) return pending;
    const made = await createKeyAndRequest();
    await saveJson(this.#pendingPath, made);
    return made;
  }

  #change(decide: (current: Credentials) => Credentials): Promise<void> {
    return this.#changes.run(async () => {
      const credentials = decide(this.holder.current);
      await saveCredentials(this.#directory, credentials);
      this.holder.replace(credentials);
    });
  }
}
