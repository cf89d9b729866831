import { createHash } from 'node:crypto';
import { applicationRecord, grantRecord } from '../model/access.ts';
import { covers, hasEnded } from '../model/judge-use.ts';
import type { AccessGrant, Application } from '../model/access.ts';
import { SupercargoError } from '../model/errors.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { volumeRecord } from '../model/records.ts';
import type { Volume } from '../model/records.ts';
import type { Handlers } from '../protocol/server.ts';
import type { Routes } from '../protocol/routes.ts';
import { actorName } from './hosts.ts';
import { applicationTitle, findApplication, findProject, findVolume, nameEntry } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { comeInto } from './newcomers.ts';
import { keys } from './keys.ts';

/** How long a grant that has ended is kept for people to look at, in milliseconds; the events tell of it for longer. */
const keptMilliseconds = 30 * 86_400_000;

type CreateBody = Parameters<Handlers<Routes>['createGrant']>[0]['body'];
type Query = Parameters<Handlers<Routes>['listGrants']>[0]['query'];

export function grantHandlers(context: NameServerContext): Pick<Handlers<Routes>, 'listGrants' | 'createGrant'> {
  return {
    listGrants: async ({ query }) => ({ items: await listGrants(context, query) }),
    createGrant: async ({ body }, request) => createGrant(context, body, await actorName(context, request)),
  };
}

async function listGrants({ repository }: NameServerContext, query: Query): Promise<AccessGrant[]> {
  const only = query.application === undefined ? null : await findApplication(repository, query.application);
  const volume = query.volume === undefined ? null : await findVolume(repository, query.volume);
  const project = query.project === undefined ? null : await findProject(repository, query.project);
  const applications = new Map((await repository.list(keys.applications, applicationRecord)).map((each) => [each.id, each]));
  const inProject = new Set(
    project === null ? [] : (await repository.list(keys.volumes, volumeRecord)).filter((each) => each.project === project.id).map(({ id }) => id),
  );
  const grants = await repository.list(keys.grants, grantRecord);
  return grants
    .filter((grant) => {
      const application = applications.get(grant.application);
      if (application === undefined || (only !== null && application.id !== only.id)) return false;
      if (volume !== null && !covers(grant, application, volume)) return false;
      return project === null || application.project === project.id || (grant.volume !== null && inProject.has(grant.volume));
    })
    .sort((a, b) => a.createdAt.localeCompare(b.createdAt));
}

/** @throws invalid-request for times that make no sense, wrong-state if the application was revoked */
function createGrant({ repository, random, clock }: NameServerContext, body: CreateBody, actor: string): Promise<AccessGrant> {
  return repository.transact(async (transaction) => {
    const application = await findApplication(transaction, body.application);
    const volume = body.volume === null ? null : await findVolume(transaction, body.volume);
    const request = keys.grantRequest(application.id, digestOf(body, volume));
    const known = await transaction.get(request, nameEntry);
    const before = known === undefined ? undefined : await transaction.get(keys.grant(known.id), grantRecord);
    if (before !== undefined && !hasEnded(before, clock.wallMilliseconds())) return before;
    const title = await applicationTitle(transaction, application);
    if (application.revocation !== null) throw isRevoked(title, application);
    const grant: AccessGrant = {
      id: newIdentifier('grt', random),
      application: application.id,
      volume: volume?.id ?? null,
      mode: body.mode,
      ...checkTimes(body, clock.wallMilliseconds()),
      reason: body.reason,
      actor,
      createdAt: repository.now(),
      revocation: null,
    };
    await comeInto(transaction, application.id, grant.id);
    transaction.put(request, { id: grant.id });
    transaction.put(keys.grant(grant.id), grant);
    transaction.record('grant.created', title, actor, describe(grant, title, volume));
    return grant;
  });
}

/** What makes a request the same as an earlier one. */
function digestOf({ mode, from, until, reason }: CreateBody, volume: Volume | null): string {
  const asked = [volume?.id ?? null, mode, from ?? null, until ?? null, reason];
  return createHash('sha256').update(JSON.stringify(asked)).digest('hex');
}

/** @throws invalid-request */
function checkTimes({ from, until }: CreateBody, now: number): Pick<AccessGrant, 'from' | 'until'> {
  const start = from === undefined ? now : Date.parse(from);
  const end = until === undefined ? null : Date.parse(until);
  const asText = (milliseconds: number): string => new Date(milliseconds).toISOString();
  if (start < now) {
    throw new SupercargoError('invalid-request', `The grant would begin at ${asText(start)}, which is past: it is ${asText(now)}.`, {
      hint: 'Leave its beginning out to let it begin now.',
    });
  }
  if (end !== null && end <= start) {
    throw new SupercargoError('invalid-request', `The grant would end at ${asText(end)}, which is not after its beginning at ${asText(start)}.`);
  }
  return { from: asText(start), until: end === null ? null : asText(end) };
}

function isRevoked(title: string, { revocation }: Application): SupercargoError {
  return new SupercargoError('wrong-state', `Application "${title}" was revoked: ${revocation?.reason}`, {
    hint: `If it is to run again, first: supercargo app reinstate ${title} --reason "…"`,
  });
}

function describe(grant: AccessGrant, title: string, volume: Volume | null): string {
  const what = volume === null ? 'every volume of its project' : `volume "${volume.name}"`;
  const end = grant.until === null ? '' : ` until ${grant.until}`;
  const mode = grant.mode === 'read-only' ? 'read' : 'read and write';
  return `Application "${title}" may ${mode} ${what} from ${grant.from}${end} (${grant.id}). ${grant.reason}`;
}

/** Takes out grants that ended long ago, and those for volumes that are gone. */
export async function pruneGrants({ repository, store, clock }: NameServerContext): Promise<void> {
  const grants = await repository.list(keys.grants, grantRecord);
  // Listed after the grants: the volume of a grant that was made in between is there.
  const volumes = new Set((await repository.list(keys.volumes, volumeRecord)).map(({ id }) => id));
  const isOld = ({ revocation, until }: AccessGrant): boolean =>
    Date.parse(revocation?.at ?? until ?? repository.now()) < clock.wallMilliseconds() - keptMilliseconds;
  const surplus = grants.filter((grant) => isOld(grant) || (grant.volume !== null && !volumes.has(grant.volume)));
  if (surplus.length === 0) return;
  const gone = new Set(surplus.map(({ id }) => id));
  const requests = (await store.list(keys.grantRequestsOfAll)).entries.filter(({ value }) => gone.has(nameEntry.parse(value).id));
  await store.transact([], [...surplus.map(({ id }) => ({ delete: keys.grant(id) })), ...requests.map(({ key }) => ({ delete: key }))]);
}
