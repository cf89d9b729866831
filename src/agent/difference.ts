import { SupercargoError } from '../model/errors.ts';
import type { Volume } from '../model/records.ts';
import { findTaken, hostsWith } from '../model/snapshots.ts';
import type { TakenSnapshot } from '../model/snapshots.ts';
import type { SnapshotDifference } from '../protocol/local-routes.ts';
import type { AgentContext } from './context.ts';

/** More than anybody reads. */
const mostListed = 10_000;

export interface DifferenceWish {
  volume: string;
  from: string;
  to: string;
}

/** @throws not-found; wrong-state if this host does not have both snapshots; not-supported */
export async function differenceHere(context: AgentContext, wish: DifferenceWish): Promise<SnapshotDifference> {
  const { driver, state, view } = context;
  const known = state.volumeByName(wish.volume) ?? state.volume(wish.volume);
  const volume = known === undefined ? undefined : (view.volume(known.id) ?? known);
  if (volume === undefined) {
    throw new SupercargoError('not-found', `There is no volume "${wish.volume}".`, { hint: 'supercargo volume ls lists all volumes.' });
  }
  const [from, to] = [findTaken(volume, wish.from), findTaken(volume, wish.to)];
  const { snapshots } = await driver.inspect(volume.id);
  for (const each of [from, to]) if (!snapshots.includes(each.snapshot)) throw elsewhere(context, volume, each);
  const changes = await driver.changesBetween(volume.id, from.snapshot, to.snapshot);
  return { changes: changes.slice(0, mostListed), total: changes.length, bytes: changes.reduce((sum, { bytes }) => sum + bytes, 0) };
}

function elsewhere({ self, state }: AgentContext, volume: Volume, { name, snapshot }: TakenSnapshot): SupercargoError {
  const hosts = hostsWith(volume, snapshot).map((host) => state.hostName(host));
  return new SupercargoError('wrong-state', `Snapshot "${volume.name}@${name}" is on ${hosts.join(', ') || 'no host'}, not on ${self.name}.`, {
    hint: 'Give the same command on a host that has both snapshots.',
  });
}
