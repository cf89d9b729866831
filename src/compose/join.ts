import { X509Certificate } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join as joinPath } from 'node:path';
import { z } from 'zod';
import type { JoinOptions, JoinSummary } from '../cli/dependencies.ts';
import { SupercargoError } from '../model/errors.ts';
import { checkName } from '../model/names.ts';
import { clusterOf } from '../pki/identity.ts';
import { createKeyAndRequest } from '../pki/request.ts';
import { clientTlsOptions, fetchAuthority } from '../pki/tls.ts';
import { createClient } from '../protocol/client.ts';
import { routes } from '../protocol/routes.ts';
import { splitAddress, tlsTransport } from '../protocol/transport.ts';
import { loadHostFile, loadJson, openStateDirectory, saveJson } from './state-directory.ts';
import type { StateDirectory } from './state-directory.ts';
import { defaultPorts, keepIdentity } from './up.ts';

const pendingKey = z.object({ privateKeyPem: z.string(), requestPem: z.string() });

/** Enrols this host in a cluster. If it was cut off in the middle, the same command can be given again. */
export async function join(options: JoinOptions): Promise<JoinSummary> {
  const directory = await openStateDirectory(options.stateDirectory);
  const present = await loadHostFile(directory);
  const name = checkName('host', options.name);
  const target = splitAddress(options.joinAddress);
  const authority = await fetchAuthority({ ...target, fingerprint: options.caFingerprint });
  const cluster = clusterOf(new X509Certificate(authority));
  if (present !== undefined && present.cluster.id !== cluster) {
    throw new SupercargoError('wrong-state', `This host belongs to cluster "${present.cluster.name}" already, as "${present.name}".`, {
      hint: 'supercargo up runs it.',
    });
  }
  const transport = tlsTransport(
    options.joinAddress,
    () => clientTlsOptions({ authorities: [authority], expectedIdentity: { kind: 'name-server', cluster } }),
    { title: `The name server (${options.joinAddress})`, unreachable: 'name-server-unreachable', hint: 'Check the address, and that it runs.' },
  );
  try {
    const { privateKeyPem, requestPem } = await keyToJoinWith(directory);
    const application = { token: options.token, name, address: `${options.address}:${options.port ?? defaultPorts.agent}`, request: requestPem };
    // One that is a member may come back under its own identity only.
    const body = present === undefined ? application : { ...application, host: present.id };
    const answer = await createClient(routes, transport).join({ body });
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
