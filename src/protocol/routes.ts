import { z } from 'zod';
import { applicationRecord, denialRecord, grantRecord, projectRecord } from '../model/access.ts';
import {
  byteCount,
  clusterRecord,
  copyRecord,
  eventRecord,
  hostRecord,
  identifier,
  moveProgress,
  moveRecord,
  poolReport,
  protection,
  timestamp,
  unprotected,
  volumeClass,
  volumeRecord,
  volumeUse,
} from '../model/records.ts';
import { accessRoutes } from './access-routes.ts';
import { auditRoutes } from './audit-routes.ts';
import { certificateRoutes, trustReport } from './certificate-routes.ts';
import { leaseClaim, protectionRoutes } from './protection-routes.ts';
import { keyRoutes } from './key-routes.ts';
import { defineRoutes } from './route.ts';
import { snapshotRoutes } from './snapshot-routes.ts';
import { userRoutes } from './user-routes.ts';

/** The API of the name server. Every object may be named by its name or its identifier. */
const everyone = ['operator', 'host'] as const;

export const hostView = hostRecord.extend({
  status: z.enum(['up', 'down']).describe('Whether the agent has a live session with the name server.'),
});
export type HostView = z.infer<typeof hostView>;

const volumeParameters = z.object({ volume: z.string().min(1).max(256) });
const moveParameters = z.object({ move: identifier });
const emptyAnswer = z.object({});

export const createVolumeBody = z.strictObject({
  name: z.string(),
  project: z.string().optional().describe('Without it, the project of what it is made from, else the default project.'),
  class: z.string().optional(),
  sizeBytes: byteCount.positive().nullable().optional(),
  labels: z.record(z.string().max(256), z.string().max(4096)).optional(),
  from: z
    .strictObject({
      volume: z.string(),
      snapshot: z.string().min(1).max(256).optional().describe('By name or identifier; without it, one is taken of what the volume holds now.'),
    })
    .optional()
    .describe('A snapshot of another volume, or what a replaced holder of it has kept: the new volume begins with it, on a host that has it.'),
  host: z.string().optional().describe('Where the volume is placed at once; without it, the first host that mounts it.'),
});

export const watchMessage = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('reset'),
    revision: z.int(),
    volumes: z.array(volumeRecord),
    moves: z.array(moveRecord),
    hosts: z.array(hostView),
    projects: z.array(projectRecord).default([]),
    applications: z.array(applicationRecord).default([]),
    grants: z.array(grantRecord).default([]),
    denials: z.array(denialRecord).default([]),
  }),
  z.object({ type: z.literal('volume'), revision: z.int(), id: z.string(), volume: volumeRecord.nullable() }),
  z.object({ type: z.literal('move'), revision: z.int(), id: z.string(), move: moveRecord.nullable() }),
  z.object({ type: z.literal('host'), revision: z.int(), id: z.string(), host: hostView.nullable() }),
  z.object({ type: z.literal('project'), revision: z.int(), id: z.string(), project: projectRecord.nullable() }),
  z.object({ type: z.literal('application'), revision: z.int(), id: z.string(), application: applicationRecord.nullable() }),
  z.object({ type: z.literal('grant'), revision: z.int(), id: z.string(), grant: grantRecord.nullable() }),
  z.object({ type: z.literal('denial'), revision: z.int(), id: z.string(), denial: denialRecord.nullable() }),
  z.object({ type: z.literal('alive'), revision: z.int() }).describe('Sent when nothing else was for a while.'),
]);
export type WatchMessage = z.infer<typeof watchMessage>;

export const eventView = eventRecord.extend({ sequence: z.int() });
export type EventView = z.infer<typeof eventView>;

export const joinBody = z.strictObject({
  token: z.string().min(1).max(512),
  name: z.string(),
  address: z.string().max(256),
  request: z.string().max(8192).describe('Certificate request (PEM) for a key that was made on the host.'),
  host: identifier.optional().describe('Which host of the cluster it is already: the token must then be for it.'),
});
export const joinAnswer = z.object({
  cluster: clusterRecord,
  host: hostRecord,
  certificate: z.string(),
  authorities: z.array(z.string()),
  nameServer: z.string().describe('host:port of the name server.'),
});
export type JoinAnswer = z.infer<typeof joinAnswer>;

export const whereView = z.object({
  volume: z.string(),
  state: z.string(),
  host: z.string().nullable(),
  address: z.string().nullable(),
  epoch: z.int(),
  replicas: z.array(z.string()),
  move: moveRecord.nullable(),
});
export type WhereView = z.infer<typeof whereView>;

