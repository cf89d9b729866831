import { SupercargoError } from '../model/errors.ts';
import { newestInLineage } from '../model/failover.ts';
import { isGone, isOver } from '../model/placement.ts';
import { moveRecord, volumeRecord } from '../model/records.ts';
import type { Host, Volume } from '../model/records.ts';
import { hostsWith, isTaken } from '../model/snapshots.ts';
import { formatSize } from '../model/size.ts';
import { candidatesOf } from '../planner/failover-plan.ts';
import type { KnownHost } from '../planner/failover-plan.ts';
import { heldBy, planDrain } from '../planner/drain-plan.ts';
import { strandedReplicas } from '../planner/replica-plan.ts';
import type { Routes } from '../protocol/routes.ts';
import type { Handlers } from '../protocol/server.ts';
import { denyHost } from './host-certificates.ts';
import { findHost } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { endMove } from './moves.ts';
import { knownHosts } from './protection.ts';
import { keys } from './keys.ts';
import type { Transaction } from './repository.ts';
import { endLostMove, requireSilence, takeOver } from './takeover.ts';
import { forgetKeys } from './volume-keys.ts';

export function hostLifeHandlers(context: NameServerContext): Pick<Handlers<Routes>, 'drainHost' | 'activateHost' | 'labelHost' | 'removeHost'> {
  const { repository } = context;
  return {
    drainHost: async ({ parameters }) => {
      const host = await findHost(repository, parameters.host);
      const volumes = await repository.list(keys.volumes, volumeRecord);
      const hosts = await knownHosts(context);
      refuseIfHomeless(host, planDrain({ host: host.id, volumes, hosts }).homeless);
      refuseIfStranded(host, strandedReplicas(volumes, hosts, host.id));
      await changeHost(context, host, { state: 'draining' }, `Host "${host.name}" is being drained.`);
      return { held: heldBy(volumes, host.id).length, replicas: volumes.filter(({ replicas }) => replicas.includes(host.id)).length };
    },
    activateHost: async ({ parameters }) => {
      const host = await findHost(repository, parameters.host);
      await changeHost(context, host, { state: 'active' }, `Host "${host.name}" takes volumes again.`);
      return {};
    },
    labelHost: async ({ parameters, body }) => {
      const host = await findHost(repository, parameters.host);
      await changeHost(context, host, { labels: body.labels }, `The labels of host "${host.name}" were set.`);
      return {};
    },
    removeHost: async ({ parameters, body }) => {
      const host = await findHost(repository, parameters.host);
      if (host.id === context.localHost) {
        throw new SupercargoError('wrong-state', `The name server itself runs on host "${host.name}".`, {
          hint: 'It stays in the cluster as long as the name server is there; it can be drained.',
        });
      }
      if (body.lost && body.reason === undefined) {
        throw new SupercargoError('invalid-request', 'To give a host up as lost, say why.', {
          hint: `supercargo host rm ${host.name} --lost --reason "…"`,
        });
      }
      const reason = body.reason ?? 'It was drained.';
      const outcome = body.lost ? await failOverAll(context, host, reason, body.abandonVolumes) : { failedOver: [], withoutCopy: [] };
      await removeHost(context, host, body.lost, reason);
      return outcome;
    },
  };
}

function list(volumes: readonly Volume[]): string {
  return volumes.map(({ name }) => `"${name}"`).join(', ');
}

/** @throws wrong-state with the volumes that fit nowhere else, and what each may take */
function refuseIfHomeless(host: Host, homeless: readonly { volume: Volume; bytes: number }[]): void {
  if (homeless.length === 0) return;
  const wanted = homeless.map(({ volume, bytes }) => `"${volume.name}" (${formatSize(Math.ceil(bytes))})`).join(', ');
  throw new SupercargoError('wrong-state', `Host "${host.name}" cannot be drained: no other host that is up has room for ${wanted}.`, {
    hint: 'Bring up or add a host with room, or remove what is not needed.',
  });
}

/** @throws wrong-state: a replica is not given up because nobody else can have it, and so the draining would never end */
function refuseIfStranded(host: Host, stranded: readonly Volume[]): void {
  if (stranded.length === 0) return;
  const classes = [...new Set(stranded.map((volume) => volume.class))].join(', ');
  throw new SupercargoError('wrong-state', `Host "${host.name}" cannot be drained: no other host can have its replicas of ${list(stranded)}.`, {
    hint: `Bring up or add a host with room, or ask for fewer replicas (class ${classes}): supercargo class set NAME --replicas N`,
  });
}

async function changeHost(
  { repository }: NameServerContext,
  seen: Host,
  wanted: Partial<Pick<Host, 'state' | 'labels'>>,
  message: string,
): Promise<void> {
  await repository.transact(async (transaction) => {
    const host = await findHost(transaction, seen.id);
    const changed: Host = { ...host, ...wanted };
    if (JSON.stringify(changed) === JSON.stringify(host)) return;
    transaction.put(keys.host(host.id), changed);
    transaction.record('host.changed', host.name, 'operator', message);
  });
}

