import { z } from 'zod';
import { userRecord } from '../model/access.ts';
import type { Denial, User } from '../model/access.ts';
import { SupercargoError } from '../model/errors.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { checkName } from '../model/names.ts';
import { clusterRecord, identifier, timestamp } from '../model/records.ts';
import { hashSecret, newJoinToken, parseJoinToken } from '../pki/join-token.ts';
import type { Handlers, RequestContext } from '../protocol/server.ts';
import type { Routes } from '../protocol/routes.ts';
import { invalidToken, isUsable } from './enrolment.ts';
import { sha256 } from './host-certificates.ts';
import { actorName } from './hosts.ts';
import { findProject, findUser, nameEntry } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import type { Transaction } from './repository.ts';

/** How long the certificate of a user counts before it has to be renewed. Milliseconds. */
const loginMilliseconds = 12 * 3_600_000;

const loginRecord = z.object({
  id: identifier,
  secretHash: z.string().describe('SHA-256 of the secret, hexadecimal; the secret itself is never stored.'),
  expiresAt: timestamp,
  user: identifier,
  usedBy: z.object({ requestHash: z.string() }).nullable(),
});
type Login = z.infer<typeof loginRecord>;

type UserRoutes = 'listUsers' | 'createUser' | 'updateUser' | 'deleteUser' | 'createLogin' | 'login' | 'renewLogin' | 'whoAmI';

export function userHandlers(context: NameServerContext): Pick<Handlers<Routes>, UserRoutes> {
  const { repository, issuer } = context;
  return {
    listUsers: async () => ({ items: (await repository.list(keys.users, userRecord)).sort((a, b) => a.name.localeCompare(b.name)) }),
    createUser: async ({ body }, request) => createUser(context, body, await actorName(context, request)),
    updateUser: async ({ parameters, body }, request) => {
      const actor = await actorName(context, request);
      return repository.transact(async (transaction) => {
        const user = await findUser(transaction, parameters.user);
        const role = body.role ?? user.role;
        const project = body.project === undefined ? user.project : await projectOf(transaction, body.project);
        const changed = checkRole({ ...user, role, project });
        if (changed.role === user.role && changed.project === user.project) return user;
        transaction.put(keys.user(user.id), changed);
        transaction.record('user.changed', user.name, actor, `User "${user.name}" is ${describeRole(changed)} now.`);
        return changed;
      });
    },
    deleteUser: async ({ parameters }, request) => {
      const actor = await actorName(context, request);
      await repository.transact(async (transaction) => {
        const user = await findUser(transaction, parameters.user);
        transaction.delete(keys.user(user.id));
        transaction.delete(keys.userName(user.name));
        denyUser(context, transaction, user, actor);
        transaction.record('user.removed', user.name, actor, `User "${user.name}" was removed.`);
      });
      return {};
    },
    createLogin: async ({ parameters, body }, request) =>
      createLogin(context, parameters.user, body.lifetimeMilliseconds, await actorName(context, request)),
    login: async ({ body }) => {
      // Certificate first, so that a request that cannot be granted does not use the token up.
      const { user: id } = await usableLogin(context, repository, body);
      const certificate = await issuer.issueUserCertificate(id, body.request, loginMilliseconds);
      const user = await repository.transact(async (transaction) => {
        const login = await usableLogin(context, transaction, body);
        const found = await findUser(transaction, login.user);
        transaction.put(keys.login(login.id), { ...login, usedBy: { requestHash: sha256(body.request) } });
        transaction.record(
          'user.logged-in',
          found.name,
          `user ${found.name}`,
          `User "${found.name}" got a certificate for ${loginMilliseconds / 3_600_000} hours.`,
        );
        return found;
      });
      const cluster = await repository.get(keys.cluster, clusterRecord);
      if (cluster === undefined) throw new SupercargoError('internal', 'The cluster record is missing.');
      return { certificate, authorities: issuer.authorities(), cluster, user, nameServer: context.address };
    },
    renewLogin: async ({ body }, request) => {
      const user = await callingUser(context, request);
      return { certificate: await issuer.issueUserCertificate(user.id, body.request, loginMilliseconds), authorities: issuer.authorities() };
    },
    whoAmI: async (_, request) => callingUser(context, request),
  };
}

