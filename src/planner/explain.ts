import { newestInLineage } from '../model/failover.ts';
import type { Copy, Move, Volume, VolumeUse } from '../model/records.ts';
import { candidatesOf } from './failover-plan.ts';
import type { KnownHost } from './failover-plan.ts';
import { isStorm } from './replica-plan.ts';

export interface ExplainFacts {
  volume: Volume;
  /** The open move of the volume, if there is one. */
  move: Move | null;
  hosts: readonly KnownHost[];
  /** Wall-clock milliseconds since 1970: for the age of copies, which is shown and decides nothing. */
  now: number;
}

export interface ExplainedCopy {
  host: string;
  role: 'holder' | 'replica' | 'leftover';
  status: 'up' | 'down';
  snapshot: string | null;
  takenAt: string | null;
  lagMilliseconds: number | null;
  lagBytes: number | null;
}

export interface Explanation {
  volume: Volume;
  state: string;
  healthy: boolean;
  blockedBy: string | null;
  uses: VolumeUse[];
  next: string | null;
  copies: ExplainedCopy[];
}

interface Verdict {
  state: string;
  blockedBy: string | null;
  next: string | null;
}

/** How a volume stands, in words: what it is doing, what keeps it from where it should be, and the next safe step for a person. */
export function explainVolume(facts: ExplainFacts): Explanation {
  const { volume, move } = facts;
  const verdict = explainPlacement(facts);
  const worry = verdict.blockedBy === null ? explainReplicas(facts) : null;
  return {
    volume,
    state: verdict.state,
    healthy: verdict.blockedBy === null && worry === null && volume.diverged.length === 0,
    blockedBy: verdict.blockedBy ?? worry ?? (volume.diverged.length > 0 ? 'what a replaced holder had written waits for a decision' : null),
    uses: move?.blockedBy ?? [],
    next: verdict.next ?? explainDiverged(facts),
    copies: explainCopies(facts),
  };
}

function nameOf(hosts: readonly KnownHost[], id: string): string {
  return hosts.find((host) => host.id === id)?.name ?? id;
}

function isDown(hosts: readonly KnownHost[], id: string): boolean {
  return hosts.find((host) => host.id === id)?.downMilliseconds !== null;
}

function explainPlacement(facts: ExplainFacts): Verdict {
  const { volume, hosts } = facts;
  const { placement } = volume;
  switch (placement.state) {
    case 'free':
      return { state: 'never used', blockedBy: null, next: null };
    case 'held': {
      const name = nameOf(hosts, placement.host);
      return isDown(hosts, placement.host) ? explainLostHolder(facts, name) : { state: `held by ${name}`, blockedBy: null, next: null };
    }
    case 'moving':
      return explainMove(facts, nameOf(hosts, placement.from), nameOf(hosts, placement.to), placement);
    case 'removing':
      return placement.confirmed
        ? { state: 'removed; its copies are being deleted', blockedBy: null, next: null }
        : {
            state: 'being removed',
            blockedBy: `${placement.host === null ? 'nobody' : nameOf(hosts, placement.host)} has not confirmed yet`,
            next: null,
          };
  }
}

function explainLostHolder({ volume, hosts, now }: ExplainFacts, name: string): Verdict {
  const state = `held by ${name}, which does not answer`;
  const [best] = candidatesOf(volume, hosts);
  if (best === undefined) {
    const blockedBy = `${name} does not answer, and no other host that is up has a copy`;
    return { state, blockedBy, next: `Bring ${name} back: start its agent, or give it power and network.` };
  }
  const seconds = Math.max(0, Math.round((now - Date.parse(best.newest.takenAt)) / 1000));
  if (volume.protection.failover === 'auto' && volume.leasedEpoch === volume.epoch) {
    return {
      state,
      blockedBy: `${name} does not answer; ${best.host.name} takes over when its lease has ended`,
      next: 'Nothing: wait some seconds.',
    };
  }
  const order = `supercargo volume failover ${volume.name} --to ${best.host.name} --reason "…"`;
  return {
    state,
    blockedBy: `${name} does not answer, and only an operator may let another copy take over`,
    next: `Start the agent on ${name}; or, if you have made sure that it is off: ${order} --holder-is-off (loses at most the last ${seconds} s).`,
  };
}

function explainMove({ hosts, move }: ExplainFacts, from: string, to: string, placement: { from: string; to: string; move: string }): Verdict {
  const state = `moving from ${from} to ${to}`;
  const cancel = `supercargo move cancel ${placement.move}`;
  if (isDown(hosts, placement.from))
    return { state, blockedBy: `${from} does not answer`, next: `Start the agent on ${from}, or end the move: ${cancel}` };
  if (isDown(hosts, placement.to)) return { state, blockedBy: `${to} does not answer`, next: `Start the agent on ${to}, or end the move: ${cancel}` };
  if (move !== null && move.blockedBy.length > 0) {
    const users = move.blockedBy.map(({ kind, name }) => `${kind} ${name}`).join(', ');
    return { state, blockedBy: `in use on ${from} by ${users}`, next: `Stop it on ${from}, or end the move: ${cancel}` };
  }
  return { state, blockedBy: null, next: null };
}

function explainReplicas({ volume, hosts }: ExplainFacts): string | null {
  const wanted = volume.protection.replicas;
  const good = volume.replicas.filter((id) => !isDown(hosts, id)).length;
  if (good >= wanted) return null;
  if (isStorm(hosts)) return `${good} of ${wanted} replicas: too many hosts are away at once, so nothing is rebuilt`;
  return `${good} of ${wanted} replicas: no other suitable host is up`;
}

function explainDiverged({ volume, hosts }: ExplainFacts): string | null {
  const [first] = volume.diverged;
  if (first === undefined) return null;
  const { name } = volume;
  return (
    `${nameOf(hosts, first.host)} keeps what was written there and is no part of this volume: look at it with ` +
    `supercargo volume restore ${name} ${first.snapshot} NEWNAME, or give it up with supercargo volume forget ${name} ${first.snapshot}`
  );
}

function explainCopies({ volume, hosts, now }: ExplainFacts): ExplainedCopy[] {
  const holder = volume.placement.state === 'held' ? volume.placement.host : volume.placement.state === 'moving' ? volume.placement.from : null;
  const listed = new Map<string, Pick<Copy, 'host' | 'snapshots'>>(volume.copies.map((copy) => [copy.host, copy]));
  for (const host of volume.replicas) if (!listed.has(host)) listed.set(host, { host, snapshots: [] });
  return [...listed.values()].map((copy) => {
    const newest = newestInLineage(volume, copy);
    const role = copy.host === holder ? 'holder' : volume.replicas.includes(copy.host) ? 'replica' : 'leftover';
    const behind = newest === null ? [] : volume.lineage.slice(volume.lineage.indexOf(newest) + 1);
    return {
      host: nameOf(hosts, copy.host),
      role,
      status: isDown(hosts, copy.host) ? 'down' : 'up',
      snapshot: newest?.snapshot ?? null,
      takenAt: newest?.takenAt ?? null,
      lagMilliseconds: role === 'holder' || newest === null ? null : Math.max(0, now - Date.parse(newest.takenAt)),
      lagBytes: role === 'holder' || newest === null ? null : behind.reduce((sum, { bytes }) => sum + bytes, 0),
    };
  });
}
