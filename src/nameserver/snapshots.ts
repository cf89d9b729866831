import { SupercargoError } from '../model/errors.ts';
import { isHeldBy } from '../model/failover.ts';
import { currentHost } from '../model/holder.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { checkName } from '../model/names.ts';
import { isNamed } from '../model/placement.ts';
import { volumeRecord } from '../model/records.ts';
import type { Snapshot, Volume } from '../model/records.ts';
import { deleteSnapshot, findSnapshot, isTaken, recordBytes, recordFailed, recordTaken, requestSnapshot } from '../model/snapshots.ts';
import { explainSnapshot } from '../planner/explain-snapshot.ts';
import type { KnownHost } from '../planner/failover-plan.ts';
import type { Routes } from '../protocol/routes.ts';
import type { Handlers, RequestContext } from '../protocol/server.ts';
import type { SnapshotView } from '../protocol/snapshot-routes.ts';
import { awaitVolume } from './await-volume.ts';
import { actorName, callingHost } from './hosts.ts';
import { findVolume, hostName } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import { knownHosts } from './protection.ts';
import { requireReach } from './reach.ts';
import { requireRestored } from './restore.ts';

type HolderRoutes = 'recordSnapshotTaken' | 'recordSnapshotFailed' | 'recordSnapshotBytes';
type SnapshotRoutes = 'createSnapshot' | 'listSnapshots' | 'getSnapshot' | 'deleteSnapshot' | HolderRoutes;

export function snapshotHandlers(context: NameServerContext): Pick<Handlers<Routes>, SnapshotRoutes> {
  const { repository } = context;
  return {
    createSnapshot: async ({ parameters, body }, request) => {
      const { waitMilliseconds, ...wish } = body;
      const { volume, snapshot } = await wantSnapshot(context, parameters.volume, { ...wish, kind: 'manual' }, request);
      const now = (await awaitVolume(context, volume.id, (each) => isSettled(each, snapshot.id), waitMilliseconds)) ?? volume;
      return viewOf(now, findSnapshot(now, snapshot.id), await knownHosts(context));
    },
    listSnapshots: async ({ query }) => {
      const all = query.volume === undefined ? await repository.list(keys.volumes, volumeRecord) : [await findVolume(repository, query.volume)];
      const volumes = all.filter(isNamed).sort((a, b) => a.name.localeCompare(b.name));
      const hosts = await knownHosts(context);
      return { items: volumes.flatMap((volume) => volume.snapshots.map((snapshot) => viewOf(volume, snapshot, hosts))) };
    },
    getSnapshot: async ({ parameters }) => {
      const volume = await findVolume(repository, parameters.volume);
      return viewOf(volume, findSnapshot(volume, parameters.snapshot), await knownHosts(context));
    },
    deleteSnapshot: async ({ parameters }, request) => {
      const actor = await actorName(context, request);
      await repository.transact(async (transaction) => {
        const volume = await findVolume(transaction, parameters.volume);
        if (request.host !== null) await requireReach(context, transaction, volume, request.host);
        const { name, snapshot } = findSnapshot(volume, parameters.snapshot);
        if (snapshot !== null) await requireRestored(repository, volume, snapshot);
        transaction.put(keys.volume(volume.id), deleteSnapshot(volume, parameters.snapshot));
        transaction.record('snapshot.deleted', `${volume.name}@${name}`, actor, `Snapshot "${volume.name}@${name}" was deleted.`);
      });
      return {};
    },
    ...holderHandlers(context),
  };
}

