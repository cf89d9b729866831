import { newIdentifier } from '../model/identifiers.ts';
import { hostRecord, volumeRecord } from '../model/records.ts';
import { movesToOpen, planDrain } from '../planner/drain-plan.ts';
import { applyClaim } from './claim.ts';
import type { ClusterMirror } from './cluster-mirror.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';

const movesAtOnce = 2;
/** A move that has ended without success is not begun again before this has passed since its beginning. Milliseconds. */
const retryMilliseconds = 30_000;

/**
 * Goes on with the hosts that are being emptied. All that must be remembered is their state, so it resumes wherever a name server begins.
 * @param begun when the last move of each volume was begun here, on the monotonic clock
 */
export async function drainHosts(context: NameServerContext, mirror: ClusterMirror, begun: Map<string, number>): Promise<void> {
  const { hosts } = mirror;
  const now = context.clock.monotonicMilliseconds();
  for (const [volume, since] of begun) if (now - since >= retryMilliseconds) begun.delete(volume);
  const [volumes, moves] = [[...mirror.volumes.values()], [...mirror.moves.values()]];
  for (const host of hosts.filter(({ state }) => state === 'draining')) {
    const wanted = planDrain({ host: host.id, volumes, hosts, moves }).moves.filter(({ volume }) => !begun.has(volume.id));
    for (const { volume, to } of wanted.slice(0, movesToOpen(moves, host.id, movesAtOnce))) {
      begun.set(volume.id, now);
      await beginMove(context, volume.id, host.id, to);
    }
  }
}

async function beginMove(context: NameServerContext, id: string, from: string, to: string): Promise<void> {
  await context.repository.transact(async (transaction) => {
    const [volume, source] = [await transaction.get(keys.volume(id), volumeRecord), await transaction.get(keys.host(from), hostRecord)];
    if (volume?.placement.state !== 'held' || volume.placement.host !== from || source?.state !== 'draining') return;
    const opening = { moveId: newIdentifier('mov', context.random), reason: 'operator' as const, now: context.repository.now() };
    await applyClaim(transaction, volume, to, opening);
  });
}