interface Fates {
  failedOver: string[];
  withoutCopy: string[];
}

/**
 * By the operator's word that the host is lost, every volume that it holds goes to its best copy; those without one are given up if the operator says that too.
 * @throws data-missing if there are such and he does not
 */
async function failOverAll(context: NameServerContext, host: Host, reason: string, abandon: boolean): Promise<Fates> {
  const { repository } = context;
  await repository.transact((transaction) => requireSilence(transaction, host.id));
  await endMovesOf(context, host);
  const hosts = await knownHosts(context);
  const held = heldBy(await repository.list(keys.volumes, volumeRecord), host.id);
  const plans = held.map((volume) => ({ volume, best: candidatesOf(volume, hosts)[0] }));
  const withoutCopy = plans.filter(({ best }) => best === undefined).map(({ volume }) => volume);
  const away = withoutCopy.filter((volume) => hostsWithHistory(volume, hosts, host.id).length > 0);
  if (away.length > 0) {
    const names = [...new Set(away.flatMap((volume) => hostsWithHistory(volume, hosts, host.id)))];
    throw new SupercargoError('data-missing', `The other copies of ${list(away)} are on hosts that do not answer: ${names.join(', ')}.`, {
      hint: 'Bring one of them up first; it can take over.',
    });
  }
  if (withoutCopy.length > 0 && !abandon) {
    throw new SupercargoError('data-missing', `Host "${host.name}" has the only copy that is up of ${list(withoutCopy)}.`, {
      hint: `Bring a host with a replica up, or bring ${host.name} back. If they are to be given up: --abandon-volumes`,
    });
  }
  for (const { volume, best } of plans) {
    if (best === undefined) continue;
    await takeOver(context, {
      volume: volume.id,
      epoch: volume.epoch,
      from: host.id,
      to: best.host.id,
      actor: 'operator',
      reason,
      holderIsOff: true,
    });
  }
  for (const volume of withoutCopy) await abandonVolume(context, volume, host, reason);
  const namesOf = (volumes: readonly Volume[]): string[] => volumes.map(({ name }) => name);
  return { failedOver: namesOf(held.filter((volume) => !withoutCopy.includes(volume))), withoutCopy: namesOf(withoutCopy) };
}

/** Hosts, up or not, that have something of the volume's history. */
function hostsWithHistory(volume: Volume, hosts: readonly KnownHost[], except: string): string[] {
  const copies = volume.copies.filter((copy) => copy.host !== except && newestInLineage(volume, copy) !== null);
  return copies.map((copy) => hosts.find(({ id }) => id === copy.host)?.name ?? copy.host);
}

/** A move that leads to a lost host, or away from it, comes to no good end. */
async function endMovesOf(context: NameServerContext, host: Host): Promise<void> {
  for (const move of await context.repository.list(keys.moves, moveRecord)) {
    if (isOver(move)) continue;
    if (move.from === host.id) await endLostMove(context, move.id, 'operator', 'The host was given up as lost.');
    const error = { code: 'host-unreachable', message: `Host "${host.name}" was given up as lost.`, hint: null };
    if (move.to === host.id) await endMove(context, move.id, error, 'operator');
  }
}

/** The record goes, and so do copies on other hosts that nobody could start from. */
async function abandonVolume({ repository }: NameServerContext, { id }: Volume, host: Host, reason: string): Promise<void> {
  await repository.transact(async (transaction) => {
    const volume = await transaction.get(keys.volume(id), volumeRecord);
    if (volume?.placement.state !== 'held' || volume.placement.host !== host.id) return;
    const copies = volume.copies.filter((copy) => copy.host !== host.id);
    const removed: Volume = { ...volume, copies, placement: { state: 'removing', host: null, base: null, confirmed: true } };
    transaction.delete(keys.volumeName(volume.name));
    if (isGone(removed)) transaction.delete(keys.volume(id));
    else transaction.put(keys.volume(id), removed);
    forgetKeys(transaction, volume);
    transaction.record(
      'volume.abandoned',
      volume.name,
      'operator',
      `Volume "${volume.name}" was given up: its only copy was on ${host.name}. ${reason}`,
    );
  });
}

/**
 * Takes the host out of all records at once, comparing every volume. It gets nothing new from before the look at them: a volume that is made there meanwhile would be
 * held by nobody. Whatever comes back under its certificate is refused (`admission.ts`), by the other hosts as well.
 */
