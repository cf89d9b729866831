import { userRecord } from '../model/access.ts';
import { acceptLease, isHeldBy, isLeaseOf } from '../model/failover.ts';
import { hostRecord, volumeRecord } from '../model/records.ts';
import type { Host, PoolReport } from '../model/records.ts';
import { SupercargoError } from '../model/errors.ts';
import { shortestSessionMilliseconds } from '../protocol/protection-routes.ts';
import type { LeaseClaim } from '../protocol/protection-routes.ts';
import type { HostView, Routes } from '../protocol/routes.ts';
import type { Handlers, RequestContext } from '../protocol/server.ts';
import { z } from 'zod';
import { newsFor, noteTrust } from './authority.ts';
import { findHost, hostName } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import type { Transaction } from './repository.ts';

/** Pool figures are written when they changed by this share of the capacity, not at every heartbeat. */
const reportedShare = 0.005;

/** The session keeps the length it began with, also if the name server starts again with another: `milliseconds` is what its host may be told. */
const sessionEntry = z.object({ session: z.string(), milliseconds: z.int().default(shortestSessionMilliseconds) });

export async function hostViewOf({ store }: NameServerContext, host: Host): Promise<HostView> {
  return { ...host, status: (await store.get(keys.session(host.id))) === undefined ? 'down' : 'up' };
}

/** The identifier of the calling host. @throws forbidden for any other caller */
export function callingHost(context: RequestContext): string {
  if (context.host === null) throw new SupercargoError('forbidden', 'Only a host may call this.');
  return context.host;
}

/** Who causes a change, for the events. */
export async function actorName({ repository }: NameServerContext, request: RequestContext): Promise<string> {
  if (request.user !== undefined) return `user ${(await repository.get(keys.user(request.user), userRecord))?.name ?? request.user}`;
  return request.host === null ? request.caller : hostName(repository, request.host);
}

export function hostHandlers(context: NameServerContext): Pick<Handlers<Routes>, 'listHosts' | 'getHost' | 'heartbeat'> {
  const { repository, store } = context;
  return {
    listHosts: async () => {
      const hosts = await repository.list(keys.hosts, hostRecord);
      const items = await Promise.all(hosts.map((host) => hostViewOf(context, host)));
      return { items: items.sort((a, b) => a.name.localeCompare(b.name)) };
    },
    getHost: async ({ parameters }) => hostViewOf(context, await findHost(repository, parameters.host)),
    heartbeat: async ({ body }, request) => {
      const id = callingHost(request);
      const isNew = !(await store.keepLeaseAlive(body.session));
      if (isNew) await store.grantLease(body.session, context.sessionMilliseconds);
      const answer = await repository.transact(async (transaction) => {
        const host = await findHost(transaction, id);
        const session = await transaction.get(keys.session(id), sessionEntry);
        const isKnown = session?.session === body.session;
        // One whose record is gone while its lease lives is of unknown length.
        const milliseconds = isNew ? context.sessionMilliseconds : isKnown ? session.milliseconds : shortestSessionMilliseconds;
        if (!isKnown || milliseconds !== session.milliseconds) {
          transaction.put(keys.session(id), { session: body.session, milliseconds }, body.session);
          if (session === undefined) transaction.record('host.up', host.name, host.name, `Host "${host.name}" is up.`);
        }
        await noteTrust(transaction, id, body.trust);
        const changed = host.address !== body.address || host.version !== body.version || poolChanged(host.pool, body.pool);
        if (changed) transaction.put(keys.host(id), { ...host, address: body.address, version: body.version, pool: body.pool });
        const leases = await confirmLeases(transaction, id, body.leases);
        return { sessionMilliseconds: milliseconds, leases, held: await confirmHeld(transaction, id, body.held) };
      });
      return { ...answer, authorities: newsFor(context, body.trust), time: repository.now() };
    },
  };
}

/**
 * The volumes that the host may go on with. Read after the session was prolonged: a takeover needs the session to be gone, so one that is not seen here
 * cannot happen before the session ends again.
 */
async function confirmLeases(transaction: Transaction, host: string, claims: readonly LeaseClaim[]): Promise<LeaseClaim[]> {
  const confirmed: LeaseClaim[] = [];
  for (const claim of claims) {
    const volume = await transaction.get(keys.volume(claim.volume), volumeRecord);
    if (volume === undefined || !isLeaseOf(volume, host, claim.epoch)) continue;
    const leased = acceptLease(volume, host, claim.epoch);
    if (leased !== volume) transaction.put(keys.volume(volume.id), leased);
    confirmed.push(claim);
  }
  return confirmed;
}

/** The volumes that the host holds. Read after the session is there, for the same reason: an operator's word takes no volume from a host that has one. */
async function confirmHeld(transaction: Transaction, host: string, claims: readonly LeaseClaim[]): Promise<LeaseClaim[]> {
  const confirmed: LeaseClaim[] = [];
  for (const claim of claims) {
    const volume = await transaction.get(keys.volume(claim.volume), volumeRecord);
    if (volume !== undefined && isHeldBy(volume, host, claim.epoch)) confirmed.push(claim);
  }
  return confirmed;
}

function poolChanged(before: PoolReport | null, after: PoolReport | null): boolean {
  if (before === null || after === null) return before !== after;
  return (
    before.driver !== after.driver ||
    before.location !== after.location ||
    before.capacityBytes !== after.capacityBytes ||
    Math.abs(before.usedBytes - after.usedBytes) > reportedShare * after.capacityBytes
  );
}
