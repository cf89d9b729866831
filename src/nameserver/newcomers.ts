import { nameEntry } from './lookup.ts';
import { keys } from './keys.ts';
import type { Transaction } from './repository.ts';

/**
 * Marks that something comes into a project or application, so that of those that come at once each sees the one before (quotas), and none comes into what is
 * being taken away.
 */
export async function comeInto(transaction: Transaction, owner: string, newcomer: string): Promise<void> {
  await transaction.get(keys.newcomer(owner), nameEntry);
  transaction.put(keys.newcomer(owner), { id: newcomer });
}

/** For who takes a project or application away: fails if anything comes into it meanwhile. Call it before looking at what is in it. */
export async function closeToNewcomers(transaction: Transaction, owner: string): Promise<void> {
  await transaction.get(keys.newcomer(owner), nameEntry);
  transaction.delete(keys.newcomer(owner));
}
