import { applicationRecord, grantRecord } from '../model/access.ts';
import { hasEnded } from '../model/judge-use.ts';
import type { Application } from '../model/access.ts';
import { SupercargoError } from '../model/errors.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { checkName } from '../model/names.ts';
import type { Handlers, RequestContext } from '../protocol/server.ts';
import type { Routes } from '../protocol/routes.ts';
import { actorName } from './hosts.ts';
import { applicationTitle, findApplication, findHost, findProject, nameEntry } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { closeToNewcomers, comeInto } from './newcomers.ts';
import { keys } from './keys.ts';
import { recordAdmission } from './reach.ts';

type ApplicationRoutes = 'listApplications' | 'createApplication' | 'deleteApplication' | 'createPass';
type Body<Route extends 'createApplication' | 'createPass'> = Parameters<Handlers<Routes>[Route]>[0]['body'];

/** A pass for one container is used at once or not at all. Milliseconds. */
const longestSinglePassMilliseconds = 3_600_000;

export function applicationHandlers(context: NameServerContext): Pick<Handlers<Routes>, ApplicationRoutes> {
  const { repository } = context;
  return {
    listApplications: async ({ query }) => {
      const project = query.project === undefined ? undefined : (await findProject(repository, query.project)).id;
      const applications = await repository.list(keys.applications, applicationRecord);
      const wanted = applications.filter((each) => project === undefined || each.project === project);
      return { items: wanted.sort((a, b) => a.name.localeCompare(b.name)) };
    },
    createApplication: async ({ body }, request) => createApplication(context, body, await actorName(context, request)),
    deleteApplication: async ({ parameters }, request) => {
      await deleteApplication(context, parameters.application, await actorName(context, request));
      return {};
    },
    createPass: ({ parameters, body }, request) => createPass(context, parameters.application, body, request),
  };
}

function createApplication({ repository, random }: NameServerContext, body: Body<'createApplication'>, actor: string): Promise<Application> {
  const name = checkName('application', body.name);
  return repository.transact(async (transaction) => {
    const project = await findProject(transaction, body.project);
    const title = `${project.name}/${name}`;
    const existing = await transaction.get(keys.applicationName(project.id, name), nameEntry);
    if (existing !== undefined) return sameApplication(await findApplication(transaction, existing.id), title, body);
    const application: Application = {
      id: newIdentifier('app', random),
      project: project.id,
      name,
      privileged: body.privileged ?? false,
      createdAt: repository.now(),
      revocation: null,
    };
    await comeInto(transaction, project.id, application.id);
    transaction.put(keys.applicationName(project.id, name), { id: application.id });
    transaction.put(keys.application(application.id), application);
    transaction.record('application.created', title, actor, `Application "${title}" was made${application.privileged ? ', privileged' : ''}.`);
    return application;
  });
}

/** @throws already-exists */
function sameApplication(existing: Application, title: string, { privileged }: Body<'createApplication'>): Application {
  if (privileged === undefined || privileged === existing.privileged) return existing;
  throw new SupercargoError(
    'already-exists',
    `There is an application "${title}" already, which may ${existing.privileged ? '' : 'not '}be privileged.`,
    { hint: 'Use another name, or remove it and make it anew.' },
  );
}

/** Its grants that have ended go with it; the events tell of them. @throws wrong-state with those that have not */
async function deleteApplication({ repository, clock }: NameServerContext, word: string, actor: string): Promise<void> {
  await repository.transact(async (transaction) => {
    const application = await findApplication(transaction, word);
    const title = await applicationTitle(transaction, application);
    await closeToNewcomers(transaction, application.id);
    const grants = (await repository.list(keys.grants, grantRecord)).filter((grant) => grant.application === application.id);
    const inForce = grants.filter((grant) => !hasEnded(grant, clock.wallMilliseconds()));
    if (inForce.length > 0) {
      throw new SupercargoError('wrong-state', `Application "${title}" still has the grants ${inForce.map(({ id }) => id).join(', ')}.`, {
        hint: `Take them back first: supercargo grant ls --app ${title}, supercargo revoke grant`,
      });
    }
    for (const { id } of grants) transaction.delete(keys.grant(id));
    for (const { key } of (await repository.store.list(keys.grantRequests(application.id))).entries) transaction.delete(key);
    transaction.delete(keys.applicationName(application.project, application.name));
    transaction.delete(keys.application(application.id));
    transaction.record('application.removed', title, actor, `Application "${title}" was removed.`);
  });
}

/** @throws invalid-request, forbidden */
async function createPass(
  context: NameServerContext,
  word: string,
  { host: hostWord, uses, lifetimeMilliseconds }: Body<'createPass'>,
  request: RequestContext,
): Promise<{ pass: string; expiresAt: string }> {
  const { repository, clock, issuer, random } = context;
  const application = await findApplication(repository, word);
  const title = await applicationTitle(repository, application);
  const host = await findHost(repository, hostWord ?? request.host ?? hostMissing());
  if (request.host !== null && request.host !== host.id) {
    throw new SupercargoError('forbidden', 'A host gets passes for its own containers only.', {
      hint: 'Make it on the host where the container will run, or on the host of the name server.',
    });
  }
  if (application.revocation !== null) {
    throw new SupercargoError('forbidden', `Application "${title}" was revoked: ${application.revocation.reason}`, {
      hint: `If it is to run again: supercargo app reinstate ${title} --reason "…"`,
    });
  }
  if (uses === 'once' && lifetimeMilliseconds > longestSinglePassMilliseconds) {
    throw new SupercargoError('invalid-request', 'A pass for one container lives for an hour at most.', {
      hint: 'Make it shortly before the container, or make a reusable one.',
    });
  }
  const expires = clock.wallMilliseconds() + lifetimeMilliseconds;
  const expiresAt = new Date(expires).toISOString();
  const id = newIdentifier('pas', random);
  const actor = await actorName(context, request);
  const pass = await issuer.signPass({ pass: id, application: application.id, host: host.id, uses, expires });
  await repository.transact(async (transaction) => {
    await recordAdmission(transaction, host.id, application.id, request.host === null ? expires : 0);
    const times = uses === 'once' ? 'for one container' : 'for any number of containers';
    transaction.record('pass.created', title, actor, `Pass ${id} of "${title}" was made, ${times} on ${host.name} until ${expiresAt}.`);
  });
  return { pass, expiresAt };
}

function hostMissing(): never {
  throw new SupercargoError('invalid-request', 'The host where the container will run is not given.', { hint: 'Name it: --host HOST' });
}
