import type { Project } from '../model/access.ts';
import { recordCopy, reportCopy } from '../model/copies.ts';
import { SupercargoError } from '../model/errors.ts';
import { withNewEpoch } from '../model/failover.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { checkName } from '../model/names.ts';
import { newVolume } from '../model/new-volume.ts';
import { formatSize } from '../model/size.ts';
import { currentHost } from '../model/holder.ts';
import { confirmRemoval, isGone, isNamed, reclaim, refuseRemoval, remove } from '../model/placement.ts';
import { defaultProject, hostRecord, moveRecord, volumeClass, volumeRecord } from '../model/records.ts';
import type { Host, Volume, VolumeClass } from '../model/records.ts';
import type { Routes } from '../protocol/routes.ts';
import type { Handlers, RequestContext } from '../protocol/server.ts';
import { applyClaim, refuseIfDrained } from './claim.ts';
import { defaultClassName } from './classes.ts';
import { actorName, callingHost } from './hosts.ts';
import { findHost, findProject, findVolume, hostName, nameEntry } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { admitVolume } from './quotas.ts';
import { awaitRemoval } from './removal.ts';
import { requireRestored } from './restore.ts';
import { keys } from './keys.ts';
import { findOrigin, fromPresent, originTitle, placeOfOrigin } from './origin.ts';
import type { Origin } from './origin.ts';
import { hintFor, isThereFor, requireReach } from './reach.ts';
import type { Transaction } from './repository.ts';
import { callingUser } from './users.ts';
import { forgetKeys, makeKeys } from './volume-keys.ts';

type VolumeRoutes =
  | 'listVolumes'
  | 'createVolume'
  | 'getVolume'
  | 'updateVolume'
  | 'removeVolume'
  | 'where'
  | 'claimVolume'
  | 'reclaimVolume'
  | 'reportCopy'
  | 'confirmRemoval'
  | 'refuseRemoval';

type CreateBody = Parameters<Handlers<Routes>['createVolume']>[0]['body'];

export function volumeHandlers(context: NameServerContext): Pick<Handlers<Routes>, VolumeRoutes> {
  const { repository } = context;
  return {
    listVolumes: async () => {
      const volumes = await repository.list(keys.volumes, volumeRecord);
      return { items: volumes.filter(isNamed).sort((a, b) => a.name.localeCompare(b.name)) };
    },
    createVolume: async ({ body }, request) => createVolume(context, body, request),
    getVolume: async ({ parameters }, request) => {
      const volume = await repository.transact(async (transaction) => {
        const found = await findVolume(transaction, parameters.volume);
        request.setEntityTag(String(transaction.revisionOf(keys.volume(found.id))));
        return found;
      });
      return volume;
    },
    updateVolume: ({ parameters, body }, request) =>
      repository.transact(async (transaction) => {
        const volume = await findVolume(transaction, parameters.volume);
        checkEntityTag(request, transaction, volume);
        const changed = { ...volume, labels: body.labels };
        transaction.put(keys.volume(volume.id), changed);
        return changed;
      }),
    removeVolume: async ({ parameters }, request) => {
      await removeVolume(context, parameters.volume, request);
      return {};
    },
    where: ({ parameters }) => where(context, parameters.volume),
    ...agentHandlers(context),
  };
}

