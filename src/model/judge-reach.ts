import type { AccessGrant, Application, Project } from './access.ts';
import { currentHost } from './holder.ts';
import { judgeUse } from './judge-use.ts';
import type { Volume } from './records.ts';

/**
 * The one decision about hosts: which volumes may come to a host, and what of the records it is told. A host's word for itself counts for nothing in it, because its
 * certificate may be stolen.
 */

/** An application that an operator has let run on the host, by a pass; its grants are its own only. */
export interface AdmittedApplication {
  application: Application;
  grants: readonly AccessGrant[];
  /** Until when the word counts; milliseconds since 1970. */
  expires: number;
}

export interface ReachRequest {
  volume: Volume;
  /** Of the volume; one that is gone counts as one that requires grants. */
  project: Project | undefined;
  host: string;
  admitted: readonly AdmittedApplication[];
  /** By the clock of the name server, milliseconds since 1970. */
  now: number;
}

/** Whether the host has something of the volume, or is to have: by the records, whatever any grant says. */
export function hasPart({ placement, replicas, copies, diverged }: Volume, host: string): boolean {
  if (currentHost(placement) === host || (placement.state === 'moving' && placement.to === host)) return true;
  return replicas.includes(host) || [...copies, ...diverged].some((each) => each.host === host);
}

/**
 * Whether the volume may come to the host: of an open project any volume to any host, of one that requires grants what the host has a part in, and what an
 * application that is admitted there may use. What nobody has yet holds no data: it is had by whoever names it first.
 */
export function mayReach(request: ReachRequest): boolean {
  return request.volume.placement.state === 'free' || isWithinReach(request);
}

function isWithinReach({ volume, project, host, admitted, now }: ReachRequest): boolean {
  if (project?.requireGrants === false || hasPart(volume, host)) return true;
  if (project === undefined) return false;
  return admitted.some(
    ({ application, grants, expires }) => expires > now && judgeUse({ volume, project, application, grants, mode: 'read-only', now }).allowed,
  );
}

/**
 * Whether the host is told of the volume. Beyond what is within its reach, this is what it may still have something of that no record shows: it took part in a move
 * that has ended, or was replaced as the holder, and has to tidy up.
 * @param parties of the volume's moves that are on record
 */
export function isTold(request: ReachRequest, parties: ReadonlySet<string>): boolean {
  const { volume, host } = request;
  return parties.has(host) || volume.lastFailover?.from === host || isWithinReach(request);
}

/** What the decision about applications rests on. */
export interface KnownToHost {
  host: string;
  /** Identifiers of the volumes that the host is told of, and of the projects they are in. */
  volumes: ReadonlySet<string>;
  projects: ReadonlySet<string>;
  /** Applications that were ever let run on the host, by whomever: it may still have containers of theirs. */
  introduced: ReadonlySet<string>;
}

/** Whether the host is told of the application: so that it can judge containers, its revocation included. */
export function mayKnowApplication(
  application: Application,
  project: Project | undefined,
  grants: readonly AccessGrant[],
  { volumes, projects, introduced }: KnownToHost,
): boolean {
  if (project?.requireGrants === false || introduced.has(application.id)) return true;
  return grants.some((grant) => (grant.volume === null ? projects.has(application.project) : volumes.has(grant.volume)));
}

/** Whether a grant of an application that the host is told of concerns it. */
export function mayKnowGrant(grant: AccessGrant, { volumes }: KnownToHost): boolean {
  return grant.volume === null || volumes.has(grant.volume);
}

/** Whose addresses the host is told: those it shares a volume or a move with. */
export function partiesOf({ placement, replicas, copies, diverged, lastFailover }: Volume): string[] {
  const holders = placement.state === 'moving' ? [placement.from, placement.to] : [currentHost(placement)];
  const failover = lastFailover === null ? [] : [lastFailover.from, lastFailover.to];
  return [...holders.filter((each) => each !== null), ...replicas, ...failover, ...[...copies, ...diverged].map(({ host }) => host)];
}

/** When, after now, time alone may change what a host reaches; null is never. */
export function nextReachChange(admitted: readonly AdmittedApplication[], now: number): number | null {
  const counting = admitted.filter(({ expires }) => expires > now);
  const times = counting.flatMap(({ expires, grants }) => [
    expires,
    ...grants
      .filter((grant) => grant.revocation === null)
      .flatMap(({ from, until }) => [Date.parse(from), until === null ? null : Date.parse(until)]),
  ]);
  const ahead = times.filter((time) => time !== null && time > now) as number[];
  return ahead.length === 0 ? null : Math.min(...ahead);
}
