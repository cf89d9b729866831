import { SupercargoError, toSupercargoError } from '../model/errors.ts';
import { defaultProject } from '../model/records.ts';
import type { Volume } from '../model/records.ts';
import { judgeContainer, powerOver } from '../planner/admission-plan.ts';
import type { ContainerFacts } from '../planner/admission-plan.ts';
import type { ContainerGate, ContainerWish, WishedPath, WishedVolume } from '../ports/container-gate.ts';
import type { AgentContext, ContainerPass } from './context.ts';

/** Whose container it is, as far as is known. */
type Bearer = Pick<ContainerPass, 'application'>;

const hints = {
  pass: 'Show a pass: docker run --label-file <(supercargo app pass PROJECT/NAME) …',
  grant: 'An operator grants it: supercargo grant …',
};
/** A pass may be here before the stream has told of its application, which is then on its way. Milliseconds. */
const newsMilliseconds = { most: 2000, look: 20 };
/** A volume that is yet to be made has no identifier: only a grant for all volumes of the project reaches it. */
const unmade = '';

/** Decides about containers by the records that this host knows, name server or not. */
export function createContainerGate(context: AgentContext): ContainerGate {
  const { state } = context;
  const { access, admissions } = state;
  return {
    get guarding() {
      return access.guarding;
    },

    create: async (request, wish) => {
      const bearer = wish.pass === null ? null : await verified(context, wish, wish.pass);
      const facts = await factsOf(context, wish, bearer?.application ?? null);
      decide(context, 'a new container', wish, bearer, facts);
      if (bearer === null) return;
      // Nothing waits between this question and the mark that the pass is spent.
      if (admissions.isSpent(bearer.pass)) refuse(context, 'a new container', wish, bearer, 'its pass was used before', hints.pass);
      const { application, pass, uses, expires } = bearer;
      const volumes = wish.volumes.flatMap(({ name, mode }) => (name === null ? [] : [{ name, mode }]));
      await admissions.open(
        request,
        { application, pass, volumes },
        uses === 'once' ? { pass, expires } : null,
        context.clock.monotonicMilliseconds(),
      );
    },

    created: (request, container) => admissions.settle(request, container),

    start: async (container, wish) => {
      const admission = admissions.of(container);
      const facts = await factsOf(context, wish, admission?.application ?? null);
      decide(context, `container ${container.slice(0, 12)}`, wish, admission ?? null, facts);
    },

    use: async ({ paths, powers }) => {
      const facts = await factsOf(context, { volumes: [], paths, powers }, null);
      decide(context, 'nobody in particular', { volumes: [], paths, powers }, null, facts);
    },

    isProtected: (name) => {
      const volume = state.volumeByName(name);
      return volume !== undefined && access.projectOf(volume).requireGrants;
    },
  };
}

type Wish = Omit<ContainerWish, 'pass'>;

/** @throws forbidden */
async function verified(context: AgentContext, wish: Wish, pass: string): Promise<ContainerPass> {
  try {
    const bearer = await context.verifyPass(pass, now(context));
    await heardOf(context, bearer);
    return bearer;
  } catch (error) {
    record(context, 'a new container', wish, null, 'deny', toSupercargoError(error).message);
    throw error;
  }
}

/** Hosts are told of an application only once it was given a pass for them. */
async function heardOf({ state, clock }: AgentContext, { application }: Bearer): Promise<void> {
  const end = clock.monotonicMilliseconds() + newsMilliseconds.most;
  while (state.access.application(application) === undefined && clock.monotonicMilliseconds() < end) await clock.sleep(newsMilliseconds.look);
}

async function factsOf(context: AgentContext, { volumes, paths, powers }: Wish, applicationId: string | null): Promise<ContainerFacts> {
  const { access } = context.state;
  const application = applicationId === null ? null : (access.application(applicationId) ?? null);
  const reached = await Promise.all(paths.map((path) => reachedBy(context, path)));
  return {
    volumes: volumes.flatMap((wish) => knownVolume(context, wish)),
    powers: [...powers, ...reached.filter((power) => power !== null)],
    application,
    grants: application === null ? [] : access.grantsOf(application.id),
    now: now(context),
  };
}

/** A volume of the cluster by its name, whatever driver is asked for; or one of ours that would be made. Others are none of our business. */
function knownVolume({ state }: AgentContext, { name, mode, fresh }: WishedVolume): ContainerFacts['volumes'] {
  const known = name === null ? undefined : state.volumeByName(name);
  const volume: Pick<Volume, 'id' | 'name' | 'project'> | undefined = known ?? freshVolume(state, name, fresh);
  return volume === undefined ? [] : [{ volume, project: state.access.projectOf(volume), mode }];
}

function freshVolume(
  { access }: AgentContext['state'],
  name: string | null,
  fresh: WishedVolume['fresh'],
): Pick<Volume, 'id' | 'name' | 'project'> | undefined {
  if (fresh === undefined) return undefined;
  const project = fresh.project === null ? defaultProject.id : (access.projectByName(fresh.project)?.id ?? fresh.project);
  return { id: unmade, name: name ?? 'a new one', project };
}

/** @throws forbidden if the path can be read in two ways: by the engine, which cuts ".." out of it, and by the kernel, which follows links first */
async function reachedBy({ system, guardedPlaces }: AgentContext, { path, mode }: WishedPath): Promise<string | null> {
  if (path.split('/').includes('..') || !path.startsWith('/')) {
    throw new SupercargoError('forbidden', `The path ${JSON.stringify(path)} cannot be judged.`, { hint: 'Write it from the root, without "..".' });
  }
  const places = guardedPlaces.all();
  return powerOver(path, mode, places) ?? powerOver(await system.realPath(path), mode, places);
}

/** @throws forbidden */
function decide(context: AgentContext, container: string, wish: Wish, bearer: Bearer | null, facts: ContainerFacts): void {
  const verdict = judgeContainer(facts);
  if (!verdict.allowed) refuse(context, container, wish, bearer, verdict.reason, bearer === null ? hints.pass : hints.grant);
  const matters = facts.powers.length > 0 || facts.volumes.some(({ project }) => project.requireGrants);
  if (matters) record(context, container, wish, bearer, 'allow', 'a grant in force');
}

function refuse(context: AgentContext, container: string, wish: Wish, bearer: Bearer | null, reason: string, hint: string): never {
  record(context, container, wish, bearer, 'deny', reason);
  throw new SupercargoError('forbidden', `Refused: ${reason}.`, { hint });
}

function record(
  { audit, state, nameServerTime }: AgentContext,
  container: string,
  { volumes, powers, paths }: Wish,
  bearer: Bearer | null,
  verdict: 'allow' | 'deny',
  reason: string,
): void {
  const what = [...volumes.map(({ name, mode }) => `volume ${name ?? '(new)'} ${mode}`), ...paths.map(({ path }) => `path ${path}`), ...powers];
  audit.record({
    time: nameServerTime.now(),
    actor: `${describeApplication(state, bearer?.application ?? null)}, ${container}`,
    action: 'container.use',
    subject: what.join(', '),
    verdict,
    reason,
    revision: state.heardRevision,
  });
}

/** PROJECT/NAME, for people. */
export function describeApplication({ access }: AgentContext['state'], id: string | null): string {
  if (id === null) return 'no application';
  const application = access.application(id);
  return application === undefined ? `application ${id}` : `${access.project(application.project)?.name ?? application.project}/${application.name}`;
}

function now({ nameServerTime }: AgentContext): number {
  return Date.parse(nameServerTime.now());
}
