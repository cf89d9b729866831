import { isSupercargoError, SupercargoError } from '../model/errors.ts';
import { currentHost } from '../model/holder.ts';
import { hostRecord } from '../model/records.ts';
import type { Host, Volume } from '../model/records.ts';
import { findTaken, hostsWith, isTaken } from '../model/snapshots.ts';
import type { Routes } from '../protocol/routes.ts';
import type { Handlers, RequestContext } from '../protocol/server.ts';
import { awaitVolume } from './await-volume.ts';
import { hostViewOf } from './hosts.ts';
import { findHost, findVolume, hostName } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import { requireReach } from './reach.ts';
import { requireRestored } from './restore.ts';
import type { Transaction } from './repository.ts';
import { isSettled, wantSnapshot } from './snapshots.ts';

export type From = NonNullable<Parameters<Handlers<Routes>['createVolume']>[0]['body']['from']>;

/** A snapshot that a new volume begins with: one with a name, or what a replaced holder has kept. */
export interface Origin {
  volume: Volume;
  /** On the disks. */
  snapshot: string;
  /** Where it is: one of these makes the new volume, by sharing the data. */
  hosts: string[];
}

/** How long a holder is waited for that is to take the snapshot which a clone begins with, in milliseconds. */
const takingMilliseconds = 15_000;

/** As it was asked for: "pgdata@nightly". */
export function originTitle({ volume, snapshot }: From): string {
  return snapshot === undefined ? volume : `${volume}@${snapshot}`;
}

/** @throws not-found; wrong-state if it has not been taken; forbidden if the caller is a host that may not have the source's data */
export async function findOrigin(
  context: NameServerContext,
  transaction: Transaction,
  from: From,
  request: RequestContext,
): Promise<Origin & { isKept: boolean }> {
  const volume = await findVolume(transaction, from.volume);
  if (request.host !== null) await requireReach(context, transaction, volume, request.host);
  const kept = volume.diverged.find((each) => each.snapshot === from.snapshot);
  if (kept !== undefined) return { volume, snapshot: kept.snapshot, hosts: [kept.host], isKept: true };
  const { name, snapshot } = findTaken(volume, from.snapshot ?? '');
  const hosts = hostsWith(volume, snapshot);
  if (hosts.length > 0) return { volume, snapshot, hosts, isKept: false };
  throw new SupercargoError('data-missing', `Snapshot "${volume.name}@${name}" is on no host any more.`);
}

/**
 * Which of its hosts makes the volume: the one that is asked for; else one that is up and stays, the caller before the source's holder before others. It moves on
 * from there as any volume does. What was kept becomes a volume where it is, whatever its host is doing.
 * @throws invalid-request, host-unreachable
 */
export async function placeOfOrigin(
  context: NameServerContext,
  transaction: Transaction,
  { volume, hosts, snapshot, isKept }: Origin & { isKept: boolean },
  wanted: { host: Host | null; caller: string | null },
): Promise<Host> {
  const names = (await Promise.all(hosts.map((id) => hostName(transaction, id)))).join(', ');
  if (wanted.host !== null && !hosts.includes(wanted.host.id)) {
    throw new SupercargoError('invalid-request', `${snapshot} of volume "${volume.name}" is on ${names}, not on ${wanted.host.name}.`, {
      hint: 'Leave the host out, and move the volume when it is there.',
    });
  }
  if (wanted.host !== null) return wanted.host;
  const [only] = hosts;
  if (isKept && only !== undefined) return findHost(transaction, only);
  const candidates: { host: Host; rank: number }[] = [];
  for (const id of hosts) {
    const host = await transaction.get(keys.host(id), hostRecord);
    if (host === undefined || (await hostViewOf(context, host)).status === 'down') continue;
    const near = id === wanted.caller ? 0 : id === currentHost(volume.placement) ? 1 : 2;
    candidates.push({ host, rank: near + (host.state === 'draining' ? 3 : 0) });
  }
  const [best] = candidates.sort((a, b) => a.rank - b.rank);
  if (best !== undefined) return best.host;
  throw new SupercargoError('host-unreachable', `The snapshot of volume "${volume.name}" is on ${names}, which does not answer.`, {
    hint: 'Bring the host back, then ask again.',
  });
}

/**
 * Has a snapshot taken of what a volume holds now, and makes a volume from it. It stays under its name, until somebody deletes it; if nothing comes of the volume,
 * it goes at once.
 */
export async function fromPresent<Made>(
  context: NameServerContext,
  { volume: word }: From,
  name: string,
  request: RequestContext,
  make: (from: From) => Promise<Made>,
): Promise<Made> {
  const wish = { kind: 'safety' as const, description: `What volume ${name} was made from.`, labels: {} };
  const { volume, snapshot } = await wantSnapshot(context, word, wish, request);
  try {
    const now = await awaitVolume(context, volume.id, (each) => isSettled(each, snapshot.id), takingMilliseconds);
    const settled = now?.snapshots.find(({ id }) => id === snapshot.id);
    if (settled === undefined || !isTaken(settled)) throw await notTaken(context, now ?? volume, settled?.problem ?? null);
    return await make({ volume: volume.id, snapshot: snapshot.id });
  } catch (error) {
    await forgetUnused(context, volume.id, snapshot.id);
    throw error;
  }
}

async function notTaken({ repository }: NameServerContext, volume: Volume, problem: string | null): Promise<SupercargoError> {
  if (problem !== null) return new SupercargoError('wrong-state', `No snapshot of volume "${volume.name}" could be taken: ${problem}`);
  const holder = currentHost(volume.placement);
  const name = holder === null ? 'nobody' : await hostName(repository, holder);
  return new SupercargoError('host-unreachable', `Volume "${volume.name}" is held by ${name}, which has not taken a snapshot of it in time.`, {
    hint: `Look at it: supercargo volume inspect ${volume.name}; or begin with a snapshot that there is: ${volume.name}@SNAPSHOT`,
  });
}

async function forgetUnused({ repository }: NameServerContext, id: string, request: string): Promise<void> {
  await repository.transact(async (transaction) => {
    const volume = await findVolume(transaction, id).catch(() => undefined);
    const unused = volume?.snapshots.find((each) => each.id === request);
    if (volume === undefined || unused === undefined) return;
    // Somebody else has begun with it meanwhile: it stays, as one with a name.
    const needed = await requireRestored(repository, volume, unused.snapshot ?? request).then(
      () => volume.reverting?.snapshot === unused.snapshot,
      (error: unknown) => {
        if (!isSupercargoError(error, 'wrong-state')) throw error;
        return true;
      },
    );
    if (needed) return;
    transaction.put(keys.volume(id), { ...volume, snapshots: volume.snapshots.filter((each) => each.id !== request) });
  });
}
