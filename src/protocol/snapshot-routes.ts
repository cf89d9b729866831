import { z } from 'zod';
import { byteCount, epoch, identifier, snapshotRecord, timestamp, volumeRecord } from '../model/records.ts';
import { defineRoutes } from './route.ts';

/** Routes about snapshots that people ask for by name. */
const everyone = ['operator', 'host'] as const;
const volumeParameters = z.object({ volume: z.string().min(1).max(256) });
const snapshotParameters = volumeParameters.extend({ snapshot: z.string().min(1).max(256) });
const requestParameters = volumeParameters.extend({ snapshot: identifier });
const emptyAnswer = z.object({});

const snapshotView = snapshotRecord.extend({
  volume: z.string(),
  volumeId: identifier,
  state: z.enum(['taken', 'waiting', 'failed', 'lost']).describe('lost: it was taken, and no disk that the cluster knows of has it any more.'),
  explanation: z.string().nullable().describe('Why it waits, or what went wrong.'),
  hosts: z.array(z.string()).describe('Names of the hosts that have it.'),
});
export type SnapshotView = z.infer<typeof snapshotView>;

/** How long an answer may be held back for something to happen. Milliseconds. */
const waitMilliseconds = z.int().min(0).max(30_000).default(0);

export const snapshotRoutes = defineRoutes({
  createSnapshot: {
    method: 'POST',
    path: '/v1/volumes/:volume/snapshots',
    summary: 'Asks the holder of a volume for a snapshot, also while it is in use. Asked again with the same name, answers the one that is there.',
    callers: everyone,
    parameters: volumeParameters,
    body: z.strictObject({
      name: z.string().optional().describe('Without it, one is made of the time.'),
      description: z.string().max(4096).default(''),
      labels: z.record(z.string().max(256), z.string().max(4096)).default({}),
      waitMilliseconds: waitMilliseconds.describe('Answer when it has been taken, or after this time.'),
    }),
    response: snapshotView,
  },
  listSnapshots: {
    method: 'GET',
    path: '/v1/snapshots',
    summary: 'All snapshots that have a name, or those of one volume, the oldest first.',
    callers: everyone,
    query: z.object({ volume: z.string().min(1).max(256).optional() }),
    response: z.object({ items: z.array(snapshotView) }),
  },
  getSnapshot: {
    method: 'GET',
    path: '/v1/volumes/:volume/snapshots/:snapshot',
    summary: 'One snapshot.',
    callers: everyone,
    parameters: snapshotParameters,
    response: snapshotView,
  },
  deleteSnapshot: {
    method: 'DELETE',
    path: '/v1/volumes/:volume/snapshots/:snapshot',
    summary: 'Gives a snapshot up, on all hosts; one that is off drops it when it is back.',
    callers: everyone,
    parameters: snapshotParameters,
    response: emptyAnswer,
  },
  revertVolume: {
    method: 'POST',
    path: '/v1/volumes/:volume/revert',
    summary: 'Lets a volume that nothing uses go back to one of its snapshots; what it held before is kept as another one.',
    callers: everyone,
    parameters: volumeParameters,
    body: z.strictObject({ snapshot: z.string().min(1).max(256) }),
    response: volumeRecord,
  },
  commitRevert: {
    method: 'POST',
    path: '/v1/volumes/:volume/revert/commit',
    summary: 'The calling holder can no longer write; the snapshot holds everything.',
    callers: ['host'],
    parameters: volumeParameters,
    body: z.strictObject({ epoch, snapshot: identifier }),
    response: emptyAnswer,
  },
  refuseRevert: {
    method: 'POST',
    path: '/v1/volumes/:volume/revert/refuse',
    summary: 'The calling holder keeps the volume as it is, because something uses it or went wrong.',
    callers: ['host'],
    parameters: volumeParameters,
    body: z.strictObject({ epoch, code: z.string(), message: z.string().max(4096), hint: z.string().max(1024).nullable() }),
    response: emptyAnswer,
  },
  recordSnapshotTaken: {
    method: 'POST',
    path: '/v1/volumes/:volume/snapshots/:snapshot/taken',
    summary: 'The calling holder has taken a snapshot that was asked for.',
    callers: ['host'],
    parameters: requestParameters,
    body: z.strictObject({
      epoch,
      snapshot: identifier.describe('What it is called on the disk.'),
      after: identifier.nullable().describe('The end of the volume’s history as the holder knew it.'),
      takenAt: timestamp.describe('By the clock of the name server, or a little earlier: never later than the snapshot was taken.'),
    }),
    response: emptyAnswer,
  },
  recordSnapshotFailed: {
    method: 'POST',
    path: '/v1/volumes/:volume/snapshots/:snapshot/failed',
    summary: 'The calling holder cannot take a snapshot that was asked for.',
    callers: ['host'],
    parameters: requestParameters,
    body: z.strictObject({ epoch, code: z.string(), message: z.string().max(4096), hint: z.string().max(1024).nullable() }),
    response: emptyAnswer,
  },
  recordSnapshotBytes: {
    method: 'PUT',
    path: '/v1/volumes/:volume/snapshots/:snapshot/bytes',
    summary: 'The calling holder has found out how much a snapshot holds.',
    callers: ['host'],
    parameters: requestParameters,
    body: z.strictObject({ bytes: byteCount }),
    response: emptyAnswer,
  },
});
