import { z } from 'zod';
import { reachesAsFar } from '../model/access.ts';
import type { Revocation, UserRole } from '../model/access.ts';
import { SupercargoError } from '../model/errors.ts';
import { hostRecord } from '../model/records.ts';
import type { Acknowledgement } from '../protocol/access-routes.ts';
import type { Handlers, RequestContext } from '../protocol/server.ts';
import type { Routes } from '../protocol/routes.ts';
import { certificatesOf, lastExpiry } from './host-certificates.ts';
import { actorName, callingHost, hostViewOf } from './hosts.ts';
import { applicationTitle, findApplication, findGrant, findHost } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { callingUser } from './users.ts';
import { keys } from './keys.ts';

type RevocationRoutes = 'revokeApplication' | 'reinstateApplication' | 'revokeGrant' | 'acknowledgeAccess' | 'listAcknowledgements';
type RevocationBody = Parameters<Handlers<Routes>['revokeGrant']>[0]['body'];

const acknowledgementRecord = z.object({ revision: z.int().nonnegative() });

export function revocationHandlers(context: NameServerContext): Pick<Handlers<Routes>, RevocationRoutes> {
  const { repository } = context;
  return {
    revokeApplication: async ({ parameters, body }, request) => {
      const wanted = await revocationOf(context, body, request);
      const application = await repository.transact(async (transaction) => {
        const found = await findApplication(transaction, parameters.application);
        const revocation = joined(wanted, found.revocation);
        if (revocation === null) return found;
        const title = await applicationTitle(transaction, found);
        const revoked = { ...found, revocation };
        transaction.put(keys.application(found.id), revoked);
        transaction.record('application.revoked', title, revocation.actor, `Application "${title}" was revoked${describe(revocation)}`);
        return revoked;
      });
      return { application, revision: await revisionOf(context, keys.application(application.id)) };
    },
    reinstateApplication: async ({ parameters, body }, request) => {
      const [actor, role] = [await actorName(context, request), await roleOf(context, request)];
      return repository.transact(async (transaction) => {
        const found = await findApplication(transaction, parameters.application);
        if (found.revocation === null) return found;
        const title = await applicationTitle(transaction, found);
        requireReach(role, found.revocation, title);
        const reinstated = { ...found, revocation: null };
        transaction.put(keys.application(found.id), reinstated);
        transaction.record('application.reinstated', title, actor, `Application "${title}" counts again. ${body.reason}`);
        return reinstated;
      });
    },
    revokeGrant: async ({ parameters, body }, request) => {
      const wanted = await revocationOf(context, body, request);
      const grant = await repository.transact(async (transaction) => {
        const found = await findGrant(transaction, parameters.grant);
        const revocation = joined(wanted, found.revocation);
        if (revocation === null) return found;
        const title = await applicationTitle(transaction, await findApplication(transaction, found.application));
        const revoked = { ...found, revocation };
        transaction.put(keys.grant(found.id), revoked);
        transaction.record('grant.revoked', title, revocation.actor, `Grant ${found.id} of "${title}" was taken back${describe(revocation)}`);
        return revoked;
      });
      return { grant, revision: await revisionOf(context, keys.grant(grant.id)) };
    },
    ...acknowledgementHandlers(context),
  };
}

function acknowledgementHandlers(context: NameServerContext): Pick<Handlers<Routes>, 'acknowledgeAccess' | 'listAcknowledgements'> {
  const { repository, store } = context;
  return {
    acknowledgeAccess: async ({ body }, request) => {
      const host = callingHost(request);
      const key = keys.acknowledgement(host);
      const { revision: present } = await store.list(key);
      if (body.revision > present) throw new SupercargoError('invalid-request', `Revision ${body.revision} has not come yet: it is ${present}.`);
      await repository.transact(async (transaction) => {
        // Compared: a host that is removed at this moment leaves nothing behind.
        await findHost(transaction, host);
        const known = await transaction.get(key, acknowledgementRecord);
        // What arrives late, or a second time, takes nothing back.
        if (known === undefined || known.revision < body.revision) transaction.put(key, { revision: body.revision });
      });
      return {};
    },
    listAcknowledgements: async ({ query }) => {
      const hosts = await repository.list(keys.hosts, hostRecord);
      const items = await Promise.all(
        hosts.map(async (host): Promise<Acknowledgement> => {
          const { status } = await hostViewOf(context, host);
          const known = await repository.get(keys.acknowledgement(host.id), acknowledgementRecord);
          const certificates = await certificatesOf(repository, host.id);
          const acknowledged = known !== undefined && known.revision >= query.revision;
          return {
            host: host.id,
            name: host.name,
            status,
            revision: known?.revision ?? null,
            acknowledged,
            certificateEndsAt: certificates === undefined ? null : lastExpiry(certificates),
          };
        }),
      );
      return { items: items.sort((a, b) => a.name.localeCompare(b.name)) };
    },
  };
}

async function revocationOf(context: NameServerContext, { policy, reason }: RevocationBody, request: RequestContext): Promise<Revocation> {
  const role = await roleOf(context, request);
  return { at: context.repository.now(), actor: await actorName(context, request), reason, policy, role };
}

/** Whoever is no user is root on the host of the name server. */
async function roleOf(context: NameServerContext, request: RequestContext): Promise<UserRole> {
  return request.user === undefined ? 'admin' : (await callingUser(context, request)).role;
}

/**
 * What was revoked stays so; what was left to stop by itself can still be ended at once, and what somebody revoked can be revoked by whoever may do more,
 * so that the first cannot take it back. Null if the one before says it all.
 */
function joined(wanted: Revocation, before: Revocation | null): Revocation | null {
  if (before === null) return wanted;
  const [role, roleBefore] = [wanted.role ?? 'admin', before.role ?? 'admin'];
  const isHarder = before.policy === 'graceful' && wanted.policy === 'now';
  if (!isHarder && reachesAsFar(roleBefore, role)) return null;
  return { ...wanted, policy: isHarder ? 'now' : before.policy, role: reachesAsFar(role, roleBefore) ? role : roleBefore };
}

/** @throws forbidden if who revoked it may do more */
function requireReach(role: UserRole, { actor, role: revoker = 'admin' }: Revocation, title: string): void {
  if (reachesAsFar(role, revoker)) return;
  throw new SupercargoError(
    'forbidden',
    `Application "${title}" was revoked by ${actor} as ${revoker}: a user who is ${role} cannot take that back.`,
    {
      hint: `Ask an administrator: supercargo app reinstate ${title}`,
    },
  );
}

function describe({ policy, reason }: Revocation): string {
  return `; what rests on it ${policy === 'now' ? 'is ended at once' : 'is left until it stops'}. ${reason}`;
}

/** At which revision of the state agents learn of what the key holds. */
async function revisionOf({ store }: NameServerContext, key: string): Promise<number> {
  const entry = await store.get(key);
  if (entry === undefined) throw new SupercargoError('conflict', 'It was removed at this moment.', { hint: 'Nothing is left to be revoked.' });
  return entry.revision;
}
