import { denialRecord } from '../model/access.ts';
import type { Denial } from '../model/access.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { notBeforeSkewMilliseconds } from '../pki/authority.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import type { Transaction } from './repository.ts';

/** Adds an entry to the deny list. */
export function deny({ random, repository }: NameServerContext, transaction: Transaction, what: Omit<Denial, 'id' | 'at'>): Denial {
  const denial: Denial = { ...what, id: newIdentifier('dny', random), at: repository.now() };
  transaction.put(keys.denial(denial.id), denial);
  return denial;
}

/** Takes the host's own entries from the deny list; those of its certificates stay. */
export async function endDenials({ repository }: NameServerContext, transaction: Transaction, host: string): Promise<void> {
  for (const { id, subject, value } of await repository.list(keys.denials, denialRecord)) {
    if (subject !== 'host' || value !== host) continue;
    if ((await transaction.get(keys.denial(id), denialRecord)) !== undefined) transaction.delete(keys.denial(id));
  }
}

/** Entries go when no certificate that they concern can count any more, by no clock. */
export async function pruneDenials({ repository, clock }: NameServerContext): Promise<void> {
  const over = (await repository.list(keys.denials, denialRecord)).filter(
    ({ until }) => Date.parse(until) + notBeforeSkewMilliseconds < clock.wallMilliseconds(),
  );
  if (over.length === 0) return;
  await repository.transact(async (transaction) => {
    for (const { id } of over) transaction.delete(keys.denial(id));
  });
}

/** Tells the list, now and after each change of it, until the signal fires. */
export async function followDenials(
  { store, repository }: NameServerContext,
  signal: AbortSignal,
  listener: (denials: Denial[]) => void,
): Promise<void> {
  const { revision } = await store.list(keys.denials);
  listener(await repository.list(keys.denials, denialRecord));
  for await (const _ of store.watch(keys.denials, revision, signal)) listener(await repository.list(keys.denials, denialRecord));
}
