import { createHash } from 'node:crypto';
import { z } from 'zod';
import { SupercargoError } from '../model/errors.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { checkName } from '../model/names.ts';
import { clusterRecord, identifier, timestamp } from '../model/records.ts';
import type { Cluster, Host } from '../model/records.ts';
import { hashSecret, newJoinToken, parseJoinToken, secretMatches } from '../pki/join-token.ts';
import { splitAddress } from '../protocol/transport.ts';
import type { JoinAnswer, Routes } from '../protocol/routes.ts';
import type { Handlers } from '../protocol/server.ts';
import { callingHost } from './hosts.ts';
import { findHost, nameEntry } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './repository.ts';
import type { Transaction } from './repository.ts';

const inviteRecord = z.object({
  id: identifier,
  secretHash: z.string().describe('SHA-256 of the secret, hexadecimal; the secret itself is never stored.'),
  expiresAt: timestamp,
  usedBy: z.object({ host: identifier, requestHash: z.string() }).nullable(),
});
type Invite = z.infer<typeof inviteRecord>;

export interface HostApplication {
  name: string;
  address: string;
  request: string;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

export function enrolmentHandlers(context: NameServerContext): Pick<Handlers<Routes>, 'createInvite' | 'join' | 'renewCertificate'> {
  const { repository, clock, issuer } = context;
  return {
    createInvite: async ({ body }) => {
      const { id, secret, text } = newJoinToken();
      const expiresAt = new Date(clock.wallMilliseconds() + body.lifetimeMilliseconds).toISOString();
      const invite: Invite = { id, secretHash: hashSecret(secret), expiresAt, usedBy: null };
      await repository.transact(async (transaction) => {
        transaction.put(keys.invite(id), invite);
        transaction.record('host.invited', id, 'operator', `A join token was made; it expires at ${expiresAt}.`);
      });
      return { token: text, expiresAt, joinAddress: context.joinAddress, fingerprint: issuer.fingerprint() };
    },
    join: async ({ body }) => {
      const applicant = newHost(context, body);
      // The certificate is made first: a request that cannot be granted must not use the token up.
      await issuer.issueHostCertificate(applicant.id, body.request);
      const host = await repository.transact(async (transaction) => {
        const earlier = await useInvite(context, transaction, body, applicant);
        if (earlier !== null) return earlier;
        await addHost(transaction, applicant);
        return applicant;
      });
      return joinAnswerOf(context, host, await issuer.issueHostCertificate(host.id, body.request));
    },
    renewCertificate: async ({ body }, request) => {
      const id = callingHost(request);
      await findHost(repository, id);
      return { certificate: await issuer.issueHostCertificate(id, body.request), authorities: issuer.authorities() };
    },
  };
}

/**
 * Makes the cluster record on the first start, or finds it.
 * @returns the cluster that this store belongs to
 */
export async function ensureCluster(context: NameServerContext, cluster: Cluster): Promise<Cluster> {
  return context.repository.transact(async (transaction) => {
    const existing = await transaction.get(keys.cluster, clusterRecord);
    if (existing !== undefined) return existing;
    transaction.put(keys.cluster, cluster);
    transaction.record('cluster.created', cluster.name, 'operator', `Cluster "${cluster.name}" was made.`);
    return cluster;
  });
}

/** Enrols the host that the name server itself runs on: no token is needed where the authority's key lives. */
export async function enrolLocalHost(context: NameServerContext, application: HostApplication): Promise<JoinAnswer> {
  const host = newHost(context, application);
  const certificate = await context.issuer.issueHostCertificate(host.id, application.request);
  await context.repository.transact((transaction) => addHost(transaction, host));
  return joinAnswerOf(context, host, certificate);
}

function newHost(context: NameServerContext, application: HostApplication): Host {
  splitAddress(application.address);
  return {
    id: newIdentifier('hst', context.random),
    name: checkName('host', application.name),
    address: application.address,
    version: '',
    pool: null,
    joinedAt: context.repository.now(),
  };
}

async function addHost(transaction: Transaction, host: Host): Promise<void> {
  if ((await transaction.get(keys.hostName(host.name), nameEntry)) !== undefined) {
    throw new SupercargoError('already-exists', `There is a host "${host.name}" already.`, {
      hint: 'Give this one another name: supercargo join --name NAME …',
    });
  }
  transaction.put(keys.hostName(host.name), { id: host.id });
  transaction.put(keys.host(host.id), host);
  transaction.record('host.joined', host.name, host.name, `Host "${host.name}" (${host.address}) joined.`);
}

/**
 * Uses the token up. A host that crashed before it could keep the answer asks again with the same key: it gets the same identity again.
 * @returns the host that this very request made before, or null
 * @throws invalid-token
 */
async function useInvite(context: NameServerContext, transaction: Transaction, application: HostApplication & { token: string }, host: Host): Promise<Host | null> {
  const { id, secret } = parseJoinToken(application.token);
  const invite = await transaction.get(keys.invite(id), inviteRecord);
  const requestHash = sha256(application.request);
  const unspent = invite !== undefined && secretMatches(secret, invite.secretHash) && (invite.usedBy === null || invite.usedBy.requestHash === requestHash);
  if (!unspent || Date.parse(invite.expiresAt) <= context.clock.wallMilliseconds()) {
    // One answer for wrong, used and expired: a guesser learns nothing.
    throw new SupercargoError('invalid-token', 'The join token is wrong, was used, or has expired.', {
      hint: 'Make a new one on the first host: supercargo invite',
    });
  }
  if (invite.usedBy !== null) return findHost(transaction, invite.usedBy.host);
  transaction.put(keys.invite(id), { ...invite, usedBy: { host: host.id, requestHash } });
  return null;
}

async function joinAnswerOf(context: NameServerContext, host: Host, certificate: string): Promise<JoinAnswer> {
  const cluster = await context.repository.get(keys.cluster, clusterRecord);
  if (cluster === undefined) throw new SupercargoError('internal', 'The cluster record is missing.');
  return { cluster, host, certificate, authorities: context.issuer.authorities(), nameServer: context.address };
}