function holderHandlers(context: NameServerContext): Pick<Handlers<Routes>, HolderRoutes> {
  const { repository, clock } = context;
  return {
    recordSnapshotTaken: async ({ parameters, body }, request) => {
      const host = callingHost(request);
      const { epoch, snapshot, after } = body;
      // The host's idea of this clock may run ahead a little; a snapshot is never younger than it is said to be here.
      const takenAt = Date.parse(body.takenAt) > clock.wallMilliseconds() ? repository.now() : body.takenAt;
      await repository.transact(async (transaction) => {
        const volume = await findVolume(transaction, parameters.volume);
        const changed = recordTaken(volume, host, { id: parameters.snapshot, entry: { snapshot, epoch, takenAt, bytes: 0 }, after });
        if (changed === volume) return;
        const title = `${volume.name}@${findSnapshot(changed, parameters.snapshot).name}`;
        transaction.put(keys.volume(volume.id), changed);
        transaction.record('snapshot.taken', title, await hostName(transaction, host), `Snapshot "${title}" was taken.`);
      });
      return {};
    },
    recordSnapshotFailed: async ({ parameters, body }, request) => {
      const host = callingHost(request);
      const problem = body.hint === null ? body.message : `${body.message} (${body.hint})`;
      await repository.transact(async (transaction) => {
        const volume = await findVolume(transaction, parameters.volume);
        if (!isHeldBy(volume, host, body.epoch)) throw notHeld(volume);
        const changed = recordFailed(volume, parameters.snapshot, problem);
        if (changed === volume) return;
        const title = `${volume.name}@${findSnapshot(changed, parameters.snapshot).name}`;
        transaction.put(keys.volume(volume.id), changed);
        transaction.record('snapshot.failed', title, await hostName(transaction, host), `Snapshot "${title}" could not be taken: ${problem}`);
      });
      return {};
    },
    recordSnapshotBytes: async ({ parameters, body }, request) => {
      const host = callingHost(request);
      await repository.transact(async (transaction) => {
        const volume = await findVolume(transaction, parameters.volume);
        if (currentHost(volume.placement) !== host) throw notHeld(volume);
        const changed = recordBytes(volume, parameters.snapshot, body.bytes);
        if (changed !== volume) transaction.put(keys.volume(volume.id), changed);
      });
      return {};
    },
  };
}

function notHeld({ name }: Volume): SupercargoError {
  return new SupercargoError('stale-epoch', `This host does not hold volume "${name}" any more.`, { hint: 'Look at the volume again.' });
}

export interface Wanted {
  name?: string | undefined;
  kind: Snapshot['kind'];
  description: string;
  labels: Record<string, string>;
}

/** Records that a snapshot is wanted; its holder hears of it by the watch. @returns what is wanted, as it was recorded or is there already */
export async function wantSnapshot(
  context: NameServerContext,
  word: string,
  wanted: Wanted,
  request: RequestContext,
): Promise<{ volume: Volume; snapshot: Snapshot }> {
  const { repository, random } = context;
  const actor = await actorName(context, request);
  return repository.transact(async (transaction) => {
    const volume = await findVolume(transaction, word);
    if (request.host !== null) await requireReach(context, transaction, volume, request.host);
    const name = wanted.name === undefined ? nameByTime(volume, wanted.kind, repository.now()) : checkName('snapshot', wanted.name);
    const changed = requestSnapshot(volume, { ...wanted, name, id: newIdentifier('snp', random), now: repository.now() });
    if (changed !== volume) {
      transaction.put(keys.volume(volume.id), changed);
      transaction.record('snapshot.requested', `${volume.name}@${name}`, actor, `Snapshot "${volume.name}@${name}" was asked for.`);
    }
    return { volume: changed, snapshot: findSnapshot(changed, name) };
  });
}

/** For example 2026-11-28-034510, with what it is for in front; no two of a volume are the same. */
export function nameByTime({ snapshots }: Volume, kind: Snapshot['kind'], now: string): string {
  const time = now.slice(0, 19).replace('T', '-').replaceAll(':', '');
  const stem = kind === 'manual' ? time : `${kind}-${time}`;
  const isFree = (name: string): boolean => !snapshots.some((each) => each.name === name);
  for (let number = 2, name = stem; ; name = `${stem}-${number}`, number += 1) if (isFree(name)) return name;
}

/** Whether a snapshot that is wanted has been taken, or will not be. */
export function isSettled(volume: Volume, id: string): boolean {
  const snapshot = volume.snapshots.find((each) => each.id === id);
  return snapshot === undefined || isTaken(snapshot) || snapshot.problem !== null;
}

function viewOf(volume: Volume, snapshot: Snapshot, hosts: readonly KnownHost[]): SnapshotView {
  return { ...snapshot, volume: volume.name, volumeId: volume.id, ...explainSnapshot(volume, snapshot, hosts) };
}
