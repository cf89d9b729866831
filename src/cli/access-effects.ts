import { covers, hasEnded, isInForce } from '../model/judge-use.ts';
import type { AccessGrant, Application } from '../model/access.ts';
import { currentHost } from '../model/holder.ts';
import type { ProjectView } from '../protocol/access-routes.ts';
import { describePlace, describeRevocation, targetOf, titleOf } from './access-text.ts';
import type { Access } from './access-text.ts';
import { listNames } from './volume-text.ts';

const mostLines = 20;

function shortened(lines: string[]): string[] {
  return lines.length <= mostLines ? lines : [...lines.slice(0, mostLines - 1), `  and ${lines.length - mostLines + 1} more`];
}

/** "in force", "revoked (now): broken into", … */
export function describeGrantState(grant: AccessGrant, now: number): string {
  if (grant.revocation !== null) return describeRevocation(grant.revocation);
  if (hasEnded(grant, now)) return `ended ${grant.until}`;
  return isInForce(grant, now) ? 'in force' : `begins ${grant.from}`;
}

/** What it means for the volumes that are there that grants are required now. */
export function describeRequirement({ id, name }: ProjectView, access: Access): string[] {
  const { volumes, applications, grants, hosts } = access;
  const now = Date.now();
  const own = volumes.filter(({ project }) => project === id);
  const users = own.map((volume) => {
    const granted = applications.filter(
      (application) =>
        application.revocation === null &&
        grants.some((grant) => grant.application === application.id && isInForce(grant, now) && covers(grant, application, volume)),
    );
    const who = granted.map((application) => titleOf(application.id, access)).join(', ');
    return `  ${describePlace(volume, hosts)}: ${who === '' ? 'NOBODY, until you grant it' : who}`;
  });
  return [
    `Containers that run go on. From now on a container is started with a volume of ${name} only if it proves whose it is, and that application has a grant:`,
    ...shortened(users),
    `Let an application use one: supercargo grant ${name}/NAME VOLUME --reason "…"; let its containers prove it: supercargo app pass ${name}/NAME`,
    'Docker has to be told to ask, on each host: "Requiring grants" in docs/docker.md. Where it is not, its containers can be started with none of them.',
  ];
}

/** What taking a grant back means, before it is done. */
export function describeGrantRevocation(grant: AccessGrant, application: Application, access: Access): string[] {
  const title = titleOf(application.id, access);
  return [
    `${title} loses what grant ${grant.id} gave it: ${grant.mode} on ${targetOf(grant, access)}.`,
    ...describeEnded(application, [grant], access),
    ...describeRest(application, grant, access),
  ];
}

/** What revoking an application means, before it is done. */
export function describeApplicationRevocation(application: Application, access: Access): string[] {
  const own = access.grants.filter((grant) => grant.application === application.id && !hasEnded(grant, Date.now()));
  return [
    `${titleOf(application.id, access)} loses all rights until it is reinstated.`,
    ...describeEnded(application, own, access),
    ...describeOpen(access),
  ];
}

/** Which volumes it is about, and on which hosts they are, as the records tell. */
function describeEnded(application: Application, grants: readonly AccessGrant[], { volumes, hosts }: Access): string[] {
  const concerned = volumes.filter((volume) => grants.some((grant) => covers(grant, application, volume)));
  const placed = concerned.filter(({ placement }) => currentHost(placement) !== null);
  if (placed.length === 0) return ['None of the volumes that it reaches is on any host.'];
  return ['Its containers may use at this moment:', ...shortened(placed.map((volume) => `  ${describePlace(volume, hosts)}`))];
}

/** By what else the application may go on. */
function describeRest(application: Application, revoked: AccessGrant, access: Access): string[] {
  const reached = access.volumes.filter((volume) => covers(revoked, application, volume));
  const others = access.grants.filter(
    (grant) =>
      grant.application === application.id &&
      grant.id !== revoked.id &&
      !hasEnded(grant, Date.now()) &&
      reached.some((volume) => covers(grant, application, volume)),
  );
  return [
    ...others.map((grant) => `Grant ${grant.id} stays: ${grant.mode} on ${targetOf(grant, access)}.`),
    ...describeOpen({ ...access, projects: access.projects.filter(({ id }) => reached.some(({ project }) => project === id)) }),
  ];
}

/** Where nothing is won by it, because nobody is asked for a grant. */
function describeOpen({ projects, volumes }: Pick<Access, 'projects' | 'volumes'>): string[] {
  return projects.flatMap(({ id, name, requireGrants }) => {
    const open = volumes.filter(({ project }) => !requireGrants && project === id);
    return open.length === 0
      ? []
      : [`Project ${name} requires no grants: a container that does not say whose it is may still use ${listNames(open)}.`];
  });
}
