import { SupercargoError } from '../model/errors.ts';
import { isGone } from '../model/placement.ts';
import { volumeRecord } from '../model/records.ts';
import type { Host, Volume } from '../model/records.ts';
import { candidatesOf } from '../planner/failover-plan.ts';
import { heldBy, planDrain } from '../planner/drain-plan.ts';
import type { Routes } from '../protocol/routes.ts';
import type { Handlers } from '../protocol/server.ts';
import { findHost } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { knownHosts } from './protection.ts';
import { keys } from './repository.ts';
import type { Transaction } from './repository.ts';
import { requireSilence, takeOver } from './takeover.ts';

export function hostLifeHandlers(context: NameServerContext): Pick<Handlers<Routes>, 'drainHost' | 'activateHost' | 'labelHost' | 'removeHost'> {
  const { repository } = context;
  return {
    drainHost: async ({ parameters }) => {
      const host = await findHost(repository, parameters.host);
      const volumes = await repository.list(keys.volumes, volumeRecord);
      const { homeless } = planDrain({ host: host.id, volumes, hosts: await knownHosts(context) });
      if (homeless.length > 0) {
        throw new SupercargoError('wrong-state', `Host "${host.name}" cannot be drained: no other host that is up has room for ${list(homeless)}.`, {
          hint: 'Bring up or add a host with room, or remove what is not needed.',
        });
      }
      await changeHost(context, host, { ...host, state: 'draining' }, `Host "${host.name}" is being drained.`);
      return { held: heldBy(volumes, host.id).length, replicas: volumes.filter(({ replicas }) => replicas.includes(host.id)).length };
    },
    activateHost: async ({ parameters }) => {
      const host = await findHost(repository, parameters.host);
      await changeHost(context, host, { ...host, state: 'active' }, `Host "${host.name}" takes volumes again.`);
      return {};
    },
    labelHost: async ({ parameters, body }) => {
      const host = await findHost(repository, parameters.host);
      await changeHost(context, host, { ...host, labels: body.labels }, `The labels of host "${host.name}" were set.`);
      return {};
    },
    removeHost: async ({ parameters, body }) => {
      const host = await findHost(repository, parameters.host);
      if (body.lost && body.reason === undefined) {
        throw new SupercargoError('invalid-request', 'To give a host up as lost, say why.', { hint: `supercargo host rm ${host.name} --lost --reason "…"` });
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

async function changeHost({ repository }: NameServerContext, seen: Host, wanted: Host, message: string): Promise<void> {
  await repository.transact(async (transaction) => {
    const host = await findHost(transaction, seen.id);
    const changed: Host = { ...host, state: wanted.state, labels: wanted.labels };
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
  const hosts = await knownHosts(context);
  const held = heldBy(await repository.list(keys.volumes, volumeRecord), host.id);
  const plans = held.map((volume) => ({ volume, best: candidatesOf(volume, hosts)[0] }));
  const withoutCopy = plans.filter(({ best }) => best === undefined).map(({ volume }) => volume);
  if (withoutCopy.length > 0 && !abandon) {
    throw new SupercargoError('data-missing', `Host "${host.name}" has the only copy that is up of ${list(withoutCopy)}.`, {
      hint: `Bring a host with a replica up, or bring ${host.name} back. If they are to be given up: --abandon-volumes`,
    });
  }
  for (const { volume, best } of plans) {
    if (best === undefined) continue;
    await takeOver(context, { volume: volume.id, from: host.id, to: best.host.id, actor: 'operator', reason, holderIsOff: true });
  }
  for (const volume of withoutCopy) await abandonVolume(context, volume, host, reason);
  const namesOf = (volumes: readonly Volume[]): string[] => volumes.map(({ name }) => name);
  return { failedOver: namesOf(held.filter((volume) => !withoutCopy.includes(volume))), withoutCopy: namesOf(withoutCopy) };
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
    transaction.record('volume.abandoned', volume.name, 'operator', `Volume "${volume.name}" was given up: its only copy was on ${host.name}. ${reason}`);
  });
}

/** Takes the host out of all records at once. Whatever comes back under its certificate is refused. */
async function removeHost(context: NameServerContext, host: Host, lost: boolean, reason: string): Promise<void> {
  const { repository } = context;
  const known = await repository.list(keys.volumes, volumeRecord);
  await repository.transact(async (transaction) => {
    const volumes = (await Promise.all(known.map(({ id }) => transaction.get(keys.volume(id), volumeRecord)))).filter((each) => each !== undefined);
    const concerned = volumes.filter((volume) => isPartyOf(volume, host.id));
    if (concerned.length > 0) throw inTheWay(host, concerned, 'it is holder, source or destination of');
    if (lost) await requireSilence(transaction, host.id);
    const withCopy = volumes.filter((volume) => volume.copies.some((copy) => copy.host === host.id) || volume.replicas.includes(host.id));
    if (!lost && withCopy.length > 0) throw inTheWay(host, withCopy, 'it has copies of');
    for (const volume of withCopy) putWithout(transaction, volume, host.id);
    transaction.delete(keys.host(host.id));
    transaction.delete(keys.hostName(host.name));
    transaction.delete(keys.session(host.id));
    transaction.record('host.removed', host.name, 'operator', `Host "${host.name}" was removed${lost ? ' as lost' : ''}. ${reason}`);
  });
}

function isPartyOf({ placement }: Volume, host: string): boolean {
  switch (placement.state) {
    case 'free':
      return false;
    case 'held':
    case 'removing':
      return placement.host === host;
    case 'moving':
      return placement.from === host || placement.to === host;
  }
}

function inTheWay(host: Host, volumes: readonly Volume[], what: string): SupercargoError {
  return new SupercargoError('wrong-state', `Host "${host.name}" cannot be removed: ${what} ${list(volumes)}.`, {
    hint: `supercargo host drain ${host.name} empties it; if it is lost for good: supercargo host rm ${host.name} --lost --reason "…"`,
  });
}

function putWithout(transaction: Transaction, volume: Volume, host: string): void {
  transaction.put(keys.volume(volume.id), {
    ...volume,
    copies: volume.copies.filter((copy) => copy.host !== host),
    replicas: volume.replicas.filter((each) => each !== host),
    diverged: volume.diverged.filter((each) => each.host !== host),
  });
}

