import { changesSeen } from '../model/copies.ts';
import { isSupercargoError, SupercargoError } from '../model/errors.ts';
import { newIdentifier } from '../model/identifiers.ts';
import type { Copy, Volume } from '../model/records.ts';
import type { Step } from '../planner/volume-plan.ts';
import { mountPointOf } from './context.ts';
import type { AgentContext } from './context.ts';
import { reportRevert, revertVolume } from './revert.ts';
import { measureSnapshot, takeNamedSnapshot } from './named-snapshots.ts';
import { inUseError, relinquishForRemoval, releaseVolume, undoRelease } from './release.ts';

/** What a step needs besides the context. */
export interface StepSubject {
  id: string;
  /** null only for volumes that the name server does not know. */
  volume: Volume | null;
  startReceiving(move: string): void;
  startReplica(volume: Volume): void;
  complain(problem: string): void;
}

/** Does one step of a plan. Every step can be repeated after a crash at any place in it. */
export async function performStep(context: AgentContext, subject: StepSubject, step: Step): Promise<void> {
  const { driver, state, nameServer, crashPoint } = context;
  const { id } = subject;
  if (step.do === 'delete-copy') return deleteCopy(context, subject);
  if (step.do === 'complain') return subject.complain(step.problem);
  const volume = subject.volume;
  if (volume === null) return;
  switch (step.do) {
    case 'create-live':
      return makeLive(context, volume, null);
    case 'activate':
      return makeLive(context, volume, step.snapshot);
    case 'resume-live':
      return driver.setLiveReadOnly(id, false);
    case 'delete-live':
      return deleteLive(context, volume);
    case 'protect-live':
      return driver.setLiveReadOnly(id, true);
    case 'report-copy':
      await reportCopy(context, volume, await copyOf(context, id, step.kind));
      return crashPoint('live-reported');
    case 'take-grant':
      await state.takeGrant(id, { epoch: step.epoch, boot: context.boot });
      return crashPoint('grant-taken');
    case 'take-snapshot':
      return takeNamedSnapshot(context, id, step.id);
    case 'revert':
      return revertVolume(context, volume, step.epoch);
    case 'report-revert':
      return reportRevert(context, volume, step.epoch);
    case 'measure-snapshot':
      return measureSnapshot(context, id, step);
    case 'undo-release':
      return undoRelease(context, volume, state.grant(id)?.epoch ?? volume.epoch);
    case 'reclaim':
      await nameServer.reclaimVolume({ parameters: { volume: id }, body: { epoch: step.epoch } });
      return;
    case 'unmount':
      return unmountIfIdle(context, id);
    case 'release':
      if (await releaseVolume(context, volume, step)) await reportRelease(context, id, step.move, step.epoch);
      return;
    case 'rededicate-release':
      return rededicateRelease(context, id, step.move);
    case 'report-release':
      return reportRelease(context, id, step.move, step.epoch);
    case 'receive-move':
      return subject.startReceiving(step.move);
    case 'receive-replica':
      return subject.startReplica(volume);
    case 'import-snapshot':
      return driver.shareSnapshot(step.fromVolume, step.snapshot, id);
    case 'fence-live':
      return fenceLive(context, volume, step.why);
    case 'keep-diverged':
      return keepDiverged(context, volume, step.epoch);
    case 'report-diverged':
      await nameServer.recordDiverged({ parameters: { volume: id }, body: { epoch: step.epoch, snapshot: step.snapshot } });
      return;
    case 'drop-snapshots':
      for (const snapshot of step.snapshots) await driver.deleteSnapshot(id, snapshot);
      return;
    case 'rekey':
      await context.rekeyLive(id);
      await nameServer.confirmRekey({ parameters: { volume: id }, body: { epoch: volume.epoch, number: step.number } });
      return;
    case 'confirm-removal':
      return confirmRemoval(context, volume);
  }
}

/** @param snapshot what it starts with; null is nothing */
async function makeLive(context: AgentContext, volume: Volume, snapshot: string | null): Promise<void> {
  const { driver, crashPoint } = context;
  await (snapshot === null ? driver.createLive(volume.id) : driver.createLiveFrom(volume.id, snapshot));
  if (volume.sizeBytes !== null) await driver.setSizeLimit(volume.id, volume.sizeBytes);
  crashPoint('live-created');
}

