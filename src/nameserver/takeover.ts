import { formatDuration } from '../model/duration.ts';
import { SupercargoError } from '../model/errors.ts';
import { failOver } from '../model/failover.ts';
import { hostRecord, volumeRecord } from '../model/records.ts';
import type { Volume } from '../model/records.ts';
import { z } from 'zod';
import { hostName } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './repository.ts';
import type { Transaction } from './repository.ts';

export interface TakeoverRequest {
  volume: string;
  from: string;
  to: string;
  actor: string;
  reason: string;
  /** The operator's word that the holder does not run, in place of its lease. */
  holderIsOff?: boolean;
}

/**
 * Lets a replica take the place of a holder that is lost, as one compare-and-swap. It rests on the holder's session being gone, which is compared: a heartbeat
 * that comes in between makes it fail. The caller has waited for the margin. @throws wrong-state if the volume or the hosts are not as the request says
 */
export async function takeOver(context: NameServerContext, request: TakeoverRequest): Promise<Volume> {
  return context.repository.transact(async (transaction) => {
    const volume = await transaction.get(keys.volume(request.volume), volumeRecord);
    if (volume?.placement.state !== 'held' || volume.placement.host !== request.from) throw changed('The volume is not held by that host any more.');
    await requireSilence(transaction, request.from);
    if ((await transaction.get(keys.session(request.to), z.unknown())) === undefined) throw changed('The host that was to take over does not answer.');
    if (request.holderIsOff !== true && (volume.leasedEpoch !== volume.epoch || volume.protection.failover !== 'auto')) {
      throw changed('The holder has not promised to stop by itself.');
    }
    const after = failOver(volume, { ...request, now: context.repository.now() });
    transaction.put(keys.volume(volume.id), after);
    transaction.record('volume.failed-over', volume.name, request.actor, await describe(transaction, context, after));
    return after;
  });
}

/** The host has no session, which this transaction compares. @throws wrong-state */
export async function requireSilence(transaction: Transaction, host: string): Promise<void> {
  if ((await transaction.get(keys.session(host), z.unknown())) === undefined) return;
  const name = (await transaction.get(keys.host(host), hostRecord))?.name ?? host;
  throw new SupercargoError('wrong-state', `Host "${name}" is up.`, { hint: 'A volume leaves a host that is up by a move: supercargo volume move NAME --to HOST' });
}

function changed(message: string): SupercargoError {
  return new SupercargoError('wrong-state', message, { hint: 'Look at the volume again.' });
}

async function describe(transaction: Transaction, { clock }: NameServerContext, volume: Volume): Promise<string> {
  const { lastFailover } = volume;
  if (lastFailover === null) return '';
  const { from, to, snapshotTakenAt, reason } = lastFailover;
  const [source, destination] = [await hostName(transaction, from), await hostName(transaction, to)];
  const age = snapshotTakenAt === null ? '' : `, taken ${formatDuration(Math.max(0, clock.wallMilliseconds() - Date.parse(snapshotTakenAt)))} ago`;
  return `Volume "${volume.name}" is held by ${destination} (epoch ${volume.epoch}), in place of ${source}, from its newest copy${age}. ${reason}`;
}
