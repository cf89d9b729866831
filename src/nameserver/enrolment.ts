import { z } from 'zod';
import { SupercargoError } from '../model/errors.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { checkName } from '../model/names.ts';
import { clusterRecord, hostRecord, identifier, timestamp } from '../model/records.ts';
import type { Cluster, Host } from '../model/records.ts';
import type { Clock } from '../ports/clock.ts';
import { hashSecret, newJoinToken, parseJoinToken, secretMatches } from '../pki/join-token.ts';
import { splitAddress } from '../protocol/transport.ts';
import type { JoinAnswer, Routes } from '../protocol/routes.ts';
import type { Handlers } from '../protocol/server.ts';
import { answerAgain, certificatesOf, issueAnew, issueNext, renewCertificate, sha256 } from './host-certificates.ts';
import { callingHost } from './hosts.ts';
import { findHost, nameEntry } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import type { Transaction } from './repository.ts';

const inviteRecord = z.object({
  id: identifier,
  secretHash: z.string().describe('SHA-256 of the secret, hexadecimal; the secret itself is never stored.'),
  expiresAt: timestamp,
  rejoins: identifier.nullable().describe('The host that lost its certificate and is to get it back; null for a new host.'),
  usedBy: z.object({ host: identifier, requestHash: z.string() }).nullable(),
});
type Invite = z.infer<typeof inviteRecord>;

export interface HostApplication {
  name: string;
  address: string;
  request: string;
}

type JoinApplication = HostApplication & { token: string; host?: string | undefined };

/** Whether a single-use token can be used now: by whoever knows its secret, once, or again with the very request (the answer was lost). */
export function isUsable(
  token: { secretHash: string; expiresAt: string; usedBy: { requestHash: string } | null },
  secret: string,
  request: string,
  clock: Clock,
): boolean {
  const unspent = token.usedBy === null || token.usedBy.requestHash === sha256(request);
  return secretMatches(secret, token.secretHash) && unspent && Date.parse(token.expiresAt) > clock.wallMilliseconds();
}

export function invalidToken(kind: 'join' | 'login', remedy: string): SupercargoError {
  return new SupercargoError('invalid-token', `The ${kind} token is wrong, was used, or has expired.`, {
    hint: `Make a new one on the first host: ${remedy}`,
  });
}

