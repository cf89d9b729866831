import { reachesAsFar } from '../model/access.ts';
import type { User, UserRole } from '../model/access.ts';
import { SupercargoError } from '../model/errors.ts';
import { routes } from '../protocol/routes.ts';
import type { Routes } from '../protocol/routes.ts';
import type { RequestContext } from '../protocol/server.ts';
import { findApplication, findGrant, findMove, findProject, findVolume } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import type { Repository } from './repository.ts';
import { callingUser } from './users.ts';

/** What a call names, before anything is known of it. */
type Words = Record<string, string | undefined>;
type Locate = (repository: Repository, words: Words) => Promise<string>;
type Route = keyof Routes;

const byVolume: Locate = async (repository, { volume = '' }) => (await findVolume(repository, volume)).project;
const byMove: Locate = async (repository, { move = '' }) => byVolume(repository, { volume: (await findMove(repository, move)).volume });
const byProject: Locate = async (repository, { project = '' }) => (await findProject(repository, project)).id;
const byApplication: Locate = async (repository, { application = '' }) => (await findApplication(repository, application)).project;
const byGrant: Locate = async (repository, { grant = '' }) =>
  byApplication(repository, { application: (await findGrant(repository, grant)).application });

/** What concerns one project, and how its project is found. Whoever's role counts for one project may call these only. */
const ofOneProject: Partial<Record<Route, Locate>> = {
  createVolume: async (repository, words) => {
    const { project, from } = words as { project?: string; from?: { volume: string } };
    return project === undefined && from !== undefined ? byVolume(repository, from) : byProject(repository, { project: project ?? 'default' });
  },
  getVolume: byVolume,
  updateVolume: byVolume,
  removeVolume: byVolume,
  where: byVolume,
  getVolumeStatus: byVolume,
  previewFailover: byVolume,
  failOver: byVolume,
  forgetDiverged: byVolume,
  createSnapshot: byVolume,
  getSnapshot: byVolume,
  deleteSnapshot: byVolume,
  revertVolume: byVolume,
  createMove: byVolume,
  getMove: byMove,
  cancelMove: byMove,
  getProject: byProject,
  createApplication: byProject,
  deleteApplication: byApplication,
  revokeApplication: byApplication,
  reinstateApplication: byApplication,
  createPass: byApplication,
  createGrant: byApplication,
  revokeGrant: byGrant,
};

/** Lists, of which such a user sees what belongs to its project. */
const lists: Partial<Record<Route, (repository: Repository, item: never) => Promise<string>>> = {
  listVolumes: async (_, item: { project: string }) => item.project,
  listSnapshots: async (repository, item: { volumeId: string }) => byVolume(repository, { volume: item.volumeId }).catch(() => ''),
  listProjects: async (_, item: { id: string }) => item.id,
  listApplications: async (_, item: { project: string }) => item.project,
  listGrants: async (repository, item: { application: string }) => byApplication(repository, item),
  listMoves: async (repository, item: { volume: string }) => byVolume(repository, item).catch(() => ''),
};

/** What everybody may know. */
const harmless: readonly Route[] = ['getCluster', 'listHosts', 'getHost', 'listClasses', 'whoAmI', 'renewLogin'];

/** The lowest role that may call a route. */
function roleFor(route: Route, input: unknown): UserRole {
  // Its containers reach the whole host, and with it what other projects have there.
  if (route === 'createApplication' && (input as { body?: { privileged?: boolean } }).body?.privileged === true) return 'admin';
  if (harmless.includes(route) || routes[route].method === 'GET') return route === 'listAudit' || route === 'listUsers' ? 'operator' : 'viewer';
  return ofOneProject[route] === undefined ? 'admin' : 'operator';
}

/**
 * Whether a user may make a call. An object of another project is as if it were not there, so that nobody learns what others have.
 * @throws forbidden, not-found
 */
export async function requireRight(context: NameServerContext, route: Route, input: unknown, request: RequestContext): Promise<User> {
  const user = await callingUser(context, request);
  if (!reachesAsFar(user.role, roleFor(route, input))) throw forbidden(user, route);
  if (user.project === null || harmless.includes(route) || lists[route] !== undefined) return user;
  const locate = ofOneProject[route];
  if (locate === undefined) throw forbidden(user, route);
  const words = wordsOf(input);
  if ((await locate(context.repository, words)) !== user.project) throw notThere(words);
  // A grant joins an application and a volume, a volume may be made from another: both are to be the user's.
  const second = secondVolume(route, input);
  if (second !== null && (await byVolume(context.repository, { volume: second })) !== user.project) throw notThere({ volume: second });
  return user;
}

/** What of an answer the user may see. */
export async function visibleTo<Answer>(context: NameServerContext, user: User, route: Route, answer: Answer): Promise<Answer> {
  const projectOf = lists[route];
  if (projectOf === undefined || user.project === null) return answer;
  const { items } = answer as { items: never[] };
  const projects = await Promise.all(items.map((item) => projectOf(context.repository, item)));
  return { ...answer, items: items.filter((_, index) => projects[index] === user.project) };
}

function secondVolume(route: Route, input: unknown): string | null {
  const { body } = input as { body?: { volume?: string | null; from?: { volume: string } } };
  if (route === 'createGrant') return body?.volume ?? null;
  return route === 'createVolume' ? (body?.from?.volume ?? null) : null;
}

function wordsOf(input: unknown): Words {
  const { parameters = {}, body = {} } = input as { parameters?: Words; body?: Words | null };
  return { ...body, ...parameters };
}

function forbidden(user: User, route: Route): SupercargoError {
  const reach = user.project === null ? '' : ' of one project';
  return new SupercargoError('forbidden', `User "${user.name}" is ${user.role}${reach} and may not call ${route}.`, {
    hint: 'Ask an administrator: supercargo user set NAME --role …',
  });
}

function notThere(words: Words): SupercargoError {
  const [word = ''] = Object.values(words);
  return new SupercargoError('not-found', `There is no "${word}" in your project.`);
}
