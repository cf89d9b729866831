import { SupercargoError } from '../model/errors.ts';
import { currentHost } from '../model/holder.ts';
import type { Volume } from '../model/records.ts';
import { chooseBase } from '../planner/transfer-plan.ts';
import type { AgentContext } from './context.ts';
import { requirePeer } from './peer-health.ts';
import { bring } from './pull.ts';
import { PullSession } from './pull-session.ts';

const unreported = { beginRound: () => undefined, add: () => undefined, restartRound: () => undefined, endRound: () => undefined };

/**
 * The replica's side: brings the newest snapshot of the volume's history here, as a delta to the newest one that both hosts have. Ends when it is here; what came
 * since is for the next run.
 */
export async function receiveReplica(context: AgentContext, volume: Volume, signal: AbortSignal): Promise<void> {
  const { driver, nameServer, state, log, clock } = context;
  const wanted = volume.lineage.at(-1);
  const source = currentHost(volume.placement);
  const parameters = { volume: volume.id };
  if (wanted === undefined || source === null) return;
  await requirePeer(context, source, `Volume "${volume.name}" is on ${state.hostName(source)}`);
  const subject = { id: volume.id, volume: volume.id, volumeName: volume.name, from: source };
  const session = new PullSession(context, subject, unreported, signal, () => nameServer.createReplicaTicket({ parameters }, { signal }));
  const { snapshots: have } = await driver.inspect(volume.id);
  const theirs = volume.copies.find((copy) => copy.host === source)?.snapshots ?? [];
  // The holder reports its copies a moment after it recorded the snapshot: what it recorded, it has.
  const history = volume.lineage.filter((entry) => theirs.includes(entry.snapshot) || entry === wanted).map((entry) => entry.snapshot);
  const base = chooseBase([...theirs.filter((each) => !history.includes(each)), ...history], have, wanted.snapshot);
  const begin = clock.monotonicMilliseconds();
  const bytes = await bring(session, { snapshot: wanted.snapshot, base, estimatedBytes: wanted.bytes }, have);
  if (!(await driver.inspect(volume.id)).snapshots.includes(wanted.snapshot)) {
    throw new SupercargoError('data-missing', `The snapshot of volume "${volume.name}" that was pulled is not in the pool.`);
  }
  log.debug({ volume: volume.name, snapshot: wanted.snapshot, base, bytes, milliseconds: clock.monotonicMilliseconds() - begin }, 'replica is fresh');
}