export function enrolmentHandlers(context: NameServerContext): Pick<Handlers<Routes>, 'createInvite' | 'join' | 'renewCertificate'> {
  const { repository, clock, issuer } = context;
  return {
    createInvite: async ({ body }) => {
      const { id, secret, text } = newJoinToken();
      const expiresAt = new Date(clock.wallMilliseconds() + body.lifetimeMilliseconds).toISOString();
      await repository.transact(async (transaction) => {
        const host = body.host === undefined ? null : await findHost(transaction, body.host);
        const invite: Invite = { id, secretHash: hashSecret(secret), expiresAt, rejoins: host?.id ?? null, usedBy: null };
        transaction.put(keys.invite(id), invite);
        const purpose = host === null ? 'a new host' : `host "${host.name}" to come back`;
        transaction.record('host.invited', host?.name ?? id, 'operator', `A join token was made for ${purpose}; it expires at ${expiresAt}.`);
      });
      return { token: text, expiresAt, joinAddress: context.joinAddress, fingerprint: issuer.fingerprint() };
    },
    join: async ({ body }) => {
      const applicant = newHost(context, body);
      // Looked at first, so that a guest without a token costs nothing.
      await checkInvite(context, repository, body);
      const { host, certificate } = await repository.transact((transaction) => spendInvite(context, transaction, body, applicant));
      return joinAnswerOf(context, host, certificate);
    },
    renewCertificate: async ({ body }, request) => ({
      certificate: await renewCertificate(context, callingHost(request), request.certificate, body.request),
      authorities: issuer.authorities(),
    }),
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

/**
 * Enrols the host that the name server itself runs on, or gives it a new certificate: no token is needed where the authority's key lives.
 * @param id the host's identifier, if it has one already
 */
export async function enrolLocalHost(context: NameServerContext, application: HostApplication, id: string | null): Promise<JoinAnswer> {
  const applicant = newHost(context, application);
  const { host, certificate } = await context.repository.transact(async (transaction) => {
    const enrolled = id === null ? await findOrAdd(transaction, applicant) : await findHost(transaction, id);
    return { host: enrolled, certificate: await issueNext(context, transaction, enrolled.id, application.request) };
  });
  context.localHost = host.id;
  return joinAnswerOf(context, host, certificate);
}

async function findOrAdd(transaction: Transaction, applicant: Host): Promise<Host> {
  // Enrolled by a start that was killed before it could keep its identity: it never had a session.
  const named = await transaction.get(keys.hostName(applicant.name), nameEntry);
  const unfinished = named === undefined ? undefined : await transaction.get(keys.host(named.id), hostRecord);
  if (unfinished?.version === '') return unfinished;
  await addHost(transaction, applicant);
  return applicant;
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
    state: 'active',
    labels: {},
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

/** The invitation that a token stands for. @throws invalid-token: one answer for wrong, used and expired, so that a guesser learns nothing */
async function checkInvite(context: NameServerContext, reader: Pick<Transaction, 'get'>, application: JoinApplication): Promise<Invite> {
  const { id, secret } = parseJoinToken(application.token);
  const invite = await reader.get(keys.invite(id), inviteRecord);
  if (invite === undefined || !isUsable(invite, secret, application.request, context.clock)) throw invalidToken('join', 'supercargo invite');
  if (application.host !== undefined && application.host !== invite.rejoins) {
    throw new SupercargoError('wrong-state', 'This host belongs to the cluster already, and the token is not for it.', {
      hint: 'supercargo up runs it. To give it new keys, make a token for it on the first host: supercargo invite --host NAME',
    });
  }
  return invite;
}

/**
 * Uses the token up for a new host, or for one that comes back under its old identity and so keeps its volumes. A request that cannot be granted does not
 * use it up.
 */
async function spendInvite(
  context: NameServerContext,
  transaction: Transaction,
  application: JoinApplication,
  applicant: Host,
): Promise<{ host: Host; certificate: string }> {
  const invite = await checkInvite(context, transaction, application);
  if (invite.usedBy !== null) return answerJoinAgain(context, transaction, invite.usedBy.host, application.request);
  let host = applicant;
  if (invite.rejoins === null) await addHost(transaction, applicant);
  else {
    host = { ...(await findHost(transaction, invite.rejoins)), address: applicant.address };
    transaction.put(keys.host(host.id), host);
    transaction.record('host.rejoined', host.name, host.name, `Host "${host.name}" (${host.address}) got a new certificate.`);
  }
  transaction.put(keys.invite(invite.id), { ...invite, usedBy: { host: host.id, requestHash: sha256(application.request) } });
  return { host, certificate: await issueAnew(context, transaction, host.id, application.request) };
}

/** @throws invalid-token if the host has renewed its certificate since: then it had its answer */
async function answerJoinAgain(
  context: NameServerContext,
  transaction: Transaction,
  id: string,
  request: string,
): Promise<{ host: Host; certificate: string }> {
  const certificate = answerAgain(context, await certificatesOf(transaction, id), request);
  if (certificate === undefined) throw invalidToken('join', 'supercargo invite');
  return { host: await findHost(transaction, id), certificate };
}

async function joinAnswerOf(context: NameServerContext, host: Host, certificate: string): Promise<JoinAnswer> {
  const cluster = await context.repository.get(keys.cluster, clusterRecord);
  if (cluster === undefined) throw new SupercargoError('internal', 'The cluster record is missing.');
  return { cluster, host, certificate, authorities: context.issuer.authorities(), nameServer: context.address };
}
