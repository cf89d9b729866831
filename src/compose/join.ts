import { X509Certificate } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join as joinPath } from 'node:path';
import { z } from 'zod';
import type { JoinOptions, JoinSummary } from '../cli/dependencies.ts';
import { SupercargoError } from '../model/errors.ts';
import { checkName } from '../model/names.ts';
import { loadCredentials } from '../pki/credentials-file.ts';
import { clusterOf } from '../pki/identity.ts';
import { createKeyAndRequest } from '../pki/request.ts';
import { clientTlsOptions, fetchAuthority } from '../pki/tls.ts';
import { createClient } from '../protocol/client.ts';
import { routes } from '../protocol/routes.ts';
import { splitAddress, tlsTransport } from '../protocol/transport.ts';
import { systemClock } from '../system/clock.ts';
import { loadHostFile, loadJson, openStateDirectory, saveJson } from './state-directory.ts';
import type { StateDirectory } from './state-directory.ts';
import { defaultPorts, keepIdentity } from './up.ts';

const pendingKey = z.object({ privateKeyPem: z.string(), requestPem: z.string() });

/** Enrols this host in a cluster. If it was cut off in the middle, the same command can be given again. */
export async function join(options: JoinOptions): Promise<JoinSummary> {
  const directory = await openStateDirectory(options.stateDirectory);
  const present = await loadHostFile(directory);
  if (present !== undefined && !(await hasExpired(directory))) {
    throw new SupercargoError('wrong-state', `This host belongs to cluster "${present.cluster.name}" already, as "${present.name}".`, {
      hint: 'supercargo up runs it.',
    });
  }
  const name = checkName('host', options.name);
  const target = splitAddress(options.joinAddress);
  const authority = await fetchAuthority({ ...target, fingerprint: options.caFingerprint });
  const cluster = clusterOf(new X509Certificate(authority));
  const transport = tlsTransport(
    options.joinAddress,
    () => clientTlsOptions({ authorities: [authority], expectedIdentity: { kind: 'name-server', cluster } }),
    { title: `The name server (${options.joinAddress})`, unreachable: 'name-server-unreachable', hint: 'Check the address, and that it runs.' },
  );
  try {
    const { privateKeyPem, requestPem } = await keyToJoinWith(directory);
    const answer = await createClient(routes, transport).join({
      body: { token: options.token, name, address: `${options.address}:${options.port ?? defaultPorts.agent}`, request: requestPem },
    });
    if (present !== undefined && answer.host.id !== present.id) {
      throw new SupercargoError('wrong-state', `This host is "${present.name}" of cluster "${present.cluster.name}", but the token is for another.`, {
        hint: `Make one for it on the first host: supercargo invite --host ${present.name}`,
      });
    }
    await keepIdentity(directory, answer, privateKeyPem, present?.poolDevice ?? null);
    await rm(pendingPath(directory), { force: true });
    return { cluster: answer.cluster.name, host: answer.host.name };
  } finally {
    transport.close();
  }
}

const pendingPath = (directory: StateDirectory): string => joinPath(directory.agent, 'joining.json');

/** Kept from the first try on: the name server answers a repeated request with the same key, and only that one. */
async function keyToJoinWith(directory: StateDirectory): Promise<z.infer<typeof pendingKey>> {
  const path = pendingPath(directory);
  const pending = await loadJson(path, pendingKey);
  if (pending !== undefined) return pending;
  const made = await createKeyAndRequest();
  await saveJson(path, made);
  return made;
}

/** A host that was away for longer than its certificate lives may join again, under its own identity only. */
async function hasExpired(directory: StateDirectory): Promise<boolean> {
  const credentials = await loadCredentials(directory.agent);
  return credentials === undefined || new X509Certificate(credentials.certificatePem).validToDate.getTime() <= systemClock.wallMilliseconds();
}