/** What only the agents call. */
function agentHandlers(
  context: NameServerContext,
): Pick<Handlers<Routes>, 'claimVolume' | 'reclaimVolume' | 'reportCopy' | 'confirmRemoval' | 'refuseRemoval'> {
  const { repository, random } = context;
  return {
    claimVolume: ({ parameters }, request) => {
      const host = callingHost(request);
      return repository.transact(async (transaction) => {
        const volume = await findVolume(transaction, parameters.volume);
        await requireReach(context, transaction, volume, host);
        const opening = { moveId: newIdentifier('mov', random), reason: 'mount' as const, now: repository.now() };
        return applyClaim(transaction, volume, host, opening);
      });
    },
    reclaimVolume: ({ parameters, body }, request) =>
      repository.transact(async (transaction) => {
        const volume = await findVolume(transaction, parameters.volume);
        const changed = reclaim(volume, callingHost(request), body.epoch);
        if (changed !== volume) transaction.put(keys.volume(volume.id), changed);
        return changed;
      }),
    reportCopy: async ({ parameters, body }, request) => {
      const host = callingHost(request);
      await repository.transact(async (transaction) => {
        const volume = await findVolume(transaction, parameters.volume);
        // Compared: a host that is removed at this moment leaves nothing behind.
        await findHost(transaction, host);
        const changed = reportCopy(volume, host, body.copy === null ? null : { host, ...body.copy }, body.seen);
        if (isGone(changed)) transaction.delete(keys.volume(volume.id));
        else if (changed !== volume) transaction.put(keys.volume(volume.id), changed);
      });
      return {};
    },
    confirmRemoval: async ({ parameters }, request) => {
      const host = callingHost(request);
      await repository.transact(async (transaction) => {
        const volume = await findVolume(transaction, parameters.volume);
        const confirmed = confirmRemoval(volume, host);
        if (confirmed === volume) return;
        // The record stays until the holder says that its data is gone, also if it had not yet said that it has any.
        const reported = confirmed.copies.some((copy) => copy.host === host);
        const changed = reported ? confirmed : recordCopy(confirmed, host, { host, kind: 'live', snapshots: [] });
        transaction.delete(keys.volumeName(volume.name));
        transaction.put(keys.volume(volume.id), changed);
        forgetKeys(transaction, volume);
        transaction.record('volume.removed', volume.name, await hostName(transaction, host), `Volume "${volume.name}" was removed.`);
      });
      return {};
    },
    refuseRemoval: async ({ parameters, body }, request) => {
      const host = callingHost(request);
      await repository.transact(async (transaction) => {
        const volume = await findVolume(transaction, parameters.volume);
        if (currentHost(volume.placement) !== host) throw new SupercargoError('forbidden', 'Only the holder may refuse a removal.');
        const name = await hostName(transaction, host);
        const users = body.uses.map((use) => `${use.kind} ${use.name}`).join(', ');
        transaction.put(keys.volume(volume.id), refuseRemoval(volume));
        transaction.record('volume.removal-refused', volume.name, name, `Volume "${volume.name}" is in use on ${name} by ${users}.`);
      });
      return {};
    },
  };
}

function checkEntityTag(request: RequestContext, transaction: Transaction, volume: Volume): void {
  const tag = String(transaction.revisionOf(keys.volume(volume.id)));
  if (request.ifMatch !== undefined && request.ifMatch !== tag) {
    throw new SupercargoError('precondition-failed', `Volume "${volume.name}" has changed since you read it.`, {
      hint: 'Read it again and repeat the change.',
    });
  }
}

async function createVolume(context: NameServerContext, body: CreateBody, request: RequestContext): Promise<Volume> {
  const { repository } = context;
  const { from } = body;
  const name = checkName('volume', body.name);
  const existing = await repository.get(keys.volumeName(name), nameEntry);
  if (from === undefined || from.snapshot !== undefined || existing !== undefined) return makeVolume(context, body, request);
  return fromPresent(context, from, name, request, (taken) => makeVolume(context, { ...body, from: taken }, request, originTitle(from)));
}

