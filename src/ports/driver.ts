import type { Readable, Writable } from 'node:stream';

/**
 * Where a host keeps the data of volumes. A driver knows volumes and snapshots by identifier only and takes no decision: which copy is live,
 * which snapshot is kept, is the planner's. Every method can be repeated: asked for what is already so, it succeeds.
 *
 * Three families are meant to fit:
 * - `stream` (btrfs): a delta between two snapshots is an opaque, reproducible byte stream that a receiver applies in order.
 * - `extents` (xfs reflink images, LVM-thin, RBD): a delta is a list of changed block ranges; its stream is framed
 *   (offset, length, bytes), so it resumes at any range, and the same two methods below carry it. `stream` merely is the coarser case.
 * - `network` (Ceph): every host reaches the same data; `transfer` is `none`, and a move changes the holder only.
 */
export interface DriverInfo {
  name: string;
  transfer: 'stream' | 'extents' | 'none';
  /** Whether a size limit is enforced on writers. */
  sizeLimit: boolean;
}

/** readonly: new opens for writing fail, which does not stop open descriptors. */
export type LiveState = 'absent' | 'writable' | 'readonly';

export interface VolumeCopy {
  volume: string;
  live: LiveState;
  /** Complete snapshots, oldest first. */
  snapshots: string[];
}

export interface ReceiveResult {
  /** Bytes of the stream that were applied. */
  bytes: number;
}

/** How a path in one snapshot differs from another one. Times alone do not count. */
export interface PathChange {
  /** From the root of the volume, without a slash at its beginning. */
  path: string;
  change: 'added' | 'changed' | 'removed' | 'renamed';
  /** Written to it, in bytes; 0 if only what is said of the file has changed. */
  bytes: number;
  /** Where it was before it was renamed. */
  from?: string;
}

export interface VolumeDriver {
  readonly info: DriverInfo;
  /** Makes or finds the pool, mounts it where needed, removes half-received leftovers of a crash. */
  open(): Promise<void>;
  /** Unmounts what `open` mounted. Data stays. */
  close(): Promise<void>;
  /** Capacity and use of the pool, in bytes. */
  usage(): Promise<{ capacityBytes: number; usedBytes: number; location: string }>;
  /** Every volume this pool has anything of. */
  list(): Promise<VolumeCopy[]>;
  inspect(volume: string): Promise<VolumeCopy>;

  /** An empty live copy. @throws pool-full */
  createLive(volume: string): Promise<void>;
  /** A writable live copy with the content of a snapshot. @throws not-found; wrong-state if there is a live copy already */
  createLiveFrom(volume: string, snapshot: string): Promise<void>;
  /** Path of the live copy's files, as seen by the host: the source of its mount. Of a driver that has to open copies, nothing is there while it is closed. */
  livePath(volume: string): string;
  /**
   * Makes the files of a writable live copy reachable at `livePath`, until it is made read-only or deleted. Those of a new empty one are at once; where they always are,
   * nothing is done.
   * @returns whether it was closed: what is still mounted of an earlier time shows nothing any more
   * @throws what hinders it, such as name-server-unreachable for a key
   */
  openLive(volume: string): Promise<boolean>;
  /** Makes the live copy refuse new writers, or allows them again. Not a fence: see the agent's release. @throws volume-in-use where it has to be closed */
  setLiveReadOnly(volume: string, readOnly: boolean): Promise<void>;
  /** @throws wrong-state if the live copy has parts that no snapshot holds */
  deleteLive(volume: string): Promise<void>;
  /** The limit on the live copy in bytes; null lifts it. @throws not-supported */
  setSizeLimit(volume: string, sizeBytes: number | null): Promise<void>;
  /** Bytes the live copy refers to and bytes nobody else shares; an estimate where the driver cannot tell exactly. */
  volumeUsage(volume: string): Promise<{ referencedBytes: number }>;

  /** A read-only snapshot of the whole live copy, durable when this resolves. @throws not-supported if the engine's snapshot would lack a part of it */
  createSnapshot(volume: string, snapshot: string): Promise<void>;
  deleteSnapshot(volume: string, snapshot: string): Promise<void>;
  /** Whether the live copy may differ from a snapshot of it; never false if anything was written since. @throws not-found */
  hasChangedSince(volume: string, snapshot: string): Promise<boolean>;
  /** Makes a snapshot of one volume a snapshot of another as well, under the same identifier; the data is shared. @throws not-found */
  shareSnapshot(fromVolume: string, snapshot: string, toVolume: string): Promise<void>;

  /** What is different in a snapshot from an earlier one, in the order of the paths. @throws not-found; not-supported if the engine cannot see into the volume */
  changesBetween(volume: string, from: string, to: string): Promise<PathChange[]>;
  /** Estimate of the stream's length in bytes, for progress only. */
  estimateDelta(volume: string, snapshot: string, base: string | null): Promise<number>;
  /**
   * The content of a snapshot as a stream, whole or as a delta to a base. Reproducible: the same arguments give the same bytes, which is
   * what makes resuming at an offset possible. The stream is destroyed with an error if the engine fails.
   */
  send(volume: string, snapshot: string, base: string | null): Readable;
  /**
   * A sink for the stream of a snapshot. The snapshot appears (complete, durable) when `complete` is called after all bytes were written and verified;
   * until then, or after `discard`, nothing of it can be seen. A crash leaves nothing that counts as a snapshot.
   */
  receive(volume: string, snapshot: string, base: string | null): Promise<SnapshotReceiver>;
  /** Forgets everything the pool has of the volume. */
  deleteVolume(volume: string): Promise<void>;
}

export interface SnapshotReceiver {
  readonly sink: Writable;
  /** Waits until the engine applied all, then publishes the snapshot. @throws pool-full, stream-corrupt */
  complete(): Promise<ReceiveResult>;
  /** Drops all that arrived. Safe to call at any time, any number of times. */
  discard(): Promise<void>;
}