/** Its certificates live on for a while, and so may its connections: the deny list cuts them. */
function denyUser({ repository, clock, random }: NameServerContext, transaction: Transaction, user: User, actor: string): void {
  const until = new Date(clock.wallMilliseconds() + loginMilliseconds).toISOString();
  const reason = `User "${user.name}" was removed.`;
  const denial: Denial = { id: newIdentifier('dny', random), subject: 'user', value: user.id, reason, actor, at: repository.now(), until };
  transaction.put(keys.denial(denial.id), denial);
}

/** @throws unauthenticated if the user was removed; forbidden for any other caller */
export async function callingUser({ repository }: Pick<NameServerContext, 'repository'>, request: RequestContext): Promise<User> {
  if (request.user === undefined) throw new SupercargoError('forbidden', 'Only a user may call this.');
  const user = await repository.get(keys.user(request.user), userRecord);
  if (user !== undefined) return user;
  throw new SupercargoError('unauthenticated', 'This user was removed.', { hint: 'Ask an administrator: supercargo user add' });
}

type CreateBody = Parameters<Handlers<Routes>['createUser']>[0]['body'];

async function createUser({ repository, random }: NameServerContext, body: CreateBody, actor: string): Promise<User> {
  const name = checkName('user', body.name);
  return repository.transact(async (transaction) => {
    const project = await projectOf(transaction, body.project);
    const existing = await transaction.get(keys.userName(name), nameEntry);
    if (existing !== undefined) return sameUser(await findUser(transaction, existing.id), { ...body, project });
    const user = checkRole({ id: newIdentifier('usr', random), name, role: body.role, project, createdAt: repository.now() });
    transaction.put(keys.userName(name), { id: user.id });
    transaction.put(keys.user(user.id), user);
    transaction.record('user.created', name, actor, `User "${name}" was made: ${describeRole(user)}.`);
    return user;
  });
}

async function projectOf(transaction: Transaction, word: string | null): Promise<string | null> {
  return word === null ? null : (await findProject(transaction, word)).id;
}

/** @throws invalid-option: an administrator of one project could raise itself above it */
function checkRole(user: User): User {
  if (user.role !== 'admin' || user.project === null) return user;
  throw new SupercargoError('invalid-option', 'The role "admin" counts for the whole cluster only.', {
    hint: 'Use the role operator for one project, or leave the project out.',
  });
}

function describeRole({ role, project }: User): string {
  return `${role} of ${project === null ? 'the cluster' : 'one project'}`;
}

/** @throws already-exists if what is there has other rights */
function sameUser(existing: User, wanted: Pick<User, 'role' | 'project'>): User {
  if (existing.role === wanted.role && existing.project === wanted.project) return existing;
  throw new SupercargoError('already-exists', `There is a user "${existing.name}" already, as ${describeRole(existing)}.`, {
    hint: `supercargo user set ${existing.name} changes what it may do.`,
  });
}

async function createLogin(
  context: NameServerContext,
  word: string,
  lifetimeMilliseconds: number,
  actor: string,
): ReturnType<Handlers<Routes>['createLogin']> {
  const { id, secret, text } = newJoinToken();
  const expiresAt = new Date(context.clock.wallMilliseconds() + lifetimeMilliseconds).toISOString();
  await context.repository.transact(async (transaction) => {
    const user = await findUser(transaction, word);
    const login: Login = { id, secretHash: hashSecret(secret), expiresAt, user: user.id, usedBy: null };
    transaction.put(keys.login(id), login);
    transaction.record('user.invited', user.name, actor, `A login token was made for user "${user.name}"; it expires at ${expiresAt}.`);
  });
  return { token: text, expiresAt, joinAddress: context.joinAddress, fingerprint: context.issuer.fingerprint() };
}

/** @throws invalid-token: one answer for wrong, used and expired, so that a guesser learns nothing */
async function usableLogin(context: NameServerContext, reader: Pick<Transaction, 'get'>, given: { token: string; request: string }): Promise<Login> {
  const { id, secret } = parseJoinToken(given.token);
  const login = await reader.get(keys.login(id), loginRecord);
  if (login === undefined || !isUsable(login, secret, given.request, context.clock)) throw invalidToken('login', 'supercargo user invite NAME');
  return login;
}
