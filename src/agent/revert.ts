import { SupercargoError, toSupercargoError } from '../model/errors.ts';
import type { Volume } from '../model/records.ts';
import type { AgentContext } from './context.ts';
import { closeAndSnapshot, inUseError, undoRelease, usesAfterLinger } from './release.ts';

/**
 * The holder's part of going back to a snapshot: it gives up its right to write by the steps of a release, and reports what it has kept. The swap is the name
 * server's; after it, the plan makes the live copy anew from the snapshot. Up to the report it can be called off, and is, if anything uses the volume or fails.
 */
export async function revertVolume(context: AgentContext, volume: Volume, epoch: number): Promise<void> {
  const problem = await closeForRevert(context, volume, epoch);
  if (problem === null) return reportRevert(context, volume, epoch);
  const { code, message, hint } = problem;
  context.log.info({ volume: volume.name, code, message }, 'the volume does not go back to a snapshot');
  const body = { epoch, code, message: message.slice(0, 4000), hint: hint ?? null };
  await context.nameServer.refuseRevert({ parameters: { volume: volume.id }, body });
}

/** @returns why it was not closed */
async function closeForRevert(context: AgentContext, volume: Volume, epoch: number): Promise<SupercargoError | null> {
  const { state, driver } = context;
  const target = volume.reverting?.snapshot;
  // The records may say more than the pool has: after the swap it would be too late.
  if (target === undefined || !(await driver.inspect(volume.id)).snapshots.includes(target)) {
    return new SupercargoError('data-missing', `The snapshot that volume "${volume.name}" is to go back to is not in the pool of its holder.`, {
      hint: 'Go back to another one: supercargo snapshot ls',
    });
  }
  const blockers = await usesAfterLinger(context, volume);
  if (blockers.length > 0) return inUseError(context, volume, blockers);
  try {
    const { uses, snapshot } = await closeAndSnapshot(context, volume, { epoch, move: null });
    if (snapshot !== null) return null;
    await undoRelease(context, volume, epoch);
    return inUseError(context, volume, uses);
  } catch (error) {
    if (state.grant(volume.id)?.state === 'releasing') await undoRelease(context, volume, epoch);
    return toSupercargoError(error);
  }
}

/** Nothing is written from the release to the answer, whatever that is. */
export async function reportRevert({ state, nameServer, crashPoint }: AgentContext, { id }: Volume, epoch: number): Promise<void> {
  const snapshot = state.grant(id)?.snapshot;
  if (snapshot === null || snapshot === undefined) return;
  await nameServer.commitRevert({ parameters: { volume: id }, body: { epoch, snapshot } });
  crashPoint('revert-reported');
}
