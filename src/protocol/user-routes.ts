import { z } from 'zod';
import { userRecord, userRole } from '../model/access.ts';
import { clusterRecord, timestamp } from '../model/records.ts';
import { defineRoutes } from './route.ts';

const userParameters = z.object({ user: z.string().min(1).max(256) });
const project = z.string().nullable().describe('Name or identifier of the one project that the role counts for; null is the whole cluster.');
const certified = z.object({ certificate: z.string(), authorities: z.array(z.string()) });

const loginAnswer = certified.extend({
  cluster: clusterRecord,
  user: userRecord,
  nameServer: z.string().describe('host:port of the name server.'),
});

/**
 * People and what they may do. A user proves who it is by a certificate for a key of its own, which lives for half a day; what it may call is what an operator
 * may, as far as its role and project go.
 */
export const userRoutes = defineRoutes({
  listUsers: {
    method: 'GET',
    path: '/v1/users',
    summary: 'All users.',
    callers: ['operator'],
    response: z.object({ items: z.array(userRecord) }),
  },
  createUser: {
    method: 'POST',
    path: '/v1/users',
    summary: 'Makes a user. Asked again with the same parameters, answers the one that is there.',
    callers: ['operator'],
    body: z.strictObject({ name: z.string(), role: userRole, project: project.default(null) }),
    response: userRecord,
  },
  updateUser: {
    method: 'PATCH',
    path: '/v1/users/:user',
    summary: 'Changes what a user may do; counts from its next call.',
    callers: ['operator'],
    parameters: userParameters,
    body: z.strictObject({ role: userRole.optional(), project: project.optional() }),
    response: userRecord,
  },
  deleteUser: {
    method: 'DELETE',
    path: '/v1/users/:user',
    summary: 'Removes a user: its certificates count no more, and what it is being told ends.',
    callers: ['operator'],
    parameters: userParameters,
    response: z.object({}),
  },
  createLogin: {
    method: 'POST',
    path: '/v1/users/:user/logins',
    summary: 'Makes a single-use token with which a user gets its certificate.',
    callers: ['operator'],
    parameters: userParameters,
    body: z.strictObject({ lifetimeMilliseconds: z.int().min(1000).max(86_400_000).default(600_000) }),
    response: z.object({ token: z.string(), expiresAt: timestamp, joinAddress: z.string(), fingerprint: z.string() }),
  },
  login: {
    method: 'POST',
    path: '/v1/login',
    summary: 'Gives the bearer of a login token a certificate.',
    callers: ['guest'],
    body: z.strictObject({ token: z.string().min(1).max(512), request: z.string().max(8192) }),
    response: loginAnswer,
  },
  renewLogin: {
    method: 'POST',
    path: '/v1/login/renewal',
    summary: 'A new certificate for the calling user.',
    callers: ['user'],
    body: z.strictObject({ request: z.string().max(8192) }),
    response: certified,
  },
  whoAmI: {
    method: 'GET',
    path: '/v1/login',
    summary: 'The calling user.',
    callers: ['user'],
    response: userRecord,
  },
});