/** Ends whatever still writes a copy that does not count any more. */
async function fenceLive(context: AgentContext, volume: Volume, why: string): Promise<void> {
  const { driver, fence, log, leases } = context;
  const target = { path: driver.livePath(volume.id), mountPoint: mountPointOf(context, volume.id) };
  const [outcome] = await fence.kill([target]);
  if (outcome === undefined || outcome.problem !== null) {
    throw new SupercargoError(
      'volume-in-use',
      `What uses the old copy of volume "${volume.name}" cannot be stopped: ${outcome?.problem ?? 'unknown'}.`,
      {
        hint: `Stop it by hand on ${context.self.name}.`,
      },
    );
  }
  if (outcome.users.length > 0) log.warn({ volume: volume.name, users: outcome.users, why }, 'ended what used a copy that does not count any more');
  await leases.forget(volume.id);
}

/**
 * Keeps what this host had written under an epoch that ended without its word. The grant says so before anybody is told: should the process die in between,
 * the report is made up for.
 */
async function keepDiverged(context: AgentContext, volume: Volume, epoch: number): Promise<void> {
  const { driver, state, nameServer, crashPoint, random, log } = context;
  const snapshot = newIdentifier('snp', random);
  await driver.createSnapshot(volume.id, snapshot);
  await state.setGrant(volume.id, { epoch, state: 'released', move: null, snapshot });
  crashPoint('diverged-kept');
  await nameServer.recordDiverged({ parameters: { volume: volume.id }, body: { epoch, snapshot } });
  log.warn({ volume: volume.name, epoch, snapshot }, 'another copy had taken over; what was written here since is kept as a snapshot');
}

/** The last look before data goes: a plan may be wrong, the kernel is not. */
async function deleteLive(context: AgentContext, volume: Volume): Promise<void> {
  const { driver, system } = context;
  const mountPoint = mountPointOf(context, volume.id);
  const uses = await system.usesOf(driver.livePath(volume.id), mountPoint);
  if (uses.length > 0) throw inUseError(context, volume, uses);
  await system.unmountVolume(mountPoint);
  await driver.deleteLive(volume.id);
}

/** What this host has of a volume, for the name server; null if nothing. */
export async function copyOf({ driver }: AgentContext, id: string, kind: Copy['kind']): Promise<Omit<Copy, 'host'> | null> {
  const { live, snapshots } = await driver.inspect(id);
  return live === 'absent' && snapshots.length === 0 ? null : { kind, snapshots };
}

/** @throws wrong-state if the record of this host's copy is not any more what the plan rests on */
async function reportCopy({ nameServer, self }: AgentContext, volume: Volume, copy: Omit<Copy, 'host'> | null): Promise<void> {
  await nameServer.reportCopy({ parameters: { volume: volume.id }, body: { copy, seen: changesSeen(volume, self.id) } });
}

async function rededicateRelease({ state }: AgentContext, id: string, move: string): Promise<void> {
  const grant = state.grant(id);
  if (grant?.state === 'released') await state.setGrant(id, { ...grant, move });
}

async function reportRelease({ state, nameServer, crashPoint }: AgentContext, id: string, move: string, epoch: number): Promise<void> {
  const snapshot = state.grant(id)?.snapshot;
  if (snapshot === null || snapshot === undefined) return;
  await nameServer.releaseMove({ parameters: { move }, body: { epoch, snapshot } });
  crashPoint('release-reported');
}

async function unmountIfIdle(context: AgentContext, id: string): Promise<void> {
  try {
    await context.system.unmountVolume(mountPointOf(context, id));
  } catch (error) {
    // Somebody on the host looks at it; it goes when the volume is next given back or moved.
    if (!isSupercargoError(error, 'volume-in-use')) throw error;
  }
}

async function confirmRemoval(context: AgentContext, volume: Volume): Promise<void> {
  const uses = await relinquishForRemoval(context, volume);
  const parameters = { volume: volume.id };
  if (uses.length > 0) {
    await context.nameServer.refuseRemoval({ parameters, body: { uses } });
    return;
  }
  await context.nameServer.confirmRemoval({ parameters });
  context.crashPoint('removal-confirmed');
}

async function deleteCopy(context: AgentContext, { id, volume }: StepSubject): Promise<void> {
  const mountPoint = mountPointOf(context, id);
  await context.system.unmountVolume(mountPoint);
  await context.system.forgetMountPoint(mountPoint);
  await context.driver.deleteVolume(id);
  context.crashPoint('copy-deleted');
  await context.state.forgetCopy(id);
  if (volume === null) return;
  try {
    await reportCopy(context, volume, null);
  } catch (error) {
    if (!isSupercargoError(error, 'not-found')) throw error;
  }
}
