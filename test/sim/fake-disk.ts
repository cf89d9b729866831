import { Readable, Writable } from 'node:stream';
import { SupercargoError } from '../../src/model/errors.ts';
import type { SnapshotReceiver, VolumeCopy, VolumeDriver } from '../../src/ports/driver.ts';
import { lengthOf, newestFirst } from './content.ts';
import type { Content } from './content.ts';

interface FakeVolume {
  live: { content: Content; readOnly: boolean } | null;
  /** Oldest first, as maps keep their order. */
  snapshots: Map<string, Content>;
}

/** What is told of a disk to whoever knows the truth. */
export interface DiskObserver {
  /** What was written with this token. */
  find(token: string): Content;
  /** @throws if the snapshot has another content elsewhere */
  snapshotAppeared(snapshot: string, content: Content): void;
}

const livePrefix = '/pool/';
const chunkBytes = 64;
/** A stream names its newest record, and carries so many before it to have some length. */
const longestStream = 60;

/** For tests of a disk alone: no stream arrives there. */
const nobody: DiskObserver = { find: () => null, snapshotAppeared: () => undefined };

/** The disk of a host: outlives every run of its agent. */
export class FakeDisk {
  readonly #volumes = new Map<string, FakeVolume>();
  readonly observer: DiskObserver;
  /** Set by tests: the next stream that arrives finds no room. */
  full = false;
  /** How often something was taken away from it. */
  losses = 0;

  constructor(observer: DiskObserver = nobody) {
    this.observer = observer;
  }

  volume(id: string): FakeVolume {
    let volume = this.#volumes.get(id);
    if (volume === undefined) {
      volume = { live: null, snapshots: new Map() };
      this.#volumes.set(id, volume);
    }
    return volume;
  }