async function removeHost(context: NameServerContext, host: Host, lost: boolean, reason: string): Promise<void> {
  const { repository } = context;
  refuseIfNeeded(host, await repository.list(keys.volumes, volumeRecord), lost);
  const message = `Host "${host.name}" is being removed.`;
  await changeHost(context, host, { state: 'draining' }, message);
  try {
    const known = await repository.list(keys.volumes, volumeRecord);
    await repository.transact(async (transaction) => {
      const found = await Promise.all(known.map(({ id }) => transaction.get(keys.volume(id), volumeRecord)));
      const volumes = found.filter((each) => each !== undefined);
      refuseIfNeeded(host, volumes, lost);
      if (lost) await requireSilence(transaction, host.id);
      if ((await findHost(transaction, host.id)).state !== 'draining') throw notEmpty(host, 'its draining was ended');
      for (const volume of volumes) if (hasTraceOf(volume, host.id)) putWithout(transaction, volume, host.id);
      await denyHost(context, transaction, host.id, `Host "${host.name}" was removed.`);
      transaction.delete(keys.certificate(host.id));
      transaction.delete(keys.trust(host.id));
      transaction.delete(keys.host(host.id));
      transaction.delete(keys.hostName(host.name));
      transaction.delete(keys.session(host.id));
      transaction.delete(keys.acknowledgement(host.id));
      transaction.record('host.removed', host.name, 'operator', `Host "${host.name}" was removed${lost ? ' as lost' : ''}. ${reason}`);
    });
  } catch (error) {
    await changeHost(context, host, { state: host.state }, `Host "${host.name}" was not removed.`);
    throw error;
  }
}

/** @throws wrong-state with what is in the way of the host's removal */
function refuseIfNeeded(host: Host, volumes: readonly Volume[], lost: boolean): void {
  const held = volumes.filter((volume) => isPartyOf(volume, host.id));
  if (held.length > 0) throw notEmpty(host, `it is holder, source or destination of ${list(held)}`);
  if (lost) return;
  refuseIfKept(host, volumes);
  refuseIfAlone(host, volumes);
  const copied = volumes.filter((volume) => hasTraceOf(volume, host.id));
  if (copied.length > 0) throw notEmpty(host, `it has copies of ${list(copied)}`);
}

function hasTraceOf({ copies, replicas, diverged }: Volume, host: string): boolean {
  return replicas.includes(host) || [...copies, ...diverged].some((each) => each.host === host);
}

/** @throws wrong-state: draining leaves what an operator has not decided on yet where it is */
function refuseIfKept(host: Host, volumes: readonly Volume[]): void {
  const kept = volumes.flatMap(({ name, diverged }) => diverged.filter((each) => each.host === host.id).map(({ snapshot }) => `${name} ${snapshot}`));
  if (kept.length === 0) return;
  throw new SupercargoError('wrong-state', `Host "${host.name}" keeps what it had written before it was replaced: ${kept.join(', ')}.`, {
    hint: 'Decide on each first: supercargo volume restore VOLUME SNAPSHOT NEWNAME (the new volume then moves away), or supercargo volume forget VOLUME SNAPSHOT',
  });
}

/** @throws wrong-state: a snapshot with a name that no other host has does not go by itself */
function refuseIfAlone(host: Host, volumes: readonly Volume[]): void {
  const alone = volumes.flatMap((volume) =>
    volume.snapshots
      .filter((each) => isTaken(each) && hostsWith(volume, each.snapshot).join() === host.id)
      .map(({ name }) => `${volume.name}@${name}`),
  );
  if (alone.length === 0) return;
  throw new SupercargoError('wrong-state', `Host "${host.name}" has snapshots that no other host has: ${alone.join(', ')}.`, {
    hint: 'Decide on each first: supercargo volume clone VOLUME@SNAPSHOT NEWNAME (the new volume then moves away), or supercargo snapshot rm VOLUME@SNAPSHOT',
  });
}

function isPartyOf({ placement }: Volume, host: string): boolean {
  switch (placement.state) {
    case 'free':
      return false;
    case 'held':
      return placement.host === host;
    case 'removing':
      // What it has given up already only waits for its copy to be deleted.
      return placement.host === host && !placement.confirmed;
    case 'moving':
      return placement.from === host || placement.to === host;
  }
}

function notEmpty(host: Host, why: string): SupercargoError {
  return new SupercargoError('wrong-state', `Host "${host.name}" cannot be removed: ${why}.`, {
    hint: `supercargo host drain ${host.name} empties it; if it is lost for good: supercargo host rm ${host.name} --lost --reason "…"`,
  });
}

function putWithout(transaction: Transaction, volume: Volume, host: string): void {
  const rest: Volume = {
    ...volume,
    copies: volume.copies.filter((copy) => copy.host !== host),
    copyChanges: Object.fromEntries(Object.entries(volume.copyChanges).filter(([each]) => each !== host)),
    replicas: volume.replicas.filter((each) => each !== host),
    diverged: volume.diverged.filter((each) => each.host !== host),
  };
  if (isGone(rest)) transaction.delete(keys.volume(volume.id));
  else transaction.put(keys.volume(volume.id), rest);
}
