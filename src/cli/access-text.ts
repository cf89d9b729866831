import type { AccessGrant, Application } from '../model/access.ts';
import { currentHost } from '../model/holder.ts';
import type { Volume } from '../model/records.ts';
import type { ProjectView } from '../protocol/access-routes.ts';
import type { HostView } from '../protocol/routes.ts';
import type { Api } from './connection.ts';
import { hostNames } from './host-names.ts';

/** All that says who may use what. */
export interface Access {
  projects: ProjectView[];
  applications: Application[];
  grants: AccessGrant[];
  volumes: Volume[];
  hosts: HostView[];
}

export async function readAccess(api: Api): Promise<Access> {
  const answers = await Promise.all([
    api.listProjects({}),
    api.listApplications({ query: {} }),
    api.listGrants({ query: {} }),
    api.listVolumes({}),
    api.listHosts({}),
  ]);
  const [{ items: projects }, { items: applications }, { items: grants }, { items: volumes }, { items: hosts }] = answers;
  return { projects, applications, grants, volumes, hosts };
}

/** The project that something belongs to. */
export function projectName({ project }: { project: string }, projects: readonly { id: string; name: string }[]): string {
  return projects.find(({ id }) => id === project)?.name ?? project;
}

/** PROJECT/NAME of an application; identifiers of what is gone. */
export function titleOf(
  id: string,
  { applications, projects }: { applications: readonly Application[]; projects: readonly Pick<ProjectView, 'id' | 'name'>[] },
): string {
  const application = applications.find((each) => each.id === id);
  return application === undefined ? id : `${projectName(application, projects)}/${application.name}`;
}

/** "orders", "all volumes of shop"; the identifier of a volume that is gone. */
export function targetOf(grant: AccessGrant, { applications, projects, volumes }: Access): string {
  if (grant.volume !== null) return volumes.find(({ id }) => id === grant.volume)?.name ?? grant.volume;
  const application = applications.find(({ id }) => id === grant.application);
  return `all volumes of ${application === undefined ? 'its project' : projectName(application, projects)}`;
}

export function describeRevocation({ policy, at, reason }: NonNullable<Application['revocation']>): string {
  return `revoked ${at} (${policy}): ${reason}`;
}

/** "orders (on h1)", or that it is nowhere. */
export function describePlace(volume: Volume, hosts: readonly HostView[]): string {
  const host = currentHost(volume.placement);
  return host === null ? `${volume.name} (on no host yet)` : `${volume.name} (on ${hostNames(hosts)(host)})`;
}