export const routes = defineRoutes({
  getCluster: { method: 'GET', path: '/v1/cluster', summary: 'The cluster.', callers: everyone, response: clusterRecord },

  createInvite: {
    method: 'POST',
    path: '/v1/invites',
    summary: 'Makes a single-use join token.',
    callers: ['operator'],
    body: z.strictObject({
      lifetimeMilliseconds: z.int().min(1000).max(86_400_000).default(600_000),
      host: z
        .string()
        .optional()
        .describe('A host of the cluster whose certificate ran out, or that is denied: it comes back under its identity, with new keys.'),
    }),
    response: z.object({ token: z.string(), expiresAt: timestamp, joinAddress: z.string(), fingerprint: z.string() }),
  },
  join: { method: 'POST', path: '/v1/join', summary: 'Enrols a host with a join token.', callers: ['guest'], body: joinBody, response: joinAnswer },
  renewCertificate: {
    method: 'POST',
    path: '/v1/certificates',
    summary: 'Renews the certificate of the calling host.',
    callers: ['host'],
    body: z.strictObject({ request: z.string().max(8192) }),
    response: z.object({ certificate: z.string(), authorities: z.array(z.string()) }),
  },

  listHosts: { method: 'GET', path: '/v1/hosts', summary: 'All hosts.', callers: everyone, response: z.object({ items: z.array(hostView) }) },
  getHost: {
    method: 'GET',
    path: '/v1/hosts/:host',
    summary: 'One host.',
    callers: everyone,
    parameters: z.object({ host: z.string().min(1).max(256) }),
    response: hostView,
  },
  heartbeat: {
    method: 'POST',
    path: '/v1/heartbeat',
    summary: 'Keeps the session of the calling host alive and reports its pool.',
    callers: ['host'],
    body: z.strictObject({
      session: identifier,
      address: z.string().max(256),
      version: z.string().max(64),
      pool: poolReport.nullable(),
      leases: z.array(leaseClaim).max(100_000).default([]).describe('Volumes that the host holds and will stop using when its lease ends.'),
      held: z
        .array(leaseClaim)
        .max(100_000)
        .default([])
        .describe('Volumes that the host holds by its own durable word, and has heard nothing of since it was switched on.'),
      trust: trustReport.optional(),
    }),
    response: z.object({
      sessionMilliseconds: z.int(),
      time: timestamp.describe('The clock of the name server.'),
      leases: z.array(leaseClaim).describe('Those that it may go on with, for sessionMilliseconds from the sending of this request.'),
      held: z.array(leaseClaim).describe('Those that it does hold.'),
      authorities: z.array(z.string()).default([]).describe('PEM, the one that signs first; empty if they are those that the host trusts.'),
    }),
  },

  listClasses: {
    method: 'GET',
    path: '/v1/classes',
    summary: 'All volume classes.',
    callers: everyone,
    response: z.object({ items: z.array(volumeClass) }),
  },
  putClass: {
    method: 'PUT',
    path: '/v1/classes/:class',
    summary: 'Makes or replaces a volume class.',
    callers: ['operator'],
    parameters: z.object({ class: z.string() }),
    body: volumeClass.omit({ name: true }).extend({ protection: protection.default(unprotected) }),
    response: volumeClass,
  },

  listVolumes: {
    method: 'GET',
    path: '/v1/volumes',
    summary: 'All volumes.',
    callers: everyone,
    response: z.object({ items: z.array(volumeRecord) }),
  },
  createVolume: {
    method: 'POST',
    path: '/v1/volumes',
    summary: 'Makes a volume. Asked again with the same parameters, answers the volume that is there.',
    callers: everyone,
    body: createVolumeBody,
    response: volumeRecord,
  },
  getVolume: {
    method: 'GET',
    path: '/v1/volumes/:volume',
    summary: 'One volume.',
    callers: everyone,
    parameters: volumeParameters,
    response: volumeRecord,
  },
  updateVolume: {
    method: 'PATCH',
    path: '/v1/volumes/:volume',
    summary: 'Replaces the labels of a volume.',
    callers: everyone,
    parameters: volumeParameters,
    body: z.strictObject({ labels: z.record(z.string().max(256), z.string().max(4096)) }),
    response: volumeRecord,
  },
  removeVolume: {
    method: 'DELETE',
    path: '/v1/volumes/:volume',
    summary: 'Removes a volume that nothing uses; answers when its holder has given it up.',
    callers: everyone,
    parameters: volumeParameters,
    response: emptyAnswer,
  },
  where: {
    method: 'GET',
    path: '/v1/where/:volume',
    summary: 'Where the data of a volume is now.',
    callers: everyone,
    parameters: volumeParameters,
    response: whereView,
  },

  claimVolume: {
    method: 'POST',
    path: '/v1/volumes/:volume/claim',
    summary: 'The calling host wants to hold the volume: grants it, or opens or joins the move that leads there.',
    callers: ['host'],
    parameters: volumeParameters,
    response: z.object({ volume: volumeRecord, move: moveRecord.nullable() }),
  },
  reclaimVolume: {
    method: 'POST',
    path: '/v1/volumes/:volume/reclaim',
    summary: 'The calling holder released under this epoch for a move that was aborted; it gets a new epoch.',
    callers: ['host'],
    parameters: volumeParameters,
    body: z.strictObject({ epoch: z.int() }),
    response: volumeRecord,
  },
  reportCopy: {
    method: 'PUT',
    path: '/v1/volumes/:volume/copies/self',
    summary: 'What the calling host has of the volume; null if nothing.',
    callers: ['host'],
    parameters: volumeParameters,
    body: z.strictObject({
      copy: copyRecord.omit({ host: true }).nullable(),
      seen: z
        .int()
        .nonnegative()
        .describe('The host’s number in copyChanges when it looked at what it has: if it has risen since, the report is too old.'),
    }),
    response: emptyAnswer,
  },
  confirmRemoval: {
    method: 'POST',
    path: '/v1/volumes/:volume/removal/confirm',
    summary: 'The calling holder gives the volume up for removal.',
    callers: ['host'],
    parameters: volumeParameters,
    response: emptyAnswer,
  },
  refuseRemoval: {
    method: 'POST',
    path: '/v1/volumes/:volume/removal/refuse',
    summary: 'The calling holder keeps the volume because something uses it.',
    callers: ['host'],
    parameters: volumeParameters,
    body: z.strictObject({ uses: z.array(volumeUse) }),
    response: emptyAnswer,
  },

  listMoves: {
    method: 'GET',
    path: '/v1/moves',
    summary: 'Moves, the newest last.',
    callers: everyone,
    response: z.object({ items: z.array(moveRecord) }),
  },
  getMove: { method: 'GET', path: '/v1/moves/:move', summary: 'One move.', callers: everyone, parameters: moveParameters, response: moveRecord },
  createMove: {
    method: 'POST',
    path: '/v1/moves',
    summary: 'Moves a volume to a host: copies while it is in use, hands over when nothing uses it any more.',
    callers: everyone,
    body: z.strictObject({ volume: z.string(), to: z.string() }),
    response: z.object({ volume: volumeRecord, move: moveRecord.nullable() }),
  },
  cancelMove: {
    method: 'POST',
    path: '/v1/moves/:move/cancel',
    summary: 'Ends a move before its commit point; the volume stays where it is.',
    callers: everyone,
    parameters: moveParameters,
    response: moveRecord,
  },
  readyMove: {
    method: 'POST',
    path: '/v1/moves/:move/ready',
    summary: 'The calling destination has nearly everything.',
    callers: ['host'],
    parameters: moveParameters,
    response: moveRecord,
  },
  blockMove: {
    method: 'POST',
    path: '/v1/moves/:move/blocked',
    summary: 'The calling source says what still uses the volume.',
    callers: ['host'],
    parameters: moveParameters,
    body: z.strictObject({ uses: z.array(volumeUse) }),
    response: moveRecord,
  },
  releaseMove: {
    method: 'POST',
    path: '/v1/moves/:move/release',
    summary: 'The calling source can no longer write; the snapshot holds everything.',
    callers: ['host'],
    parameters: moveParameters,
    body: z.strictObject({ epoch: z.int(), snapshot: identifier }),
    response: moveRecord,
  },
  commitMove: {
    method: 'POST',
    path: '/v1/moves/:move/commit',
    summary: 'The calling destination has the final snapshot, verified: it becomes the holder.',
    callers: ['host'],
    parameters: moveParameters,
    body: z.strictObject({ copy: copyRecord.omit({ host: true }) }),
    response: z.object({ volume: volumeRecord, move: moveRecord }),
  },
  abortMove: {
    method: 'POST',
    path: '/v1/moves/:move/abort',
    summary: 'The calling source or destination cannot go on.',
    callers: ['host'],
    parameters: moveParameters,
    body: z.strictObject({ code: z.string(), message: z.string().max(4096), hint: z.string().max(1024).nullable() }),
    response: moveRecord,
  },
  reportProgress: {
    method: 'PUT',
    path: '/v1/moves/:move/progress',
    summary: 'How far the calling destination is.',
    callers: ['host'],
    parameters: moveParameters,
    body: moveProgress,
    response: emptyAnswer,
  },
  createTicket: {
    method: 'POST',
    path: '/v1/moves/:move/ticket',
    summary: 'A signed, short-lived right of the calling destination to pull this move’s snapshots from the source.',
    callers: ['host'],
    parameters: moveParameters,
    response: z.object({ ticket: z.string() }),
  },

  listEvents: {
    method: 'GET',
    path: '/v1/events',
    summary: 'What happened, oldest first.',
    callers: everyone,
    query: z.object({ after: z.coerce.number().int().default(0), limit: z.coerce.number().int().min(1).max(1000).default(100) }),
    response: z.object({ items: z.array(eventView) }),
  },
  followEvents: {
    method: 'GET',
    path: '/v1/events/follow',
    summary: 'The last events and all that come, as JSON lines.',
    callers: everyone,
    query: z.object({ last: z.coerce.number().int().min(0).max(1000).default(10) }),
    response: eventView.nullable().describe('null is sent when nothing happened for a while.'),
    stream: true,
  },
  ...protectionRoutes,
  ...snapshotRoutes,
  ...auditRoutes,
  ...userRoutes,
  ...accessRoutes,
  ...certificateRoutes,
  ...keyRoutes,

  watch: {
    method: 'GET',
    path: '/v1/watch',
    summary: 'The whole state, then every change of it, as JSON lines; to a host, what concerns it.',
    callers: everyone,
    response: watchMessage,
    stream: true,
  },
});
export type Routes = typeof routes;
