import { applicationRecord, projectRecord, unlimitedQuota } from '../model/access.ts';
import type { Project } from '../model/access.ts';
import { SupercargoError } from '../model/errors.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { checkName } from '../model/names.ts';
import { isNamed } from '../model/placement.ts';
import { defaultProject, volumeRecord } from '../model/records.ts';
import { formatSize } from '../model/size.ts';
import type { ProjectView } from '../protocol/access-routes.ts';
import type { Handlers } from '../protocol/server.ts';
import type { Routes } from '../protocol/routes.ts';
import { actorName } from './hosts.ts';
import { findProject, nameEntry } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { closeToNewcomers } from './newcomers.ts';
import { usageOf } from './quotas.ts';
import { keys } from './keys.ts';
import type { Repository, Transaction } from './repository.ts';

type ProjectRoutes = 'listProjects' | 'createProject' | 'getProject' | 'updateProject' | 'deleteProject';
type CreateBody = Parameters<Handlers<Routes>['createProject']>[0]['body'];
type Settings = Omit<CreateBody, 'name'>;

/** The project that everything belongs to unless told otherwise: nothing is required of whoever uses its volumes. */
export async function ensureDefaultProject(repository: Repository): Promise<void> {
  await repository.transact(async (transaction) => {
    if ((await transaction.get(keys.project(defaultProject.id), projectRecord)) !== undefined) return;
    putNew(transaction, { ...defaultProject, requireGrants: false, quota: unlimitedQuota, createdAt: repository.now() });
  });
}

export function projectHandlers(context: NameServerContext): Pick<Handlers<Routes>, ProjectRoutes> {
  const { repository } = context;
  const view = async (project: Project): Promise<ProjectView> => ({
    ...project,
    usage: usageOf(project.id, await repository.list(keys.volumes, volumeRecord)),
  });
  return {
    listProjects: async () => {
      const volumes = await repository.list(keys.volumes, volumeRecord);
      const projects = await repository.list(keys.projects, projectRecord);
      const items = projects.map((project) => ({ ...project, usage: usageOf(project.id, volumes) }));
      return { items: items.sort((a, b) => a.name.localeCompare(b.name)) };
    },
    createProject: async ({ body }, request) => view(await createProject(context, body, await actorName(context, request))),
    getProject: async ({ parameters }) => view(await findProject(repository, parameters.project)),
    updateProject: async ({ parameters, body: { reason, ...settings } }, request) => {
      const actor = await actorName(context, request);
      const changed = await repository.transact(async (transaction) => {
        const project = await findProject(transaction, parameters.project);
        const after = withSettings(project, settings);
        if (JSON.stringify(after) === JSON.stringify(project)) return project;
        transaction.put(keys.project(project.id), after);
        const why = reason === undefined ? '' : ` ${reason}`;
        transaction.record('project.changed', project.name, actor, `Project "${project.name}" was set: ${describe(after)}.${why}`);
        return after;
      });
      return view(changed);
    },
    deleteProject: async ({ parameters }, request) => {
      const actor = await actorName(context, request);
      await repository.transact(async (transaction) => {
        const project = await findProject(transaction, parameters.project);
        await closeToNewcomers(transaction, project.id);
        await refuseIfNeeded(repository, project);
        transaction.delete(keys.projectName(project.name));
        transaction.delete(keys.project(project.id));
        transaction.record('project.removed', project.name, actor, `Project "${project.name}" was removed.`);
      });
      return {};
    },
  };
}

function createProject({ repository, random }: NameServerContext, body: CreateBody, actor: string): Promise<Project> {
  const { name: word, ...settings } = body;
  const name = checkName('project', word);
  return repository.transact(async (transaction) => {
    const existing = await transaction.get(keys.projectName(name), nameEntry);
    if (existing !== undefined) return sameProject(await findProject(transaction, existing.id), settings);
    const bare = { id: newIdentifier('prj', random), name, requireGrants: false, quota: unlimitedQuota, createdAt: repository.now() };
    const project = withSettings(bare, settings);
    putNew(transaction, project);
    transaction.record('project.created', name, actor, `Project "${name}" was made: ${describe(project)}.`);
    return project;
  });
}

function putNew(transaction: Transaction, project: Project): void {
  transaction.put(keys.projectName(project.name), { id: project.id });
  transaction.put(keys.project(project.id), project);
}

/** What is not given stays. */
function withSettings(project: Project, { requireGrants = project.requireGrants, quota = {} }: Settings): Project {
  const { bytes = project.quota.bytes, volumes = project.quota.volumes } = quota;
  return { ...project, requireGrants, quota: { ...project.quota, bytes, volumes } };
}

/** Making it again is fine as long as what is asked for explicitly is what is there. @throws already-exists */
function sameProject(existing: Project, settings: Settings): Project {
  if (JSON.stringify(withSettings(existing, settings)) === JSON.stringify(existing)) return existing;
  throw new SupercargoError('already-exists', `There is a project "${existing.name}" already: ${describe(existing)}.`, {
    hint: `To change it: supercargo project set ${existing.name}`,
  });
}

function describe({ requireGrants, quota }: Project): string {
  const limits = [quota.bytes === null ? '' : formatSize(quota.bytes), quota.volumes === null ? '' : `${quota.volumes} volumes`].filter(Boolean);
  return `${requireGrants ? 'grants are required' : 'no grants are required'}, ${limits.length === 0 ? 'no quota' : `at most ${limits.join(' and ')}`}`;
}

/** @throws wrong-state with what is still in it */
async function refuseIfNeeded(repository: Repository, { id, name }: Project): Promise<void> {
  if (id === defaultProject.id) {
    throw new SupercargoError('wrong-state', `Project "${name}" is what volumes belong to unless told otherwise; it stays.`);
  }
  const volumes = (await repository.list(keys.volumes, volumeRecord)).filter((volume) => volume.project === id && isNamed(volume));
  const applications = (await repository.list(keys.applications, applicationRecord)).filter(({ project }) => project === id);
  const list = (items: readonly { name: string }[]): string => items.map((item) => `"${item.name}"`).join(', ');
  const parts = [
    volumes.length > 0 ? `the volumes ${list(volumes)}` : '',
    applications.length > 0 ? `the applications ${list(applications)}` : '',
  ].filter(Boolean);
  if (parts.length === 0) return;
  throw new SupercargoError('wrong-state', `Project "${name}" still has ${parts.join(', and ')}.`, {
    hint: 'Remove them first: supercargo volume rm, supercargo app rm',
  });
}
