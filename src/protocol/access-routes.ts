import { z } from 'zod';
import { accessMode, applicationRecord, grantRecord, projectQuota, projectRecord, revocationPolicy } from '../model/access.ts';
import { byteCount, identifier, timestamp } from '../model/records.ts';
import { defineRoutes } from './route.ts';

/** Routes about who may use what: projects, applications, grants, and taking them back. */
const everyone = ['operator', 'host'] as const;
const word = z.string().min(1).max(300);
const projectParameters = z.object({ project: word });
const applicationParameters = z.object({ application: word.describe('PROJECT/NAME or identifier.') });
const emptyAnswer = z.object({});
const reason = z.string().trim().min(1).max(1024).describe('Recorded with the change, for those who ask later.');
const revocationBody = z.strictObject({
  policy: revocationPolicy.describe('now: whatever rests on it is ended at once; graceful: it is left until it stops by itself.'),
  reason,
});
const revision = z.int().nonnegative().describe('Of the state that agents watch.');

const projectView = projectRecord.extend({
  usage: z.object({
    volumes: z.int().nonnegative(),
    bytes: byteCount.describe('Sum of their size limits.'),
    unlimited: z.int().nonnegative().describe('Volumes among them that have no size limit.'),
  }),
});
export type ProjectView = z.infer<typeof projectView>;

/** Of snapshots, people have none of their own to be counted yet. */
const settableQuota = projectQuota.pick({ bytes: true, volumes: true }).partial().strict();
const projectSettings = z.strictObject({
  requireGrants: z.boolean().optional(),
  quota: settableQuota.optional().describe('What is not given stays.'),
});

const acknowledgement = z.object({
  host: identifier,
  name: z.string(),
  status: z.enum(['up', 'down']),
  revision: revision.nullable().describe('Up to which the host has put all changes into effect; null if it has never said.'),
  acknowledged: z.boolean().describe('Whether that is the revision that was asked for, or a later one.'),
  certificateEndsAt: timestamp.nullable().describe('From when on nobody can speak for the host any more, unless it is renewed; null if not known.'),
});
export type Acknowledgement = z.infer<typeof acknowledgement>;

export const accessRoutes = defineRoutes({
  listProjects: {
    method: 'GET',
    path: '/v1/projects',
    summary: 'All projects, and what is in them.',
    callers: everyone,
    response: z.object({ items: z.array(projectView) }),
  },
  createProject: {
    method: 'POST',
    path: '/v1/projects',
    summary: 'Makes a project. Asked again with the same parameters, answers the project that is there.',
    callers: ['operator'],
    body: projectSettings.extend({ name: z.string() }),
    response: projectView,
  },
  getProject: {
    method: 'GET',
    path: '/v1/projects/:project',
    summary: 'One project.',
    callers: everyone,
    parameters: projectParameters,
    response: projectView,
  },
  updateProject: {
    method: 'PATCH',
    path: '/v1/projects/:project',
    summary: 'Sets whether the volumes of a project are used by grant only, and how much it may have.',
    callers: ['operator'],
    parameters: projectParameters,
    body: projectSettings.extend({ reason: reason.optional() }),
    response: projectView,
  },
  deleteProject: {
    method: 'DELETE',
    path: '/v1/projects/:project',
    summary: 'Removes a project that has neither volumes nor applications.',
    callers: ['operator'],
    parameters: projectParameters,
    response: emptyAnswer,
  },

  listApplications: {
    method: 'GET',
    path: '/v1/applications',
    summary: 'All applications, or those of a project.',
    callers: everyone,
    query: z.object({ project: word.optional() }),
    response: z.object({ items: z.array(applicationRecord) }),
  },
  createApplication: {
    method: 'POST',
    path: '/v1/applications',
    summary: 'Makes an application. Asked again with the same parameters, answers the application that is there.',
    callers: ['operator'],
    body: z.strictObject({ project: word, name: z.string(), privileged: z.boolean().optional() }),
    response: applicationRecord,
  },
  deleteApplication: {
    method: 'DELETE',
    path: '/v1/applications/:application',
    summary: 'Removes an application that has no grants in force.',
    callers: ['operator'],
    parameters: applicationParameters,
    response: emptyAnswer,
  },
  revokeApplication: {
    method: 'POST',
    path: '/v1/applications/:application/revoke',
    summary: 'Takes all rights of an application away, until it is reinstated.',
    callers: ['operator'],
    parameters: applicationParameters,
    body: revocationBody,
    response: z.object({ application: applicationRecord, revision }),
  },
  reinstateApplication: {
    method: 'POST',
    path: '/v1/applications/:application/reinstate',
    summary: 'Ends the revocation of an application: its grants count again.',
    callers: ['operator'],
    parameters: applicationParameters,
    body: z.strictObject({ reason }),
    response: applicationRecord,
  },
  createPass: {
    method: 'POST',
    path: '/v1/applications/:application/passes',
    summary: 'A signed, short-lived proof, for one host, that a container is this application’s. A host gets them for itself only.',
    callers: everyone,
    parameters: applicationParameters,
    body: z.strictObject({
      host: word.optional().describe('Where the container will run; without it, the calling host.'),
      uses: z
        .enum(['once', 'many'])
        .default('once')
        .describe('once: for one container, and for an hour at most; many: for any number, 12 hours at most.'),
      lifetimeMilliseconds: z.int().min(1000).max(43_200_000).default(600_000),
    }),
    response: z.object({ pass: z.string(), expiresAt: timestamp }),
  },

  listGrants: {
    method: 'GET',
    path: '/v1/grants',
    summary: 'Grants: all, those of an application, those that reach a volume, or those of a project’s applications and to its volumes.',
    callers: everyone,
    query: z.object({ application: word.optional(), volume: word.optional(), project: word.optional() }),
    response: z.object({ items: z.array(grantRecord) }),
  },
  createGrant: {
    method: 'POST',
    path: '/v1/grants',
    summary: 'Lets an application use a volume. Asked again with the same parameters, answers the grant that is there.',
    callers: ['operator'],
    body: z.strictObject({
      application: word,
      volume: word.nullable().describe('null: every volume of the application’s project, also those to come.'),
      mode: accessMode.default('read-write'),
      from: timestamp.optional().describe('Without it, from now on.'),
      until: timestamp.optional().describe('Without it, until it is revoked.'),
      reason,
    }),
    response: grantRecord,
  },
  revokeGrant: {
    method: 'POST',
    path: '/v1/grants/:grant/revoke',
    summary: 'Takes a grant back.',
    callers: ['operator'],
    parameters: z.object({ grant: identifier }),
    body: revocationBody,
    response: z.object({ grant: grantRecord, revision }),
  },

  acknowledgeAccess: {
    method: 'PUT',
    path: '/v1/access/acknowledgement',
    summary: 'The calling host has put all changes of access up to this revision into effect.',
    callers: ['host'],
    body: z.strictObject({ revision }),
    response: emptyAnswer,
  },
  listAcknowledgements: {
    method: 'GET',
    path: '/v1/access/acknowledgements',
    summary: 'Which hosts have put the changes of access up to a revision into effect.',
    callers: everyone,
    query: z.object({ revision: z.coerce.number().int().nonnegative() }),
    response: z.object({ items: z.array(acknowledgement) }),
  },
});
