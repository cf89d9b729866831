import { isSupercargoError, SupercargoError, toSupercargoError } from '../model/errors.ts';
import { newIdentifier } from '../model/identifiers.ts';
import type { Volume, VolumeUse } from '../model/records.ts';
import { mountPointOf } from './context.ts';
import type { AgentContext } from './context.ts';
import { currentUses, describeUses } from './uses.ts';

export interface ReleaseRequest {
  move: string;
  epoch: number;
  /** The move was asked for by a mount: if something uses the volume, end the move at once. Otherwise it waits. */
  refuseIfUsed: boolean;
}

/** A container that has just ended may keep its mount for a moment; this long it is waited for before a refusal. Milliseconds. */
const lingerMilliseconds = 1000;
const lingerStepMilliseconds = 50;

/**
 * Ends this host's right to write, the one step on which a single writer rests. Runs in the volume's queue, so no mount can be answered meanwhile.
 * Order: (1) nothing uses it; (2) record `releasing`, from when on mounts are refused, also after a crash; (3) take our own mount away; (4) read-only,
 * so that no new writer can open it; (5) look once more for what opened it between (1) and (4), because read-only does not stop open descriptors;
 * (6) snapshot; (7) record `released`; (8) tell the name server. Up to (7) it can be called off, and is, if anything is found.
 * @returns true if released
 */
export async function releaseVolume(context: AgentContext, volume: Volume, request: ReleaseRequest): Promise<boolean> {
  const { state, log } = context;
  const blockers = await usesAfterLinger(context, volume);
  if (blockers.length > 0) {
    // Left over from a crash in the middle of a release that cannot go on now.
    if (state.grant(volume.id)?.state === 'releasing') await undoRelease(context, volume, request.epoch);
    await reportUses(context, volume, request, blockers);
    return false;
  }
  const { uses, snapshot } = await closeOrCallOff(context, volume, request);
  if (snapshot === null) {
    await reportUses(context, volume, request, uses);
    return false;
  }
  log.info({ volume: volume.name, epoch: request.epoch, snapshot }, 'released');
  return true;
}

interface Closing {
  /** null if it was called off because of the uses. */
  snapshot: string | null;
  uses: VolumeUse[];
}

/** Closes the volume, or leaves it as it was: nobody was told, so it goes on here, and whoever waits for it hears why it does not come. */
async function closeOrCallOff(context: AgentContext, volume: Volume, request: ReleaseRequest): Promise<Closing> {
  try {
    const closing = await closeAndSnapshot(context, volume, request);
    if (closing.snapshot === null) await undoRelease(context, volume, request.epoch);
    return closing;
  } catch (error) {
    const { code, message, hint } = toSupercargoError(error);
    const body = { code, message: message.slice(0, 4000), hint: hint ?? null };
    try {
      if (context.state.grant(volume.id)?.state === 'releasing') await undoRelease(context, volume, request.epoch);
    } finally {
      await context.nameServer
        .abortMove({ parameters: { move: request.move }, body })
        .catch((failure: unknown) => context.log.warn({ volume: volume.name, error: String(failure) }, 'could not end the move'));
    }
    throw error;
  }
}

/** Steps 2 to 7; without a move, for a snapshot that the volume goes back to. @returns the final snapshot, or null and what was found to use the volume */
export async function closeAndSnapshot(context: AgentContext, volume: Volume, request: { epoch: number; move: string | null }): Promise<Closing> {
  const { state, driver, crashPoint } = context;
  await state.setGrant(volume.id, { epoch: request.epoch, state: 'releasing', move: request.move, snapshot: null });
  crashPoint('releasing-recorded');
  const uses = await stopWriters(context, volume);
  if (uses.length > 0) return { uses, snapshot: null };
  const snapshot = newIdentifier('snp', context.random);
  await driver.createSnapshot(volume.id, snapshot);
  crashPoint('final-snapshot-made');
  await state.setGrant(volume.id, { epoch: request.epoch, state: 'released', move: request.move, snapshot });
  crashPoint('release-recorded');
  return { uses, snapshot };
}

/** Gives up a volume that is to be removed, by the same steps. @returns what still uses it; empty if it is given up */
export async function relinquishForRemoval(context: AgentContext, volume: Volume): Promise<VolumeUse[]> {
  const uses = await usesAfterLinger(context, volume);
  if (uses.length > 0) return uses;
  const grant = context.state.grant(volume.id);
  // One that was released already stays so: only a new epoch may end that.
  const held = grant !== null && grant.state !== 'released';
  if (held) await context.state.setGrant(volume.id, { ...grant, state: 'releasing' });
  const late = await stopWriters(context, volume);
  if (late.length > 0 && held) await undoRelease(context, volume, grant.epoch);
  return late;
}

/** Steps 3 to 5. @returns what was found to use the volume after all */
async function stopWriters(context: AgentContext, volume: Volume): Promise<VolumeUse[]> {
  const { driver, system, crashPoint } = context;
  if ((await driver.inspect(volume.id)).live === 'absent') return [];
  try {
    await system.unmountVolume(mountPointOf(context, volume.id));
    crashPoint('unmounted');
    await driver.setLiveReadOnly(volume.id, true);
    crashPoint('made-read-only');
  } catch (error) {
    if (!isSupercargoError(error, 'volume-in-use')) throw error;
    const uses = await currentUses(context, volume);
    return uses.length > 0 ? uses : [{ kind: 'process', name: 'with a file or directory of it open' }];
  }
  return currentUses(context, volume);
}

/** Takes `releasing` back; nobody was told. */
export async function undoRelease(context: AgentContext, volume: Volume, epoch: number): Promise<void> {
  await context.driver.setLiveReadOnly(volume.id, false);
  await context.state.setGrant(volume.id, { epoch, state: 'held', move: null, snapshot: null });
}

/** What still uses the volume after containers whose Unmount came had their time to end. */
export async function usesAfterLinger(context: AgentContext, volume: Volume): Promise<VolumeUse[]> {
  const { clock, state } = context;
  const begin = clock.monotonicMilliseconds();
  for (;;) {
    const uses = await currentUses(context, volume);
    const lingering = state.references(volume.id).length === 0 && clock.monotonicMilliseconds() - begin < lingerMilliseconds;
    if (uses.length === 0 || !lingering) return uses;
    await clock.sleep(lingerStepMilliseconds);
  }
}

async function reportUses(context: AgentContext, volume: Volume, request: ReleaseRequest, uses: VolumeUse[]): Promise<void> {
  const { nameServer, view } = context;
  const parameters = { move: request.move };
  // An operator may have made it his move meanwhile, which waits.
  if (request.refuseIfUsed && view.move(request.move)?.reason !== 'operator') {
    const error = inUseError(context, volume, uses);
    await nameServer.abortMove({ parameters, body: { code: error.code, message: error.message, hint: error.hint ?? null } });
    return;
  }
  const known = view.move(request.move)?.blockedBy ?? [];
  if (describeUses(known) !== describeUses(uses)) await nameServer.blockMove({ parameters, body: { uses } });
}

/** Who uses the volume, and where: this host. */
export function inUseError(context: Pick<AgentContext, 'self'>, volume: Pick<Volume, 'name'>, uses: readonly VolumeUse[]): SupercargoError {
  return new SupercargoError('volume-in-use', `Volume "${volume.name}" is in use on ${context.self.name} by ${describeUses(uses)}.`, {
    hint: `Stop it on ${context.self.name}, then start again here.`,
    details: { host: context.self.name, uses },
  });
}
