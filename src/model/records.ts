import { z } from 'zod';
import { identifierPattern } from './identifiers.ts';

/**
 * The records of the name server, as schemas: what is stored, what travels, what the OpenAPI document shows. One home.
 * Sizes are bytes, times are RFC 3339 text (for people; no decision is taken on them), durations are milliseconds.
 */
export const identifier = z.string().regex(identifierPattern);
export const timestamp = z.iso.datetime();
export const byteCount = z.int().nonnegative();
export const epoch = z.int().nonnegative().describe('Rises with every change of holder; a grant of an older epoch is void.');

/** What volumes belong to unless told otherwise; every cluster has it. */
export const defaultProject = { id: `prj_${'0'.repeat(24)}`, name: 'default' } as const;

export const clusterRecord = z.object({
  id: identifier,
  name: z.string(),
  createdAt: timestamp,
});
export type Cluster = z.infer<typeof clusterRecord>;

export const poolReport = z.object({
  driver: z.string(),
  location: z.string().describe('The device or file that holds the pool.'),
  capacityBytes: byteCount,
  usedBytes: byteCount,
});
export type PoolReport = z.infer<typeof poolReport>;

export const hostRecord = z.object({
  id: identifier,
  name: z.string(),
  address: z.string().describe('host:port on which other agents reach this agent.'),
  version: z.string(),
  pool: poolReport.nullable(),
  joinedAt: timestamp,
  state: z.enum(['active', 'draining']).default('active').describe('A draining host gets nothing new, and what it has moves away.'),
  labels: z.record(z.string(), z.string()).default({}).describe('For example zone=a: replicas of a volume go to different zones.'),
});
export type Host = z.infer<typeof hostRecord>;

/**
 * How volumes are protected. `failover: auto`: if the holder's lease ends, the newest replica takes over, and the holder stops its own users before
 * that; `manual`: only an operator's word moves it, so its users go on whatever happens to the name server.
 */
export const protection = z.object({
  replicas: z.int().min(0).max(5).default(0).describe('Copies on other hosts that are kept fresh.'),
  intervalMilliseconds: z.int().min(1000).default(10_000).describe('How often changes are shipped to the replicas.'),
  failover: z.enum(['manual', 'auto']).default('manual'),
});
export type Protection = z.infer<typeof protection>;
export const unprotected: Protection = { replicas: 0, intervalMilliseconds: 10_000, failover: 'manual' };

/** How volumes are encrypted at rest. `luks`: an image that only its holder is given the key of. */
const encryptionEngine = z.enum(['none', 'luks']);
export type EncryptionEngine = z.infer<typeof encryptionEngine>;

/** The encryption of a volume. Its keys are counted from 1; they themselves are kept apart, wrapped, and never shown. */
const volumeEncryption = z.object({
  engine: z.literal('luks'),
  key: z.int().positive().describe('The key that is to open the live copy.'),
  keyInUse: z.int().positive().describe('The key that opens it, as its holder has last confirmed.'),
});

export const volumeClass = z.object({
  name: z.string(),
  description: z.string(),
  driver: z.string(),
  sizeBytes: byteCount.nullable().describe('Size limit of volumes that ask for none; null is no limit.'),
  maximumSizeBytes: byteCount.nullable(),
  protection: protection.default(unprotected),
  encryption: encryptionEngine.optional().describe('Of new volumes: each keeps what it was made with. Without it, none.'),
});
export type VolumeClass = z.infer<typeof volumeClass>;

/** Something that uses a volume on a host, as its agent saw it. */
export const volumeUse = z.object({
  kind: z.enum(['container', 'process', 'mount-session']),
  name: z.string().describe('Container name, or program and process number.'),
});
export type VolumeUse = z.infer<typeof volumeUse>;

/**
 * Who may write. `free`: nobody ever held it, there is no data. `held`: the one holder. `moving`: see movePhase.
 * `removing`: on its way out; `confirmed` once the holder has given up its copy, from when on the name is free.
 */
const placement = z.discriminatedUnion('state', [
  z.object({ state: z.literal('free') }),
  z.object({
    state: z.literal('held'),
    host: identifier,
    base: identifier.nullable().describe('The snapshot that the live copy of this epoch starts from; null is empty.'),
  }),
  z.object({ state: z.literal('moving'), from: identifier, to: identifier, move: identifier, base: identifier.nullable() }),
  z.object({ state: z.literal('removing'), host: identifier.nullable(), base: identifier.nullable(), confirmed: z.boolean() }),
]);
export type Placement = z.infer<typeof placement>;

export const copyRecord = z.object({
  host: identifier,
  kind: z.enum(['live', 'replica']),
  snapshots: z.array(identifier).describe('Snapshots of this volume on that host, oldest first.'),
});
export type Copy = z.infer<typeof copyRecord>;

/** A snapshot that belongs to the one history of the volume: all of it was written by the holders of their time. */
const lineageEntry = z.object({
  snapshot: identifier,
  epoch: epoch.describe('Whose holder made it.'),
  takenAt: timestamp,
  bytes: byteCount.describe('Roughly what changed since the entry before.'),
});
export type LineageEntry = z.infer<typeof lineageEntry>;

/** What a host had written that did not become part of the volume's history, because another copy had taken over: kept until an operator decides. */
const divergedCopy = z.object({
  host: identifier,
  snapshot: identifier,
  epoch: epoch.describe('The epoch under which it was written.'),
  keptAt: timestamp,
});
export type DivergedCopy = z.infer<typeof divergedCopy>;

