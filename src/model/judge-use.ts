import type { AccessGrant, AccessMode, Application, Project } from './access.ts';
import type { Volume } from './records.ts';

/** A container's wish to use a volume, with all that decides about it. */
export interface UseRequest {
  volume: Pick<Volume, 'id' | 'name' | 'project'>;
  project: Project;
  /** Whose container it is, as was proved; null if nothing was. */
  application: Application | null;
  /** Grants of that application. */
  grants: readonly AccessGrant[];
  mode: AccessMode;
  /** By the clock of the name server, milliseconds since 1970. */
  now: number;
}

export type Verdict = { allowed: true; grant: string | null } | { allowed: false; reason: string };

/** The one decision about the use of a volume by a container. */
export function judgeUse({ volume, project, application, grants, mode, now }: UseRequest): Verdict {
  if (application?.revocation) return refused(`application "${application.name}" was revoked`);
  if (!project.requireGrants) return { allowed: true, grant: null };
  if (application === null) return refused(`project "${project.name}" requires a grant, and the container does not prove whose it is`);
  const all = grants.filter((grant) => grant.application === application.id && covers(grant, application, volume));
  const inForce = all.filter((grant) => isInForce(grant, now));
  const fitting = inForce.find((grant) => grant.mode === 'read-write' || mode === 'read-only');
  if (fitting !== undefined) return { allowed: true, grant: fitting.id };
  if (inForce.length > 0) return refused(`application "${application.name}" may only read volume "${volume.name}"`);
  return refused(`application "${application.name}" has no grant for volume "${volume.name}"${whyNot(all, now)}`);
}

/** Whether a grant of the application reaches the volume, whenever and however. */
export function covers(grant: AccessGrant, application: Application, volume: UseRequest['volume']): boolean {
  return grant.volume === null ? volume.project === application.project : grant.volume === volume.id;
}

/** Whether it never counts again. */
export function hasEnded({ revocation: revoked, until }: AccessGrant, now: number): boolean {
  return revoked !== null || (until !== null && Date.parse(until) <= now);
}

export function isInForce(grant: AccessGrant, now: number): boolean {
  return !hasEnded(grant, now) && Date.parse(grant.from) <= now;
}

/** Why the newest of the grants that are not in force does not count. */
function whyNot(grants: readonly AccessGrant[], now: number): string {
  const last = grants.at(-1);
  if (last === undefined) return '';
  if (last.revocation !== null) return `: it was revoked at ${last.revocation.at}`;
  return Date.parse(last.from) > now ? `: it begins at ${last.from}` : `: it ended at ${last.until}`;
}

function refused(reason: string): Verdict {
  return { allowed: false, reason };
}