/** @param title how its origin was asked for */
async function makeVolume(
  context: NameServerContext,
  body: CreateBody,
  request: RequestContext,
  title = body.from === undefined ? null : originTitle(body.from),
): Promise<Volume> {
  const { repository, random } = context;
  const actor = await actorName(context, request);
  const name = checkName('volume', body.name);
  return repository.transact(async (transaction) => {
    const entry = await transaction.get(keys.volumeName(name), nameEntry);
    const existing = entry === undefined ? undefined : await findVolume(transaction, entry.id);
    if (existing !== undefined) await requireSeen(context, transaction, existing, request);
    // What it was made from may be gone by now, and what the source held then nobody can ask for again.
    const isKnown = existing !== undefined && (existing.origin?.title === title || body.from?.snapshot === undefined);
    const origin = body.from === undefined || isKnown ? null : await findOrigin(context, transaction, body.from, request);
    const project = await projectOf(transaction, body, origin);
    const volumeClassRecord = await findClass(transaction, body.class ?? origin?.volume.class ?? defaultClassName);
    if (existing !== undefined) return sameVolume(existing, { body, origin, project, title });
    const host = await placeOf(context, transaction, body, origin, request.host);
    const id = newIdentifier('vol', random);
    const sizeBytes = sizeOf(volumeClassRecord, body, origin);
    const isEncrypted = origin === null ? volumeClassRecord.encryption === 'luks' : origin.volume.encryption !== null;
    const free = newVolume({
      id,
      name,
      project: project.id,
      class: volumeClassRecord.name,
      driver: volumeClassRecord.driver,
      sizeBytes,
      labels: body.labels ?? {},
      createdAt: repository.now(),
      protection: volumeClassRecord.protection,
      encryption: isEncrypted ? await makeKeys(context, transaction, { id, sizeBytes }, origin?.volume ?? null) : null,
      origin: origin === null ? null : { volume: origin.volume.id, snapshot: origin.snapshot, title },
    });
    await admitVolume(repository, transaction, project, free);
    const base = origin?.snapshot ?? null;
    const volume = host === null ? free : withNewEpoch({ ...free, placement: { state: 'held', host: host.id, base } });
    transaction.put(keys.volumeName(name), { id: volume.id });
    transaction.put(keys.volume(volume.id), volume);
    // Written as it was: whoever gives the snapshot up at this moment has to look again.
    if (origin !== null) transaction.put(keys.volume(origin.volume.id), origin.volume);
    const of = origin === null ? '' : ` from ${title}`;
    transaction.record('volume.created', name, actor, `Volume "${name}" was created${of}${host === null ? '' : ` on ${host.name}`}.`);
    return volume;
  });
}

/** As large as what it is made from, unless it is said; an image is as large as it was made. @throws invalid-option */
function sizeOf(volumeClassRecord: VolumeClass, body: CreateBody, origin: Origin | null): number | null {
  if (origin !== null && origin.volume.encryption !== null) return origin.volume.sizeBytes;
  return checkSize(volumeClassRecord, body.sizeBytes ?? origin?.volume.sizeBytes);
}

/**
 * Where a new volume is placed at once; null is nowhere yet.
 * @throws wrong-state if the caller wants it on itself, but is being drained; what placeOfOrigin does
 */
async function placeOf(
  context: NameServerContext,
  transaction: Transaction,
  body: CreateBody,
  origin: Awaited<ReturnType<typeof findOrigin>> | null,
  caller: string | null,
): Promise<Host | null> {
  const wanted = body.host === undefined ? null : await findHost(transaction, body.host);
  if (origin !== null) return placeOfOrigin(context, transaction, origin, { host: wanted, caller });
  if (wanted !== null && wanted.id === caller) refuseIfDrained(wanted);
  return wanted?.state === 'draining' ? null : wanted;
}

async function findClass(transaction: Transaction, name: string): Promise<VolumeClass> {
  const found = await transaction.get(keys.class(name), volumeClass);
  if (found === undefined) {
    throw new SupercargoError('invalid-option', `Option "class" names a class that does not exist: ${JSON.stringify(name)}.`, {
      hint: 'supercargo class ls lists the classes.',
    });
  }
  return found;
}

function checkSize(volumeClassRecord: VolumeClass, asked: number | null | undefined): number | null {
  const sizeBytes = asked ?? volumeClassRecord.sizeBytes;
  const { maximumSizeBytes } = volumeClassRecord;
  if (sizeBytes !== null && maximumSizeBytes !== null && sizeBytes > maximumSizeBytes) {
    throw new SupercargoError(
      'invalid-option',
      `Option "size" asks for ${formatSize(sizeBytes)}, but class "${volumeClassRecord.name}" allows ${formatSize(maximumSizeBytes)}.`,
    );
  }
  return sizeBytes;
}

