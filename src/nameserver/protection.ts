import { SupercargoError } from '../model/errors.ts';
import { failsOverByItself, forgetDiverged, recordDiverged, recordSnapshot } from '../model/failover.ts';
import { hostRecord, moveRecord } from '../model/records.ts';
import type { Volume } from '../model/records.ts';
import { candidatesOf } from '../planner/failover-plan.ts';
import type { Candidate, KnownHost } from '../planner/failover-plan.ts';
import { explainVolume } from '../planner/explain.ts';
import type { Routes } from '../protocol/routes.ts';
import type { Handlers } from '../protocol/server.ts';
import { callingHost, hostViewOf } from './hosts.ts';
import { findHost, findVolume, hostName } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import type { Transaction } from './repository.ts';
import { requireRestored } from './restore.ts';
import { takeOver } from './takeover.ts';

type ProtectionRoutes =
  | 'getVolumeStatus'
  | 'recordSnapshot'
  | 'createReplicaTicket'
  | 'previewFailover'
  | 'failOver'
  | 'recordDiverged'
  | 'forgetDiverged';

export function protectionHandlers(context: NameServerContext): Pick<Handlers<Routes>, ProtectionRoutes> {
  return { ...historyHandlers(context), ...failoverHandlers(context) };
}

function historyHandlers(
  context: NameServerContext,
): Pick<Handlers<Routes>, 'recordSnapshot' | 'createReplicaTicket' | 'recordDiverged' | 'forgetDiverged'> {
  const { repository, issuer, clock } = context;
  return {
    recordSnapshot: async ({ parameters, body }, request) => {
      const host = callingHost(request);
      // The host's idea of this clock may run ahead a little; a copy is never younger than it is said to be here.
      const takenAt = Date.parse(body.takenAt) > clock.wallMilliseconds() ? repository.now() : body.takenAt;
      await changeVolume(context, parameters.volume, (volume) => recordSnapshot(volume, host, { ...body, takenAt }));
      return {};
    },
    createReplicaTicket: async ({ parameters }, request) => {
      const destination = callingHost(request);
      const volume = await findVolume(repository, parameters.volume);
      const { placement } = volume;
      if (placement.state !== 'held' || placement.host === destination || !volume.replicas.includes(destination)) {
        throw new SupercargoError('forbidden', `This host is to keep no replica of volume "${volume.name}".`, { hint: 'Look at the volume again.' });
      }
      const ticket = await issuer.signTicket({ move: volume.id, volume: volume.id, epoch: volume.epoch, source: placement.host, destination });
      return { ticket, source: placement.host };
    },
    recordDiverged: async ({ parameters, body }, request) => {
      const host = callingHost(request);
      await changeVolume(
        context,
        parameters.volume,
        (volume) => recordDiverged(volume, { host, ...body, keptAt: repository.now() }),
        async (transaction, volume) => {
          const name = await hostName(transaction, host);
          transaction.record('volume.diverged', volume.name, name, `What ${name} had written to volume "${volume.name}" on its own is kept there.`);
        },
      );
      return {};
    },
    forgetDiverged: async ({ parameters }) => {
      await changeVolume(
        context,
        parameters.volume,
        (volume) => forgetDiverged(volume, parameters.snapshot),
        async (transaction, volume) => {
          await requireRestored(repository, volume, parameters.snapshot);
          transaction.record('volume.diverged-forgotten', volume.name, 'operator', `A kept copy of volume "${volume.name}" was given up.`);
        },
      );
      return {};
    },
  };
}

function failoverHandlers(context: NameServerContext): Pick<Handlers<Routes>, 'getVolumeStatus' | 'previewFailover' | 'failOver'> {
  const { repository, clock } = context;
  return {
    getVolumeStatus: async ({ parameters }) => {
      const volume = await findVolume(repository, parameters.volume);
      const move = volume.placement.state === 'moving' ? await repository.get(keys.move(volume.placement.move), moveRecord) : undefined;
      return explainVolume({ volume, move: move ?? null, hosts: await knownHosts(context), now: clock.wallMilliseconds() });
    },
    previewFailover: async ({ parameters }) => {
      const volume = await findVolume(repository, parameters.volume);
      const holder = requireHolder(volume);
      const hosts = await knownHosts(context);
      const view = hosts.find(({ id }) => id === holder);
      return {
        volume: volume.name,
        epoch: volume.epoch,
        holder: view?.name ?? holder,
        holderStatus: view?.downMilliseconds === null ? 'up' : 'down',
        automatic: failsOverByItself(volume),
        candidates: candidatesOf(volume, hosts).map(({ host, newest }) => ({
          host: host.name,
          snapshot: newest.snapshot,
          takenAt: newest.takenAt,
          lossMilliseconds: Math.max(0, clock.wallMilliseconds() - Date.parse(newest.takenAt)),
        })),
      };
    },
    failOver: async ({ parameters, body }) => {
      const volume = await findVolume(repository, parameters.volume);
      const from = requireHolder(volume);
      const hosts = await knownHosts(context);
      requireSeen(volume, hosts, body.epoch);
      const candidate = await chooseCandidate(context, volume, hosts, body.to);
      if (hosts.find(({ id }) => id === from)?.downMilliseconds !== null) requireWord(volume, hosts, from, body.holderIsOff);
      return takeOver(context, {
        volume: volume.id,
        epoch: body.epoch,
        from,
        to: candidate.host.id,
        actor: 'operator',
        reason: body.reason,
        holderIsOff: body.holderIsOff,
      });
    },
  };
}

