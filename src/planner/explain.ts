import { formatDuration } from '../model/duration.ts';
import { failsOverByItself, historyBytes, newestInLineage, newestOn } from '../model/failover.ts';
import { currentHost } from '../model/holder.ts';
import type { Copy, Move, Volume, VolumeUse } from '../model/records.ts';
import { explainSnapshot } from './explain-snapshot.ts';
import { candidatesOf } from './failover-plan.ts';
import type { KnownHost } from './failover-plan.ts';
import { isStorm } from './replica-plan.ts';

/** A replica is late if it lacks a snapshot that is older than so many intervals, but never before this time has passed. */
const latenessIntervals = 3;
const leastPatienceMilliseconds = 60_000;

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
  const { state, ...placed } = explainPlacement(facts);
  // What is wrong first comes first; a decision that is still to be taken hurries least.
  const { blockedBy, next } =
    [placed, explainProtection(facts), explainSnapshots(facts), explainDiverged(facts)].find((each) => each.blockedBy !== null) ?? fine;
  return {
    volume,
    state,
    healthy: blockedBy === null,
    blockedBy,
    uses: move?.blockedBy ?? [],
    next,
    copies: explainCopies(facts),
  };
}

function nameOf(hosts: readonly KnownHost[], id: string): string {
  return hosts.find((host) => host.id === id)?.name ?? id;
}

function isDown(hosts: readonly KnownHost[], id: string): boolean {
  return hosts.find((host) => host.id === id)?.downMilliseconds !== null;
}

const fine = { blockedBy: null, next: null };

function explainPlacement(facts: ExplainFacts): Verdict {
  const { volume, hosts } = facts;
  const { placement } = volume;
  switch (placement.state) {
    case 'free':
      return { state: 'never used', ...fine };
    case 'held': {
      const name = nameOf(hosts, placement.host);
      if (isDown(hosts, placement.host)) return explainLostHolder(facts, name);
      const leaves = hosts.some((host) => host.id === placement.host && host.state === 'draining');
      return { state: `held by ${name}${leaves ? ', which is being drained' : ''}`, ...fine };
    }
    case 'moving':
      return explainMove(facts, placement);
    case 'removing':
      return placement.confirmed
        ? { state: 'removed; its copies are being deleted', ...fine }
        : {
            state: 'being removed',
            blockedBy: `${placement.host === null ? 'nobody' : nameOf(hosts, placement.host)} has not confirmed yet`,
            next: 'Nothing: if no answer comes in some seconds, the removal is called off.',
          };
  }
}

function explainLostHolder({ volume, hosts, now }: ExplainFacts, name: string): Verdict {
  const state = `held by ${name}, which does not answer`;
  const [best] = candidatesOf(volume, hosts);
  if (best === undefined) {
    const others = volume.copies
      .filter((copy) => isDown(hosts, copy.host) && newestInLineage(volume, copy) !== null)
      .map(({ host }) => nameOf(hosts, host));
    const away = others.filter((other) => other !== name);
    const elsewhere = away.length === 0 ? 'no other host has a copy' : `the other hosts with a copy do not answer either: ${away.join(', ')}`;
    const next = `Bring ${[name, ...away].join(' or ')} back: start its agent, or give it power and network.`;
    return { state, blockedBy: `${name} does not answer, and ${elsewhere}`, next };
  }
  if (failsOverByItself(volume)) {
    const blockedBy = `${name} does not answer; ${best.host.name} takes over when its lease and the margin have ended`;
    return { state, blockedBy, next: 'Nothing: wait some seconds.' };
  }
  const never = volume.protection.failover === 'auto' ? ' (it had not taken up its lease yet)' : '';
  const order = `supercargo volume failover ${volume.name} --to ${best.host.name} --reason "…" --holder-is-off`;
  const loss = formatDuration(Math.max(0, now - Date.parse(best.newest.takenAt)));
  return {
    state,
    blockedBy: `${name} does not answer, and only an operator may let another copy take over${never}`,
    next: `Start the agent on ${name}; or, if you have made sure that it is off: ${order} (loses at most the last ${loss})`,
  };
}

function explainMove({ volume, hosts, move }: ExplainFacts, placement: { from: string; to: string; move: string }): Verdict {
  const [from, to] = [nameOf(hosts, placement.from), nameOf(hosts, placement.to)];
  const state = `moving from ${from} to ${to}`;
  const end = `or end the move: supercargo move cancel ${placement.move}`;
  if (isDown(hosts, placement.from)) {
    if (failsOverByItself(volume)) {
      const blockedBy = `${from} does not answer; the move ends when its lease and the margin have ended, and a replica takes over`;
      return { state, blockedBy, next: 'Nothing: wait some seconds.' };
    }
    return { state, blockedBy: `${from} does not answer`, next: `Start the agent on ${from}, ${end}` };
  }
  if (isDown(hosts, placement.to)) {
    const unused = move?.phase === 'released' ? ', and nobody may write until it has the volume or the move ends' : '';
    return { state, blockedBy: `${to} does not answer${unused}`, next: `Start the agent on ${to}, ${end}` };
  }
  if (move !== null && move.blockedBy.length > 0) {
    const users = move.blockedBy.map(({ kind, name }) => `${kind} ${name}`).join(', ');
    return { state, blockedBy: `in use on ${from} by ${users}`, next: `Stop it on ${from}, ${end}` };
  }
  return { state, ...fine };
}

