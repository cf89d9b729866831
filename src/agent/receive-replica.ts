import { SupercargoError, toSupercargoError } from '../model/errors.ts';
import { currentHost } from '../model/holder.ts';
import type { Volume } from '../model/records.ts';
import { inHistoryOrder } from '../model/snapshots.ts';
import { chooseBase, missingPinned } from '../planner/transfer-plan.ts';
import type { AgentContext } from './context.ts';
import { requirePeer } from './peer-health.ts';
import { bring } from './pull.ts';
import { PullSession } from './pull-session.ts';

const unreported = { beginRound: () => undefined, add: () => undefined, restartRound: () => undefined, endRound: () => undefined };

/**
 * The replica's side: brings here the newest snapshot of the volume's history, and then what people gave a name to, oldest first, each as a delta to the nearest
 * that both hosts have. The newest first, because a host counts by what it has: with an old one alone it would take the place of a fresh replica. Ends when all is
 * here; what came since is for the next run. One that cannot be had does not keep the others away.
 */
export async function receiveReplica(context: AgentContext, volume: Volume, signal: AbortSignal): Promise<void> {
  const { driver, nameServer, state } = context;
  const source = currentHost(volume.placement);
  const parameters = { volume: volume.id };
  if (source === null) return;
  await requirePeer(context, source, `Volume "${volume.name}" is on ${state.hostName(source)}`);
  const subject = { id: volume.id, volume: volume.id, volumeName: volume.name, from: source };
  const session = new PullSession(context, subject, unreported, signal, () => nameServer.createReplicaTicket({ parameters }, { signal }));
  const { snapshots: have } = await driver.inspect(volume.id);
  const newest = volume.lineage.at(-1)?.snapshot;
  const wanted = [...(newest === undefined || have.includes(newest) ? [] : [newest]), ...missingPinned(volume, source, have)];
  const failures: unknown[] = [];
  for (const snapshot of new Set(wanted)) {
    try {
      await bringOne(session, volume, snapshot);
    } catch (error) {
      signal.throwIfAborted();
      failures.push(error);
    }
  }
  if (failures.length > 0) throw toSupercargoError(failures[0]);
}

async function bringOne(session: PullSession, volume: Volume, snapshot: string): Promise<void> {
  const { driver, log, clock } = session.context;
  const { snapshots: have } = await driver.inspect(volume.id);
  const theirs = volume.copies.find((copy) => copy.host === session.move.from)?.snapshots ?? [];
  // The holder reports its copies a moment after it recorded the snapshot: what it recorded, it has.
  const base = chooseBase(inHistoryOrder(volume, theirs.includes(snapshot) ? theirs : [...theirs, snapshot]), have, snapshot);
  const estimatedBytes = volume.lineage.findLast((entry) => entry.snapshot === snapshot)?.bytes ?? 0;
  const begin = clock.monotonicMilliseconds();
  const bytes = await bring(session, { snapshot, base, estimatedBytes }, have);
  if (!(await driver.inspect(volume.id)).snapshots.includes(snapshot)) {
    throw new SupercargoError('data-missing', `The snapshot of volume "${volume.name}" that was pulled is not in the pool.`);
  }
  log.debug({ volume: volume.name, snapshot, base, bytes, milliseconds: clock.monotonicMilliseconds() - begin }, 'replica is fresh');
}