  volumeIds(): string[] {
    return [...this.#volumes].filter(([, { live, snapshots }]) => live !== null || snapshots.size > 0).map(([id]) => id);
  }

  /** The live data behind a path that the driver gave out. */
  liveAt(path: string): NonNullable<FakeVolume['live']> | null {
    const id = volumeAt(path);
    return id === null ? null : this.volume(id).live;
  }

  drop(id: string, snapshot: string): void {
    if (this.volume(id).snapshots.delete(snapshot)) this.losses += 1;
  }

  forget(id: string): void {
    this.losses += 1;
    this.#volumes.delete(id);
  }

  keep(id: string, snapshot: string, content: Content): void {
    this.observer.snapshotAppeared(snapshot, content);
    this.volume(id).snapshots.set(snapshot, content);
  }
}

/** The volume whose live copy is at this path. */
export function volumeAt(path: string): string | null {
  return path.startsWith(livePrefix) ? path.slice(livePrefix.length) : null;
}

/** A driver over a fake disk, as strict as the contract allows: it refuses what a real one would refuse. */
export function createFakeDriver(disk: FakeDisk): VolumeDriver {
  return {
    info: { name: 'btrfs', transfer: 'stream', sizeLimit: true },
    open: async () => undefined,
    close: async () => undefined,
    usage: async () => ({ capacityBytes: 1_000_000, usedBytes: 0, location: 'memory' }),
    list: async () => disk.volumeIds().map((id) => inspect(disk, id)),
    inspect: async (id) => inspect(disk, id),
    livePath: (id) => `${livePrefix}${id}`,
    openLive: async () => false,
    setSizeLimit: async () => undefined,
    volumeUsage: async (id) => ({ referencedBytes: lengthOf(disk.volume(id).live?.content ?? null) }),
    changesBetween: async () => {
      throw new SupercargoError('not-supported', 'Nothing here has paths.');
    },
    estimateDelta: async (id, snapshot, base) => encode(disk, id, snapshot, base).length,
    send: (id, snapshot, base) => Readable.from(chunksOf(encode(disk, id, snapshot, base)), { objectMode: false }),
    receive: async (id, snapshot, base) => receive(disk, id, snapshot, base),
    deleteVolume: async (id) => disk.forget(id),
    ...liveMethods(disk),
    createSnapshot: async (id, snapshot) => disk.keep(id, snapshot, requireLive(disk, id).content),
    deleteSnapshot: async (id, snapshot) => disk.drop(id, snapshot),
    hasChangedSince: async (id, snapshot) => requireLive(disk, id).content !== requireSnapshot(disk, id, snapshot),
    shareSnapshot: async (from, snapshot, to) => disk.keep(to, snapshot, requireSnapshot(disk, from, snapshot)),
  };
}

function liveMethods(disk: FakeDisk): Pick<VolumeDriver, 'createLive' | 'createLiveFrom' | 'setLiveReadOnly' | 'deleteLive'> {
  return {
    createLive: async (id) => {
      disk.volume(id).live ??= { content: null, readOnly: false };
    },
    createLiveFrom: async (id, snapshot) => {
      const content = requireSnapshot(disk, id, snapshot);
      const volume = disk.volume(id);
      if (volume.live !== null) throw new SupercargoError('wrong-state', 'There is a live copy already.');
      volume.live = { content, readOnly: false };
    },
    setLiveReadOnly: async (id, readOnly) => {
      requireLive(disk, id).readOnly = readOnly;
    },
    deleteLive: async (id) => {
      disk.volume(id).live = null;
    },
  };
}

function inspect(disk: FakeDisk, id: string): VolumeCopy {
  const { live, snapshots } = disk.volume(id);
  const state = live === null ? 'absent' : live.readOnly ? 'readonly' : 'writable';
  return { volume: id, live: state, snapshots: [...snapshots.keys()] };
}

function requireLive(disk: FakeDisk, id: string): NonNullable<FakeVolume['live']> {
  const { live } = disk.volume(id);
  if (live === null) throw new SupercargoError('command-failed', `There is no live copy of ${id}.`);
  return live;
}

function requireSnapshot(disk: FakeDisk, id: string, snapshot: string): Content {
  const content = disk.volume(id).snapshots.get(snapshot);
  if (content === undefined) throw new SupercargoError('not-found', `There is no snapshot ${snapshot}.`);
  return content;
}

interface Stream {
  base: string | null;
  newest: string | null;
  others: string[];
}

function encode(disk: FakeDisk, id: string, snapshot: string, base: string | null): Buffer {
  const { snapshots } = disk.volume(id);
  const content = snapshots.get(snapshot);
  const start = base === null ? null : snapshots.get(base);
  if (content === undefined || start === undefined) throw new SupercargoError('command-failed', 'There is no such snapshot to send.');
  const others: string[] = [];
  for (const written of newestFirst(content)) {
    if (written === start || others.length === longestStream) break;
    others.push(written.token);
  }
  return Buffer.from(JSON.stringify({ base: start?.token ?? null, newest: content?.token ?? null, others } satisfies Stream));
}

function* chunksOf(bytes: Buffer): Generator<Buffer> {
  for (let offset = 0; offset < bytes.length; offset += chunkBytes) yield bytes.subarray(offset, offset + chunkBytes);
}

function receive(disk: FakeDisk, id: string, snapshot: string, base: string | null): SnapshotReceiver {
  const { snapshots } = disk.volume(id);
  if (base !== null && !snapshots.has(base)) throw new SupercargoError('not-found', `There is no base ${base}.`);
  const received: Buffer[] = [];
  let failure: SupercargoError | undefined;
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      if (disk.full) {
        disk.full = false;
        failure = new SupercargoError('pool-full', 'The pool has no room.');
        sink.destroy();
      } else received.push(Buffer.from(chunk));
      done();
    },
  });
  return {
    sink,
    complete: async () => {
      if (failure !== undefined) throw failure;
      const bytes = Buffer.concat(received);
      const stream = JSON.parse(bytes.toString()) as Stream;
      if (base !== null && stream.base !== (disk.volume(id).snapshots.get(base)?.token ?? null)) throw new Error('the base of the stream is another');
      disk.keep(id, snapshot, stream.newest === null ? null : disk.observer.find(stream.newest));
      return { bytes: bytes.length };
    },
    discard: async () => {
      received.length = 0;
      sink.destroy();
    },
  };
}
