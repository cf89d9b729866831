import { SupercargoError } from '../model/errors.ts';
import { z } from 'zod';
import { failsOverByItself } from '../model/failover.ts';
import { currentHost } from '../model/holder.ts';
import { claim } from '../model/placement.ts';
import type { Opening } from '../model/placement.ts';
import type { Host, Move, Volume } from '../model/records.ts';
import { findHost, findMove, hostName } from './lookup.ts';
import { keys } from './keys.ts';
import type { Transaction } from './repository.ts';

/** Grants the volume, or opens or joins the move to the host, inside a transaction. @throws what `claim` does; wrong-state if the host is being drained */
export async function applyClaim(
  transaction: Transaction,
  volume: Volume,
  host: string,
  opening: Opening,
): Promise<{ volume: Volume; move: Move | null }> {
  const claimant = await findHost(transaction, host);
  if (!isThere(volume, host)) refuseIfDrained(claimant);
  const { name } = claimant;
  const result = claim(volume, host, opening);
  if (result.volume !== volume) transaction.put(keys.volume(volume.id), result.volume);
  if (result.move !== null) {
    await refuseIfTakeoverAhead(transaction, volume, result.move.from);
    const source = await hostName(transaction, result.move.from);
    transaction.put(keys.move(result.move.id), result.move);
    transaction.record('move.started', volume.name, name, `Volume "${volume.name}" begins to move from ${source} to ${name}.`);
    return result;
  }
  if (result.volume !== volume)
    transaction.record('volume.held', volume.name, name, `Volume "${volume.name}" is held by ${name} (epoch ${result.volume.epoch}).`);
  const joined = result.volume.placement.state === 'moving' ? await findMove(transaction, result.volume.placement.move) : null;
  if (joined !== null && joined.reason === 'mount' && opening.reason === 'operator') {
    // An operator's move waits for the users on the source, where a mount's would be refused.
    const upgraded: Move = { ...joined, reason: 'operator' };
    transaction.put(keys.move(joined.id), upgraded);
    return { volume: result.volume, move: upgraded };
  }
  return { volume: result.volume, move: joined };
}

/** @throws host-unreachable: a move from a holder that is lost could only be in the way of the replica that is about to take over */
async function refuseIfTakeoverAhead(transaction: Transaction, volume: Volume, holder: string): Promise<void> {
  if (!failsOverByItself(volume) || (await transaction.get(keys.session(holder), z.unknown())) !== undefined) return;
  throw new SupercargoError('host-unreachable', `Volume "${volume.name}" is held by ${await hostName(transaction, holder)}, which does not answer.`, {
    hint: 'A replica takes over by itself as soon as its lease and the margin are over.',
  });
}

function isThere({ placement }: Volume, host: string): boolean {
  return currentHost(placement) === host || (placement.state === 'moving' && placement.to === host);
}

/** @throws wrong-state: what comes to a host that is being drained would only have to leave it again */
export function refuseIfDrained({ name, state }: Host): void {
  if (state !== 'draining') return;
  throw new SupercargoError('wrong-state', `Host "${name}" is being drained and takes no volume.`, {
    hint: `Use another host, or end that: supercargo host activate ${name}`,
  });
}
