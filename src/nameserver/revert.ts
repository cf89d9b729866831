import { isErrorCode, SupercargoError } from '../model/errors.ts';
import { currentHost } from '../model/holder.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { volumeRecord } from '../model/records.ts';
import type { Volume } from '../model/records.ts';
import { callOffRevert, commitRevert, refuseRevert, requestRevert } from '../model/revert.ts';
import { findSnapshot } from '../model/snapshots.ts';
import type { Routes } from '../protocol/routes.ts';
import type { Handlers, RequestContext } from '../protocol/server.ts';
import { awaitVolume } from './await-volume.ts';
import { actorName, callingHost } from './hosts.ts';
import { findVolume, hostName } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import { requireReach } from './reach.ts';
import { nameByTime } from './snapshots.ts';

/** How long a holder may take to make sure that nothing uses the volume and to give it up, in milliseconds. */
const closingMilliseconds = 15_000;

export function revertHandlers(context: NameServerContext): Pick<Handlers<Routes>, 'revertVolume' | 'commitRevert' | 'refuseRevert'> {
  const { repository, random } = context;
  return {
    revertVolume: async ({ parameters, body }, request) => revertVolume(context, parameters.volume, body.snapshot, request),
    commitRevert: async ({ parameters, body }, request) => {
      const host = callingHost(request);
      await repository.transact(async (transaction) => {
        const volume = await findVolume(transaction, parameters.volume);
        const now = repository.now();
        const target = volume.snapshots.find(({ snapshot }) => snapshot === volume.reverting?.snapshot)?.name ?? 'a snapshot';
        const safety = {
          id: newIdentifier('snp', random),
          name: nameByTime(volume, 'safety', now),
          description: `What the volume held before it went back to ${target}.`,
        };
        const last = { snapshot: body.snapshot, epoch: body.epoch, takenAt: now, bytes: 0 };
        const changed = commitRevert(volume, host, { epoch: body.epoch, last, safety });
        if (changed === volume) return;
        const message = `Volume "${volume.name}" went back to ${volume.name}@${target}; what it held before is ${volume.name}@${safety.name}.`;
        transaction.put(keys.volume(volume.id), changed);
        transaction.record('volume.reverted', volume.name, await hostName(transaction, host), message);
      });
      return {};
    },
    refuseRevert: async ({ parameters, body }, request) => {
      const host = callingHost(request);
      const { epoch, ...problem } = body;
      await repository.transact(async (transaction) => {
        const volume = await findVolume(transaction, parameters.volume);
        const changed = refuseRevert(volume, host, epoch, problem);
        if (changed !== volume) transaction.put(keys.volume(volume.id), changed);
      });
      return {};
    },
  };
}

/** Asks the holder, and answers when it is done; what is not done in time is called off, so that it does not come true when nobody thinks of it any more. */
async function revertVolume(context: NameServerContext, word: string, snapshot: string, request: RequestContext): Promise<Volume> {
  const { repository, random } = context;
  const actor = await actorName(context, request);
  const asked = await repository.transact(async (transaction) => {
    const volume = await findVolume(transaction, word);
    if (request.host !== null) await requireReach(context, transaction, volume, request.host);
    const changed = requestRevert(volume, { id: newIdentifier('snp', random), word: snapshot, now: repository.now() });
    if (changed !== volume) {
      const title = `${volume.name}@${findSnapshot(volume, snapshot).name}`;
      transaction.put(keys.volume(volume.id), changed);
      transaction.record('volume.revert-requested', volume.name, actor, `Volume "${volume.name}" is to go back to ${title}.`);
    }
    return changed;
  });
  const isOver = ({ reverting }: Volume): boolean => reverting === null || reverting.id !== asked.reverting?.id || reverting.problem !== null;
  // Whatever happens here, it must not stay asked for.
  try {
    await awaitVolume(context, asked.id, isOver, closingMilliseconds);
  } catch (error) {
    await outcomeOf(context, asked).catch(() => undefined);
    throw error;
  }
  return outcomeOf(context, asked);
}

/** @throws what the holder says is in the way, host-unreachable, wrong-state if something else came first */
async function outcomeOf(context: NameServerContext, asked: Volume): Promise<Volume> {
  const { repository } = context;
  const { name, reverting } = asked;
  const before = await repository.transact(async (transaction) => {
    const volume = await findVolume(transaction, asked.id);
    const changed = callOffRevert(volume, reverting?.id);
    if (changed !== volume) transaction.put(keys.volume(volume.id), changed);
    return volume;
  });
  if (before.lineage.some((entry) => entry.snapshot === reverting?.snapshot && entry.epoch > asked.epoch)) return before;
  if (before.reverting === null || before.reverting.id !== reverting?.id) {
    throw new SupercargoError('wrong-state', `Volume "${name}" did not go back: it was moved, taken over or asked for otherwise in between.`, {
      hint: `Look at it: supercargo volume inspect ${name}`,
    });
  }
  const { problem } = before.reverting;
  if (problem !== null) {
    throw new SupercargoError(
      isErrorCode(problem.code) ? problem.code : 'internal',
      problem.message,
      problem.hint === null ? {} : { hint: problem.hint },
    );
  }
  const host = currentHost(before.placement);
  const holder = host === null ? 'nobody' : await hostName(repository, host);
  throw new SupercargoError('host-unreachable', `Volume "${name}" is held by ${holder}, which does not answer.`, {
    hint: `Start the agent on ${holder}, then ask again.`,
  });
}

/** At the start of a name server: what the one before was still asking for is called off; whoever wanted it asks again. */
export async function callOffReverts({ repository }: NameServerContext): Promise<void> {
  for (const { id } of await repository.list(keys.volumes, volumeRecord)) {
    await repository.transact(async (transaction) => {
      const volume = await transaction.get(keys.volume(id), volumeRecord);
      if (volume !== undefined && volume.reverting !== null) transaction.put(keys.volume(id), callOffRevert(volume));
    });
  }
}
