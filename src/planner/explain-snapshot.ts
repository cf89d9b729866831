import { currentHost } from '../model/holder.ts';
import type { Snapshot, Volume } from '../model/records.ts';
import { hostsWith, isTaken } from '../model/snapshots.ts';
import type { KnownHost } from './failover-plan.ts';

export interface ExplainedSnapshot {
  state: 'taken' | 'waiting' | 'failed' | 'lost';
  /** Why it waits, or what went wrong. */
  explanation: string | null;
  /** Names of the hosts that have it. */
  hosts: string[];
}

/** How a snapshot with a name stands, in words. */
export function explainSnapshot(volume: Volume, snapshot: Snapshot, hosts: readonly KnownHost[]): ExplainedSnapshot {
  const nameOf = (id: string): string => hosts.find((host) => host.id === id)?.name ?? id;
  if (isTaken(snapshot)) {
    const having = hostsWith(volume, snapshot.snapshot).map(nameOf);
    if (having.length > 0) return { state: 'taken', explanation: null, hosts: having };
    return { state: 'lost', explanation: 'no host that is known has it any more', hosts: [] };
  }
  if (snapshot.problem !== null) return { state: 'failed', explanation: snapshot.problem, hosts: [] };
  const holder = currentHost(volume.placement);
  return {
    state: 'waiting',
    explanation: waitingFor(
      volume,
      hosts.find(({ id }) => id === holder),
    ),
    hosts: [],
  };
}

function waitingFor({ placement, copies, leasedEpoch, protection }: Volume, holder: KnownHost | undefined): string {
  if (holder === undefined) return 'no host holds the volume';
  if (holder.downMilliseconds !== null) return `${holder.name} holds the volume and does not answer; it is taken when it is back`;
  if (placement.state === 'moving') return `${holder.name} is handing the volume over; whoever holds it then takes it`;
  if (!copies.some(({ host, kind }) => host === holder.id && kind === 'live')) return `${holder.name} has not made its copy of the volume yet`;
  const lease = protection.failover === 'auto' && leasedEpoch === null ? ', once it has taken up its lease' : '';
  return `${holder.name} is about to take it${lease}`;
}