/** An order is for the holder that its giver saw, and not for one that has come since. @throws stale-epoch */
function requireSeen(volume: Volume, hosts: readonly KnownHost[], seen: number): void {
  if (volume.epoch === seen) return;
  const from = requireHolder(volume);
  const name = hosts.find(({ id }) => id === from)?.name ?? from;
  throw new SupercargoError(
    'stale-epoch',
    `Volume "${volume.name}" has changed hands: it is held by ${name} under epoch ${volume.epoch}, and the order is for epoch ${seen}.`,
    { hint: `Look at it again: supercargo volume failover ${volume.name} --dry-run` },
  );
}

/** A holder that has promised to stop by itself is replaced by itself; for any other somebody must have looked. */
function requireWord(volume: Volume, hosts: readonly KnownHost[], from: string, holderIsOff: boolean): void {
  if (holderIsOff) return;
  const name = hosts.find(({ id }) => id === from)?.name ?? from;
  if (failsOverByItself(volume)) {
    throw new SupercargoError('wrong-state', `Volume "${volume.name}" fails over by itself as soon as the lease of ${name} has ended.`, {
      hint: `Wait for it, or, if you know that ${name} has no power, say so: --holder-is-off`,
    });
  }
  throw new SupercargoError('wrong-state', `${name} does not answer, but its containers may still run and write to volume "${volume.name}".`, {
    hint: `Make sure that ${name} is switched off, then say so: --holder-is-off`,
  });
}

async function chooseCandidate(context: NameServerContext, volume: Volume, hosts: readonly KnownHost[], to: string | undefined): Promise<Candidate> {
  const candidates = candidatesOf(volume, hosts);
  const wanted = to === undefined ? undefined : await findHost(context.repository, to);
  const found = wanted === undefined ? candidates[0] : candidates.find(({ host }) => host.id === wanted.id);
  if (found !== undefined) return found;
  const names = candidates.map(({ host }) => host.name).join(', ');
  throw new SupercargoError(
    'data-missing',
    wanted === undefined
      ? `No host that is up has a copy of volume "${volume.name}".`
      : `Host "${wanted.name}" has no copy of volume "${volume.name}" that it could start from.`,
    { hint: names === '' ? 'Bring its holder, or a host with a replica, back.' : `These could take over: ${names}.` },
  );
}

/** @throws wrong-state unless the volume is held */
function requireHolder(volume: Volume): string {
  if (volume.placement.state === 'held') return volume.placement.host;
  const hint =
    volume.placement.state === 'moving' ? `End its move first: supercargo move cancel ${volume.placement.move}` : 'There is no holder to replace.';
  throw new SupercargoError('wrong-state', `Volume "${volume.name}" is not held by a host (it is ${volume.placement.state}).`, { hint });
}

/** All hosts, without the history of a mirror: one that is down has been so for at least no time. */
export async function knownHosts(context: NameServerContext): Promise<KnownHost[]> {
  const hosts = await context.repository.list(keys.hosts, hostRecord);
  return Promise.all(hosts.map(async (host) => ({ ...host, downMilliseconds: (await hostViewOf(context, host)).status === 'up' ? null : 0 })));
}

/** One compare-and-swap over a volume. */
async function changeVolume(
  { repository }: NameServerContext,
  word: string,
  decide: (volume: Volume) => Volume,
  onChange?: (transaction: Transaction, volume: Volume) => Promise<void>,
): Promise<Volume> {
  return repository.transact(async (transaction) => {
    const volume = await findVolume(transaction, word);
    const changed = decide(volume);
    if (changed === volume) return volume;
    transaction.put(keys.volume(volume.id), changed);
    await onChange?.(transaction, changed);
    return changed;
  });
}
