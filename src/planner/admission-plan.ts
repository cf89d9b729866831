import { covers, isInForce, judgeUse } from '../model/judge-use.ts';
import type { AccessGrant, AccessMode, Application, Project, RevocationPolicy } from '../model/access.ts';
import type { UseRequest, Verdict } from '../model/judge-use.ts';

/** What is known of a container's wish, and of who makes it. */
export interface ContainerFacts {
  volumes: readonly Pick<UseRequest, 'volume' | 'project' | 'mode'>[];
  /** What lets it reach beyond its volumes, each as a phrase such as "is privileged". */
  powers: readonly string[];
  /** As was proved; null if nothing was. */
  application: Application | null;
  /** Grants of that application. */
  grants: readonly AccessGrant[];
  now: number;
}

/** Whether a container may have all that it asks for: each volume by its own grant, and powers only as an application that may be privileged. */
export function judgeContainer({ volumes, powers, application, grants, now }: ContainerFacts): Verdict {
  if (application?.revocation) return { allowed: false, reason: `application "${application.name}" was revoked` };
  for (const wish of volumes) {
    const verdict = judgeUse({ ...wish, application, grants, now });
    if (!verdict.allowed) return verdict;
  }
  if (powers.length === 0 || application?.privileged === true) return { allowed: true, grant: null };
  const whose = application === null ? 'it does not prove whose it is' : `application "${application.name}" may not be privileged`;
  return { allowed: false, reason: `a container that ${powers.join(', and that ')} could reach data of others, and ${whose}` };
}

/** A place on the host that containers keep away from. */
export interface GuardedPlace {
  /** Without symbolic links. */
  path: string;
  /** What is there, for people. */
  holds: string;
  /** Whether seeing it without being able to change it does no harm. */
  readable: boolean;
}

/** What a container gets power over if it sees this path, which has no symbolic links: whatever lies in it, above it, or is it. */
export function powerOver(path: string, mode: AccessMode, places: readonly GuardedPlace[]): string | null {
  const reached = places.find((place) => (isWithin(place.path, path) || isWithin(path, place.path)) && !(place.readable && mode === 'read-only'));
  return reached === undefined ? null : `sees ${path} of the host (${reached.holds})`;
}

function isWithin(parent: string, path: string): boolean {
  return path === parent || path.startsWith(parent.endsWith('/') ? parent : `${parent}/`);
}

/** The use of a volume that was allowed when its container was made. */
export interface StandingUse {
  volume: UseRequest['volume'];
  project: Project;
  mode: AccessMode;
}

/**
 * How a use is to be ended whose right is gone; null while the right is there. A right that ran out by itself, or was never there, ends like one that was
 * taken gracefully.
 */
export function endOf(use: StandingUse, application: Application | null, grants: readonly AccessGrant[], now: number): RevocationPolicy | null {
  if (application?.revocation) return application.revocation.policy;
  if (judgeUse({ ...use, application, grants, now }).allowed) return null;
  const past = grants.filter((grant) => application !== null && reaches(grant, application, use) && !isInForce(grant, now));
  const last = past.toSorted((one, other) => endedAt(one) - endedAt(other)).at(-1);
  return last?.revocation?.policy ?? 'graceful';
}

function reaches(grant: AccessGrant, application: Application, { volume, mode }: StandingUse): boolean {
  return covers(grant, application, volume) && (grant.mode === 'read-write' || mode === 'read-only');
}

function endedAt({ revocation, until }: AccessGrant): number {
  const ends = [revocation?.at, until].flatMap((time) => (time === undefined || time === null ? [] : [Date.parse(time)]));
  return Math.min(...ends);
}
