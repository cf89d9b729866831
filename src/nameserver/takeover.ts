import { formatDuration } from '../model/duration.ts';
import { SupercargoError } from '../model/errors.ts';
import { failOver, failsOverByItself, isHeldBy } from '../model/failover.ts';
import { abort, isOver } from '../model/placement.ts';
import { hostRecord, moveRecord, volumeRecord } from '../model/records.ts';
import type { Volume } from '../model/records.ts';
import { z } from 'zod';
import { hostName } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import type { Transaction } from './repository.ts';

export interface TakeoverRequest {
  volume: string;
  /** Of the holder that is to be replaced. */
  epoch: number;
  from: string;
  to: string;
  actor: string;
  reason: string;
  /** The operator's word that the holder does not run, in place of its lease. */
  holderIsOff?: boolean;
  /** Whether what was decided is still right for the record as it is now. */
  stillRight?: (volume: Volume) => boolean;
}

/**
 * Lets a replica take the place of a holder that is lost, as one compare-and-swap. It rests on the holder's session being gone, which is compared: a heartbeat
 * that comes in between makes it fail. The caller has waited for the margin. @throws wrong-state if the volume or the hosts are not as the request says
 */
export async function takeOver(context: NameServerContext, request: TakeoverRequest): Promise<Volume> {
  return context.repository.transact(async (transaction) => {
    const volume = await transaction.get(keys.volume(request.volume), volumeRecord);
    if (volume?.placement.state !== 'held' || !isHeldBy(volume, request.from, request.epoch))
      throw changed('The volume is not held by that host under that epoch any more.');
    await requireSilence(transaction, request.from, volume);
    if ((await transaction.get(keys.session(request.to), z.unknown())) === undefined)
      throw changed('The host that was to take over does not answer.');
    if (request.holderIsOff !== true && !failsOverByItself(volume)) throw changed('The holder has not promised to stop by itself.');
    if (request.stillRight?.(volume) === false) throw changed('Another copy is the better one by now.');
    const after = failOver(volume, { ...request, now: context.repository.now() });
    transaction.put(keys.volume(volume.id), after);
    transaction.record('volume.failed-over', volume.name, request.actor, await describe(transaction, context, after));
    return after;
  });
}

/**
 * Ends a move whose source is lost, as one compare-and-swap that rests on the source's session being gone: without it the last delta cannot arrive. The volume is the
 * source's again, from which a replica may then take over. @throws wrong-state if the source is up
 */
export async function endLostMove(context: NameServerContext, id: string, actor: string, reason: string): Promise<void> {
  const { repository } = context;
  await repository.transact(async (transaction) => {
    const move = await transaction.get(keys.move(id), moveRecord);
    const volume = move === undefined ? undefined : await transaction.get(keys.volume(move.volume), volumeRecord);
    if (move === undefined || volume === undefined || isOver(move)) return;
    await requireSilence(transaction, move.from, volume);
    const error = { code: 'host-unreachable', message: 'The source does not answer any more.', hint: reason };
    const change = abort(volume, move, error, repository.now());
    transaction.put(keys.move(id), change.move);
    transaction.put(keys.volume(volume.id), change.volume);
    transaction.record('move.aborted', volume.name, actor, `The move of volume "${volume.name}" ended: ${error.message}`);
  });
}

/** The host has no session, which this transaction compares. @throws wrong-state */
export async function requireSilence(transaction: Transaction, host: string, volume?: Volume): Promise<void> {
  if ((await transaction.get(keys.session(host), z.unknown())) === undefined) return;
  const name = (await transaction.get(keys.host(host), hostRecord))?.name ?? host;
  throw new SupercargoError('wrong-state', `Host "${name}" is up.`, {
    hint: `A volume leaves a host that is up by a move: supercargo volume move ${volume?.name ?? 'NAME'} --to HOST`,
  });
}

function changed(message: string): SupercargoError {
  return new SupercargoError('wrong-state', message, { hint: 'Look at the volume again.' });
}

async function describe(transaction: Transaction, { clock }: NameServerContext, volume: Volume): Promise<string> {
  const { lastFailover } = volume;
  if (lastFailover === null) return '';
  const { from, to, snapshotTakenAt, reason } = lastFailover;
  const [source, destination] = [await hostName(transaction, from), await hostName(transaction, to)];
  const age = snapshotTakenAt === null ? null : formatDuration(Math.max(0, clock.wallMilliseconds() - Date.parse(snapshotTakenAt)));
  const loss = age === null ? '' : ` Lost at most: what was written in the last ${age}.`;
  return `Volume "${volume.name}" is held by ${destination} (epoch ${volume.epoch}), in place of ${source}.${loss} Reason: ${reason}`;
}