/**
 * A snapshot that somebody asked for by name. It is wanted until the holder has taken it, and from then on pinned: no host that has it drops it before it is
 * deleted here. A name may be given again after that; `id` tells one request from the other.
 */
export const snapshotRecord = z.object({
  id: identifier,
  name: z.string(),
  kind: z.enum(['manual', 'scheduled', 'safety']).describe('safety: taken by itself, before something that could not be undone without it.'),
  description: z.string(),
  labels: z.record(z.string(), z.string()),
  requestedAt: timestamp,
  snapshot: identifier.nullable().describe('What it is called on the disks; null until it has been taken.'),
  takenAt: timestamp.nullable(),
  epoch: epoch.nullable().describe('Whose holder took it.'),
  bytes: byteCount.nullable().describe('Roughly what changed since the snapshot before.'),
  problem: z.string().nullable().describe('Why it could not be taken; asked for again, it is tried again.'),
});
export type Snapshot = z.infer<typeof snapshotRecord>;

/** The holder is asked to let the volume go back to a snapshot, now or never. */
const revertRequest = z.object({
  id: identifier,
  snapshot: identifier,
  requestedAt: timestamp,
  problem: z.object({ code: z.string(), message: z.string(), hint: z.string().nullable() }).nullable().describe('Why the holder does not do it.'),
});

const failoverRecord = z.object({
  from: identifier,
  to: identifier,
  fromEpoch: epoch,
  snapshot: identifier.nullable().describe('What the new holder started from; null is empty.'),
  snapshotTakenAt: timestamp.nullable().describe('What was written after this is not on the new holder.'),
  actor: z.string(),
  reason: z.string(),
  at: timestamp,
});
export type FailoverRecord = z.infer<typeof failoverRecord>;

export const volumeRecord = z.object({
  id: identifier,
  name: z.string(),
  project: identifier.default(defaultProject.id).describe('Whose it is: decides who may use it.'),
  class: z.string(),
  driver: z.string(),
  sizeBytes: byteCount.nullable().describe('Size limit; null is no limit.'),
  labels: z.record(z.string(), z.string()),
  createdAt: timestamp,
  epoch,
  placement,
  copies: z.array(copyRecord),
  copyChanges: z
    .record(identifier, z.int())
    .default({})
    .describe('How often the record of each host’s copy has changed, also of one that is not there any more.'),
  protection: protection.default(unprotected),
  encryption: volumeEncryption.nullable().default(null).describe('null: not encrypted.'),
  replicas: z.array(identifier).default([]).describe('Hosts that are to keep a replica.'),
  leasedEpoch: epoch
    .nullable()
    .default(null)
    .describe('The epoch whose holder stops its users when its lease ends; only then may a machine let a replica take over.'),
  lineage: z.array(lineageEntry).default([]).describe('Oldest first; entries that no copy has any more are left out.'),
  diverged: z.array(divergedCopy).default([]),
  snapshots: z.array(snapshotRecord).default([]).describe('Those that were taken in the order in which they were, then those that are wanted.'),
  reverting: revertRequest.nullable().default(null),
  lastFailover: failoverRecord.nullable().default(null),
  origin: z
    .object({
      volume: identifier,
      snapshot: identifier,
      title: z.string().nullable().default(null).describe('As it was asked for, for example pgdata@nightly.'),
    })
    .nullable()
    .default(null)
    .describe('The snapshot of another volume, on the same host, that this one was made from.'),
});
export type Volume = z.infer<typeof volumeRecord>;

/**
 * copying: the source may write; the destination pulls snapshots. ready: the destination has nearly everything; the source
 * releases as soon as nothing uses the volume. released: no host may write; the last delta travels. Then one of the ends.
 */
const movePhase = z.enum(['copying', 'ready', 'released', 'committed', 'aborted']);
export type MovePhase = z.infer<typeof movePhase>;

export const moveProgress = z.object({
  round: z.int().nonnegative(),
  transferredBytes: byteCount.describe('Bytes received in the present round.'),
  totalBytes: byteCount.describe('Estimate for the present round.'),
  bytesPerSecond: z.number().nonnegative(),
  totalTransferredBytes: byteCount.describe('Bytes received in all rounds.'),
});
export type MoveProgress = z.infer<typeof moveProgress>;

export const moveRecord = z.object({
  id: identifier,
  volume: identifier,
  volumeName: z.string(),
  from: identifier,
  to: identifier,
  epoch: epoch.describe('The epoch of the volume when the move was opened.'),
  reason: z.enum(['mount', 'operator']),
  phase: movePhase,
  blockedBy: z.array(volumeUse).describe('What still uses the volume on the source.'),
  finalSnapshot: identifier.nullable().describe('Set on release: the snapshot that holds the last acknowledged byte.'),
  progress: moveProgress.nullable(),
  error: z.object({ code: z.string(), message: z.string(), hint: z.string().nullable() }).nullable(),
  startedAt: timestamp,
  endedAt: timestamp.nullable(),
});
export type Move = z.infer<typeof moveRecord>;

export const eventRecord = z.object({
  time: timestamp,
  type: z.string().describe('For example volume.created, move.committed, host.joined.'),
  subject: z.string().describe('Name of the object.'),
  actor: z.string().describe('Who caused it: a host, the operator, or the name server.'),
  message: z.string(),
});
export type ClusterEvent = z.infer<typeof eventRecord>;
