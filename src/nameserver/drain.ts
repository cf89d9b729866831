import { newIdentifier } from '../model/identifiers.ts';
import { hostRecord, volumeRecord } from '../model/records.ts';
import { movesToOpen, planDrain } from '../planner/drain-plan.ts';
import { applyClaim } from './claim.ts';
import type { ClusterMirror } from './cluster-mirror.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './repository.ts';

const movesAtOnce = 2;

/** Goes on with the hosts that are being emptied. Nothing is remembered but their state, so it resumes wherever a name server begins. */
export async function drainHosts(context: NameServerContext, mirror: ClusterMirror): Promise<void> {
  const { hosts } = mirror;
  const volumes = [...mirror.volumes.values()];
  for (const host of hosts.filter(({ state }) => state === 'draining')) {
    const room = movesToOpen([...mirror.moves.values()], host.id, movesAtOnce);
    for (const { volume, to } of planDrain({ host: host.id, volumes, hosts }).moves.slice(0, room)) {
      await context.repository.transact(async (transaction) => {
        const [now, source] = [await transaction.get(keys.volume(volume.id), volumeRecord), await transaction.get(keys.host(host.id), hostRecord)];
        if (now?.placement.state !== 'held' || now.placement.host !== host.id || source?.state !== 'draining') return;
        const opening = { moveId: newIdentifier('mov', context.random), reason: 'operator' as const, now: context.repository.now() };
        await applyClaim(transaction, now, to, opening);
      });
    }
  }
}
