import { isSupercargoError, toSupercargoError } from '../model/errors.ts';
import { isHeldBy } from '../model/failover.ts';
import { newIdentifier } from '../model/identifiers.ts';
import type { Volume } from '../model/records.ts';
import { isTaken } from '../model/snapshots.ts';
import type { AgentContext } from './context.ts';
import { recordedOrOver } from './history.ts';

/**
 * Takes a snapshot that somebody wants by name, in the volume's queue, so that it never falls into a release. On the disk it gets an identifier of its own each time
 * it is tried: of two that were taken for one request, because an answer was lost, the record knows one, and the other one is tidied up.
 */
export async function takeNamedSnapshot(context: AgentContext, id: string, request: string): Promise<void> {
  const { driver, nameServer, nameServerTime, random, state, view, self, crashPoint } = context;
  const volume = view.volume(id);
  const grant = state.grant(id);
  if (volume === null || !isWanted(volume, request) || grant?.state !== 'held' || !isHeldBy(volume, self.id, grant.epoch)) return;
  const after = volume.lineage.at(-1)?.snapshot ?? null;
  const takenAt = nameServerTime.now();
  const snapshot = newIdentifier('snp', random);
  const parameters = { volume: id, snapshot: request };
  try {
    await driver.createSnapshot(id, snapshot);
  } catch (error) {
    const { code, message, hint } = toSupercargoError(error);
    const problem = { code, message: message.slice(0, 4000), hint: hint ?? null };
    await nameServer.recordSnapshotFailed({ parameters, body: { epoch: grant.epoch, ...problem } });
    context.log.warn({ volume: volume.name, ...problem }, 'a snapshot that is wanted could not be taken');
    return;
  }
  crashPoint('named-snapshot-made');
  try {
    await nameServer.recordSnapshotTaken({ parameters, body: { epoch: grant.epoch, snapshot, after, takenAt } });
  } catch (error) {
    // Nobody will ever know of it. After no answer, somebody may.
    if (isSupercargoError(error, 'stale-epoch', 'wrong-state', 'not-found')) await driver.deleteSnapshot(id, snapshot);
    throw error;
  }
  crashPoint('named-snapshot-recorded');
  await recordedOrOver(context.view, volume, (now) => !isWanted(now, request));
}

function isWanted({ snapshots }: Volume, request: string): boolean {
  return snapshots.some((each) => each.id === request && !isTaken(each) && each.problem === null);
}

/** Finds out how much a snapshot holds beyond the one before, which has to read what is in it. */
export async function measureSnapshot(
  { driver, nameServer }: AgentContext,
  id: string,
  { snapshot, base }: { snapshot: string; base: string | null },
): Promise<void> {
  const bytes = await driver.estimateDelta(id, snapshot, base);
  await nameServer.recordSnapshotBytes({ parameters: { volume: id, snapshot }, body: { bytes } });
}
