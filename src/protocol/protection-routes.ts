import { z } from 'zod';
import { byteCount, epoch, identifier, timestamp, volumeRecord, volumeUse } from '../model/records.ts';
import { defineRoutes } from './route.ts';

/** Routes about copies, failover and the life of hosts. */
const everyone = ['operator', 'host'] as const;
const volumeParameters = z.object({ volume: z.string().min(1).max(256) });
const hostParameters = z.object({ host: z.string().min(1).max(256) });
const emptyAnswer = z.object({});
const reason = z.string().min(1).max(1024).describe('Recorded with the change, for those who ask later.');

/** The shortest session that a name server can be set to: what a host may count with before it was told. Milliseconds. */
export const shortestSessionMilliseconds = 5000;

/** A host's claim to go on writing: a volume and the epoch under which the host holds it. */
export const leaseClaim = z.strictObject({ volume: identifier, epoch });
export type LeaseClaim = z.infer<typeof leaseClaim>;

const copyView = z.object({
  host: z.string(),
  role: z.enum(['holder', 'replica', 'leftover']).describe('leftover: nobody asked for it; it goes when room is needed.'),
  status: z.enum(['up', 'down']),
  snapshot: identifier.nullable().describe('The newest snapshot of the volume’s history that it has.'),
  takenAt: timestamp.nullable(),
  lagMilliseconds: z.int().nonnegative().nullable().describe('How long ago that was taken; null for the holder, or if there is none.'),
  lagBytes: byteCount.nullable().describe('Roughly what the newer snapshots hold; what was written since the last one is not counted.'),
});
export type CopyView = z.infer<typeof copyView>;

/** A volume as people look at it: nothing is stuck in silence. */
const volumeStatus = z.object({
  volume: volumeRecord,
  state: z.string().describe('In a few words, for example "held by h1" or "waits for h1".'),
  healthy: z.boolean(),
  blockedBy: z.string().nullable().describe('What keeps the volume from where it should be.'),
  uses: z.array(volumeUse),
  next: z.string().nullable().describe('The next safe step for a person; null if nothing is to be done.'),
  copies: z.array(copyView),
});
export type VolumeStatus = z.infer<typeof volumeStatus>;

const failoverPreview = z.object({
  volume: z.string(),
  epoch: epoch.describe('Of the holder: an order for a failover names it.'),
  holder: z.string(),
  holderStatus: z.enum(['up', 'down']),
  automatic: z.boolean().describe('Whether the name server does it by itself.'),
  candidates: z
    .array(
      z.object({
        host: z.string(),
        snapshot: identifier,
        takenAt: timestamp,
        lossMilliseconds: z.int().nonnegative().describe('What was written in this time before now would be lost.'),
      }),
    )
    .describe('The best first.'),
});
export type FailoverPreview = z.infer<typeof failoverPreview>;

export const protectionRoutes = defineRoutes({
  getVolumeStatus: {
    method: 'GET',
    path: '/v1/volumes/:volume/status',
    summary: 'How a volume stands: copies and their lag, what blocks it, and what to do next.',
    callers: everyone,
    parameters: volumeParameters,
    response: volumeStatus,
  },
  recordSnapshot: {
    method: 'POST',
    path: '/v1/volumes/:volume/lineage',
    summary: 'The calling holder made a snapshot, which replicas may pull.',
    callers: ['host'],
    parameters: volumeParameters,
    body: z.strictObject({
      epoch,
      snapshot: identifier,
      bytes: byteCount,
      takenAt: timestamp.describe('By the clock of the name server, or a little earlier: never later than the snapshot was taken.'),
    }),
    response: emptyAnswer,
  },
  createReplicaTicket: {
    method: 'POST',
    path: '/v1/volumes/:volume/replica-ticket',
    summary: 'A signed, short-lived right of the calling replica host to pull snapshots from the holder.',
    callers: ['host'],
    parameters: volumeParameters,
    response: z.object({ ticket: z.string(), source: identifier }),
  },
  previewFailover: {
    method: 'GET',
    path: '/v1/volumes/:volume/failover',
    summary: 'Which hosts could take a volume over, and what would be lost.',
    callers: everyone,
    parameters: volumeParameters,
    response: failoverPreview,
  },
  failOver: {
    method: 'POST',
    path: '/v1/volumes/:volume/failover',
    summary: 'Lets a replica take the place of a holder that is lost.',
    callers: ['operator'],
    parameters: volumeParameters,
    body: z.strictObject({
      epoch: epoch.describe('Of the holder that is to be replaced, as the preview showed it: an order that comes late hits no other.'),
      to: z.string().optional().describe('Without it, the host with the newest copy.'),
      reason,
      holderIsOff: z.boolean().default(false).describe('The operator’s word that the holder does not run: needed where it does not stop itself.'),
    }),
    response: volumeRecord,
  },
  recordDiverged: {
    method: 'POST',
    path: '/v1/volumes/:volume/diverged',
    summary: 'The calling host was replaced as the holder and has kept what it had written as a snapshot.',
    callers: ['host'],
    parameters: volumeParameters,
    body: z.strictObject({ epoch, snapshot: identifier }),
    response: emptyAnswer,
  },
  forgetDiverged: {
    method: 'DELETE',
    path: '/v1/volumes/:volume/diverged/:snapshot',
    summary: 'Gives up what a replaced holder had kept.',
    callers: ['operator'],
    parameters: volumeParameters.extend({ snapshot: identifier }),
    response: emptyAnswer,
  },
  drainHost: {
    method: 'POST',
    path: '/v1/hosts/:host/drain',
    summary: 'Moves all volumes and replicas of a host away; refuses with a list if they do not fit elsewhere.',
    callers: ['operator'],
    parameters: hostParameters,
    response: z.object({ held: z.int(), replicas: z.int() }),
  },
  activateHost: {
    method: 'POST',
    path: '/v1/hosts/:host/activate',
    summary: 'Ends the draining of a host.',
    callers: ['operator'],
    parameters: hostParameters,
    response: emptyAnswer,
  },
  labelHost: {
    method: 'PUT',
    path: '/v1/hosts/:host/labels',
    summary: 'Replaces the labels of a host; zone=NAME spreads replicas.',
    callers: ['operator'],
    parameters: hostParameters,
    body: z.strictObject({ labels: z.record(z.string().max(256), z.string().max(4096)) }),
    response: emptyAnswer,
  },
  removeHost: {
    method: 'POST',
    path: '/v1/hosts/:host/remove',
    summary: 'Takes a host out of the cluster: a drained one, or a lost one by the operator’s word.',
    callers: ['operator'],
    parameters: hostParameters,
    body: z.strictObject({
      lost: z.boolean().default(false).describe('The operator’s word that the host does not run and does not come back.'),
      abandonVolumes: z
        .boolean()
        .default(false)
        .describe('Give up volumes whose only copy is on the lost host; without it they keep it in the cluster.'),
      reason: reason.optional(),
    }),
    response: z.object({ failedOver: z.array(z.string()), withoutCopy: z.array(z.string()).describe('Volumes that were given up.') }),
  },
});