/** What was kept of a volume stays in its project. @throws not-found, forbidden */
async function projectOf(transaction: Transaction, body: CreateBody, origin: Origin | null): Promise<Project> {
  const project = await findProject(transaction, body.project ?? origin?.volume.project ?? defaultProject.id);
  if (origin === null || origin.volume.project === project.id) return project;
  throw new SupercargoError(
    'forbidden',
    `Volume "${origin.volume.name}" belongs to another project than "${project.name}", and so does what was kept of it.`,
    {
      hint: 'Leave the project out: a volume stays in its project.',
    },
  );
}

/** Creating again is fine as long as what is asked for explicitly is what is there. @throws already-exists */
function sameVolume(
  existing: Volume,
  { body, origin, project, title }: { body: CreateBody; origin: Origin | null; project: Project; title: string | null },
): Volume {
  const differs: string[] = [];
  if (body.project !== undefined && existing.project !== project.id) differs.push('another project');
  const isSameOrigin = title === null || existing.origin?.title === title || (origin !== null && existing.origin?.snapshot === origin.snapshot);
  if (!isSameOrigin) differs.push('other data');
  if (body.class !== undefined && body.class !== existing.class) differs.push(`class "${existing.class}"`);
  if (body.sizeBytes !== undefined && body.sizeBytes !== existing.sizeBytes) {
    differs.push(existing.sizeBytes === null ? 'no size limit' : `size ${formatSize(existing.sizeBytes)}`);
  }
  if (differs.length > 0) {
    throw new SupercargoError('already-exists', `There is a volume "${existing.name}" already, with ${differs.join(' and ')}.`, {
      hint: 'Use another name, or the options it has.',
    });
  }
  return existing;
}

/**
 * Names are of one space, so this much is learned of a volume that the caller is not told of.
 * @throws already-exists
 */
async function requireSeen(context: NameServerContext, transaction: Transaction, volume: Volume, request: RequestContext): Promise<void> {
  const { host, user } = request;
  if (host !== null) {
    if (await isThereFor(context, transaction, volume, host)) return;
    throw new SupercargoError('already-exists', `The name "${volume.name}" is taken, by a volume that does not come to this host.`, {
      hint: `Use another name. ${hintFor(await hostName(transaction, host))}`,
    });
  }
  const project = user === undefined ? null : (await callingUser(context, request)).project;
  if (project === null || project === volume.project) return;
  throw new SupercargoError('already-exists', `The name "${volume.name}" is taken, by a volume of another project.`, { hint: 'Use another name.' });
}

async function removeVolume(context: NameServerContext, word: string, request: RequestContext): Promise<void> {
  const { repository } = context;
  const removing = await repository.transact(async (transaction) => {
    const volume = await findVolume(transaction, word);
    checkEntityTag(request, transaction, volume);
    await requireRestored(repository, volume, null);
    const changed = remove(volume);
    if (changed === null) {
      transaction.delete(keys.volumeName(volume.name));
      transaction.delete(keys.volume(volume.id));
      forgetKeys(transaction, volume);
      transaction.record('volume.removed', volume.name, request.caller, `Volume "${volume.name}" was removed.`);
      return null;
    }
    if (changed !== volume) transaction.put(keys.volume(volume.id), changed);
    return changed;
  });
  if (removing !== null) await awaitRemoval(context, removing);
}

async function where({ repository }: NameServerContext, word: string): Promise<Awaited<ReturnType<Handlers<Routes>['where']>>> {
  const volume = await findVolume(repository, word);
  const current = currentHost(volume.placement);
  const host = current === null ? undefined : await repository.get(keys.host(current), hostRecord);
  const replicas = volume.copies.filter((copy) => copy.host !== current && copy.snapshots.length > 0);
  const move = volume.placement.state === 'moving' ? await repository.get(keys.move(volume.placement.move), moveRecord) : undefined;
  return {
    volume: volume.name,
    state: volume.placement.state,
    host: host?.name ?? current,
    address: host?.address ?? null,
    epoch: volume.epoch,
    replicas: await Promise.all(replicas.map((copy) => hostName(repository, copy.host))),
    move: move ?? null,
  };
}
