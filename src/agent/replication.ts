import { newIdentifier } from '../model/identifiers.ts';
import { isSupercargoError } from '../model/errors.ts';
import type { Volume } from '../model/records.ts';
import { waitsForReplicas } from '../planner/volume-plan.ts';
import type { AgentContext } from './context.ts';
import { recordedOrOver } from './history.ts';
import type { VolumeActor } from './volume-actor.ts';

/** How often it is looked whether a volume is due. Milliseconds. */
const tickMilliseconds = 500;

/**
 * The holder's side of replication: at each volume's interval, if anything was written since, a snapshot becomes part of its history. Replicas see that by the
 * watch and pull it; one that is slow skips what it missed, and if all are, the holder waits for one of them.
 */
export async function keepReplicated(context: AgentContext, actorOf: (volume: string) => VolumeActor, signal: AbortSignal): Promise<void> {
  const { clock, view, log } = context;
  /** When each volume was last looked at, on the monotonic clock. */
  const looked = new Map<string, number>();
  while (!signal.aborted) {
    await clock.sleep(tickMilliseconds, signal).catch(() => undefined);
    if (signal.aborted || !view.synced) continue;
    for (const id of context.state.localVolumes()) {
      const volume = view.volume(id);
      if (volume === null || !isReplicatedHere(context, volume)) continue;
      const now = clock.monotonicMilliseconds();
      if (now - (looked.get(id) ?? -Infinity) < volume.protection.intervalMilliseconds) continue;
      looked.set(id, now);
      await takeReplicaSnapshot(context, actorOf(id), volume).catch((error: unknown) =>
        log.warn({ volume: volume.name, error: String(error) }, 'could not take a snapshot for the replicas'),
      );
    }
  }
}

function isReplicatedHere({ self, state }: AgentContext, volume: Volume): boolean {
  const holds = volume.placement.state === 'held' && volume.placement.host === self.id;
  return holds && volume.replicas.length > 0 && isHeldNow(state.grant(volume.id), volume);
}

function isHeldNow(grant: { state: string; epoch: number } | null, volume: Volume): boolean {
  return grant?.state === 'held' && grant.epoch === volume.epoch;
}

/** In the volume's queue, so that it never falls into a release. A crash before the record leaves a snapshot that is tidied up. */
async function takeReplicaSnapshot(context: AgentContext, actor: VolumeActor, volume: Volume): Promise<void> {
  const { driver, nameServer, nameServerTime, random, state, crashPoint } = context;
  await actor.exclusively(async () => {
    if (!isHeldNow(state.grant(volume.id), volume)) return;
    const last = volume.lineage.at(-1)?.snapshot ?? null;
    const { snapshots } = await driver.inspect(volume.id);
    if (waitsForReplicas(volume, snapshots)) return;
    const base = last !== null && snapshots.includes(last) ? last : null;
    if (base !== null && !(await driver.hasChangedSince(volume.id, base))) return;
    const takenAt = nameServerTime.now();
    const snapshot = newIdentifier('snp', random);
    await driver.createSnapshot(volume.id, snapshot);
    const bytes = await driver.estimateDelta(volume.id, snapshot, base);
    try {
      await nameServer.recordSnapshot({ parameters: { volume: volume.id }, body: { epoch: volume.epoch, snapshot, bytes, takenAt } });
      crashPoint('snapshot-recorded');
      await recordedOrOver(context.view, volume, ({ lineage }) => lineage.some((entry) => entry.snapshot === snapshot));
    } catch (error) {
      if (isSupercargoError(error, 'stale-epoch')) await driver.deleteSnapshot(volume.id, snapshot);
      throw error;
    }
  });
  actor.wake();
}
