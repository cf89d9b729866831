import { claim } from '../model/placement.ts';
import type { Opening } from '../model/placement.ts';
import type { Move, Volume } from '../model/records.ts';
import { findMove, hostName } from './lookup.ts';
import { keys } from './repository.ts';
import type { Transaction } from './repository.ts';

/** Grants the volume, or opens or joins the move to the host, inside a transaction. */
export async function applyClaim(
  transaction: Transaction,
  volume: Volume,
  host: string,
  opening: Opening,
): Promise<{ volume: Volume; move: Move | null }> {
  const result = claim(volume, host, opening);
  const name = await hostName(transaction, host);
  if (result.volume !== volume) transaction.put(keys.volume(volume.id), result.volume);
  if (result.move !== null) {
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
