import { isSupercargoError, SupercargoError } from '../model/errors.ts';
import { refuseRemoval } from '../model/placement.ts';
import { eventRecord, volumeRecord } from '../model/records.ts';
import type { Volume } from '../model/records.ts';
import { awaitVolume } from './await-volume.ts';
import { hostName } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';

/** How long a holder may take to confirm that nothing uses the volume, in milliseconds. */
const confirmationMilliseconds = 15_000;

/**
 * Waits until the holder has given the volume up, and calls the removal off if it does not in time, whether or not anybody still waits for the
 * answer: a removal that nobody remembers must not come true days later.
 * @throws volume-in-use if it refuses, host-unreachable if it does not answer (the volume then stays)
 */
export async function awaitRemoval(context: NameServerContext, removing: Volume): Promise<void> {
  try {
    const volume = await awaitVolume(context, removing.id, isAnswered, confirmationMilliseconds);
    if (await isConfirmed(context, removing, volume)) return;
  } catch (error) {
    // Whatever went wrong here, it must not stay asked for; the first error is the one to tell.
    if (!isSupercargoError(error, 'volume-in-use')) await giveUp(context, removing).catch(() => undefined);
    throw error;
  }
  await giveUp(context, removing);
}

/** At the start of a name server: removals that the one before was still asking for are called off; whoever wanted them asks again. */
export async function callOffRemovals({ repository }: NameServerContext): Promise<void> {
  for (const { id } of await repository.list(keys.volumes, volumeRecord)) {
    await repository.transact(async (transaction) => {
      const volume = await transaction.get(keys.volume(id), volumeRecord);
      if (volume?.placement.state === 'removing' && !volume.placement.confirmed) transaction.put(keys.volume(id), refuseRemoval(volume));
    });
  }
}

function isAnswered({ placement }: Volume): boolean {
  return placement.state !== 'removing' || placement.confirmed;
}

/** False while it is being asked for. @throws volume-in-use if it was refused */
async function isConfirmed(context: NameServerContext, removing: Volume, volume: Volume | undefined): Promise<boolean> {
  if (volume === undefined) return true;
  if (volume.placement.state === 'removing') return volume.placement.confirmed;
  throw new SupercargoError('volume-in-use', await refusalText(context, removing), {
    hint: 'Stop and remove what uses it, then remove the volume again.',
  });
}

/** The holder's own words, from the event that it left with its refusal. */
async function refusalText({ store }: NameServerContext, removing: Volume): Promise<string> {
  const { entries } = await store.list(keys.events);
  const refusals = entries
    .map((entry) => eventRecord.parse(entry.value))
    .filter((event) => event.type === 'volume.removal-refused' && event.subject === removing.name);
  return refusals.at(-1)?.message ?? `Volume "${removing.name}" is in use.`;
}

async function giveUp(context: NameServerContext, removing: Volume): Promise<void> {
  const host = removing.placement.state === 'removing' ? removing.placement.host : null;
  const name = host === null ? 'its host' : await hostName(context.repository, host);
  const confirmed = await context.repository.transact(async (transaction) => {
    const volume = await transaction.get(keys.volume(removing.id), volumeRecord);
    if (volume?.placement.state !== 'removing' || volume.placement.confirmed) return true;
    transaction.put(keys.volume(volume.id), refuseRemoval(volume));
    return false;
  });
  if (confirmed) return;
  throw new SupercargoError('host-unreachable', `Volume "${removing.name}" is held by ${name}, which does not answer.`, {
    hint: `Start the agent on ${name}, then remove the volume again.`,
  });
}
