import { generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import type { Log } from '../agent/context.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { clusterRecord } from '../model/records.ts';
import type { Cluster } from '../model/records.ts';
import { createAuthority } from '../pki/authority.ts';
import { AuthorityKeeper } from '../pki/authority-keeper.ts';
import { CredentialsHolder } from '../pki/credentials.ts';
import type { Credentials } from '../pki/credentials.ts';
import { nameServerUri } from '../pki/identity.ts';
import type { Clock } from '../ports/clock.ts';
import { loadJson, saveJson } from './state-directory.ts';

/** The authority of the cluster, made once, before anything else of it exists, and what takes its place. Its keys never leave this file. */
const authorityFile = z.object({
  cluster: clusterRecord,
  certificatePem: z.string(),
  privateKeyPem: z.string(),
  rotation: z
    .discriminatedUnion('phase', [
      z.object({ phase: z.literal('introducing'), certificatePem: z.string(), privateKeyPem: z.string() }),
      z.object({ phase: z.literal('retiring'), certificatePem: z.string() }),
    ])
    .nullable()
    .default(null),
});

interface ClusterAuthorityOptions {
  directory: string;
  clusterName: string;
  certificateLifetimeMilliseconds: number;
  clock: Clock;
  log: Log;
}

export interface ClusterAuthority {
  cluster: Cluster;
  keeper: AuthorityKeeper;
  /** The name server's own credentials, which follow the authorities. */
  holder: CredentialsHolder;
  /** Renews them. */
  renew(): Promise<void>;
}

/** Opens the authority of the cluster, or makes both. */
export async function openClusterAuthority(options: ClusterAuthorityOptions): Promise<ClusterAuthority> {
  const path = join(options.directory, 'authority.json');
  let file = await loadJson(path, authorityFile);
  if (file === undefined) {
    const createdAt = new Date(options.clock.wallMilliseconds()).toISOString();
    const cluster: Cluster = { id: newIdentifier('clu'), name: options.clusterName, createdAt };
    const made = await createAuthority({ clusterId: cluster.id, clusterName: cluster.name, clock: options.clock });
    file = { cluster, ...made, rotation: null };
    await saveJson(path, file);
    options.log.info({ cluster: cluster.name, id: cluster.id }, 'made a new cluster and its authority');
  }
  const { cluster } = file;
  const keeper = new AuthorityKeeper({
    state: file,
    clusterId: cluster.id,
    clusterName: cluster.name,
    clock: options.clock,
    save: (state) => saveJson(path, { cluster, ...state }),
    onChange: () => renew(),
  });
  const issue = (): Promise<Credentials> => issueOwnCredentials(keeper, cluster, options.certificateLifetimeMilliseconds);
  const holder = new CredentialsHolder(await issue());
  const renew = async (): Promise<void> => holder.replace(await issue());
  return { cluster, keeper, holder, renew };
}

/** The name server's own key lives in memory only: the authority is beside it, so a new one a start costs nothing. */
async function issueOwnCredentials({ signing, certificates }: AuthorityKeeper, cluster: Cluster, lifetimeMilliseconds: number): Promise<Credentials> {
  const { publicKey, privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  const certificatePem = await signing.issueForKey(publicKey, { subjectUri: nameServerUri(cluster.id), lifetimeMilliseconds });
  return { certificatePem, privateKeyPem: privateKey, authorities: certificates };
}