/** What is wrong with the protection of a volume that is where it should be. */
function explainProtection(facts: ExplainFacts): Pick<Verdict, 'blockedBy' | 'next'> {
  const { volume, hosts } = facts;
  const { protection, placement, replicas } = volume;
  if (placement.state !== 'held') return fine;
  const good = replicas.filter((id) => !isDown(hosts, id) && newestOn(volume, id) !== null);
  if (good.length < protection.replicas) return explainMissing(facts, good);
  const late = good.filter((id) => isLate(facts, id)).map((id) => nameOf(hosts, id));
  if (late.length > 0) return { blockedBy: `${late.length === 1 ? 'a replica lags' : 'replicas lag'} behind: ${late.join(', ')}`, next: null };
  if (protection.failover !== 'auto') return fine;
  if (protection.replicas === 0) {
    const next = `supercargo class set ${volume.class} --replicas 1`;
    return { blockedBy: 'it has automatic failover but no replicas, so nothing could take over', next };
  }
  return failsOverByItself(volume)
    ? fine
    : { blockedBy: `automatic failover is not in force yet: ${nameOf(hosts, placement.host)} takes it up shortly`, next: null };
}

function explainMissing({ volume, hosts }: ExplainFacts, good: readonly string[]): Pick<Verdict, 'blockedBy' | 'next'> {
  const count = `${good.length} of ${volume.protection.replicas} replicas`;
  if (isStorm(hosts)) {
    return {
      blockedBy: `${count}: too many hosts are away at once, so nothing is rebuilt`,
      next: 'Bring the hosts back, or remove those that are lost.',
    };
  }
  const building = volume.replicas.filter((id) => !good.includes(id) && !isDown(hosts, id)).map((id) => nameOf(hosts, id));
  if (building.length > 0) return { blockedBy: `${count}: being made on ${building.join(', ')}`, next: null };
  const away = volume.replicas.filter((id) => isDown(hosts, id)).map((id) => nameOf(hosts, id));
  const possible = hosts.filter(({ state, downMilliseconds }) => state === 'active' && downMilliseconds === null).length - 1;
  if (away.length > 0) {
    const replaced = possible > good.length ? ', and is replaced if it stays away' : ', and there are not enough hosts to replace it';
    return { blockedBy: `${count}: ${away.join(', ')} does not answer${replaced}`, next: `Bring ${away.join(', ')} back.` };
  }
  if (possible < volume.protection.replicas) return { blockedBy: `${count}: not enough hosts`, next: 'Add a host, or bring one up.' };
  return { blockedBy: `${count}: waits for room on another host, or for other replicas that are being made`, next: null };
}

/** Whether a replica has missed more than it does in passing: a snapshot that is older than some intervals. */
function isLate({ volume, now }: ExplainFacts, host: string): boolean {
  const newest = newestOn(volume, host);
  const missed = newest === null ? undefined : volume.lineage[volume.lineage.indexOf(newest) + 1];
  const patience = Math.max(leastPatienceMilliseconds, latenessIntervals * volume.protection.intervalMilliseconds);
  return missed !== undefined && now - Date.parse(missed.takenAt) > patience;
}

/** A snapshot that somebody waits for in vain; one that its holder is about to take is none. */
function explainSnapshots({ volume, hosts }: ExplainFacts): Pick<Verdict, 'blockedBy' | 'next'> {
  const failed = volume.snapshots.find((snapshot) => snapshot.problem !== null);
  if (failed !== undefined) {
    const title = `${volume.name}@${failed.name}`;
    const blockedBy = `snapshot ${title} could not be taken: ${failed.problem}`;
    return { blockedBy, next: `Try again: supercargo snapshot create ${title}; or give it up: supercargo snapshot rm ${title}` };
  }
  const lost = volume.snapshots.find((snapshot) => explainSnapshot(volume, snapshot, hosts).state === 'lost');
  if (lost === undefined) return fine;
  return {
    blockedBy: `snapshot ${volume.name}@${lost.name} is on no host any more`,
    next: `Give it up: supercargo snapshot rm ${volume.name}@${lost.name}`,
  };
}

function explainDiverged({ volume, hosts }: ExplainFacts): Pick<Verdict, 'blockedBy' | 'next'> {
  const [first] = volume.diverged;
  if (first === undefined) return fine;
  const { name } = volume;
  return {
    blockedBy: `what ${nameOf(hosts, first.host)} had written before it was replaced waits for a decision`,
    next:
      `Look at it, as a volume of its own: supercargo volume restore ${name} ${first.snapshot} NEWNAME; ` +
      `or give it up: supercargo volume forget ${name} ${first.snapshot}`,
  };
}

function explainCopies({ volume, hosts, now }: ExplainFacts): ExplainedCopy[] {
  const holder = volume.placement.state === 'removing' ? null : currentHost(volume.placement);
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
      lagBytes: role === 'holder' || newest === null ? null : historyBytes({ lineage: behind }),
    };
  });
}
