import { Readable, Writable } from 'node:stream';
import { SupercargoError } from '../../src/model/errors.ts';
import type { SnapshotReceiver, VolumeCopy, VolumeDriver } from '../../src/ports/driver.ts';

/** The data of a volume: what was written to it, in order. */
export type Content = readonly string[];

interface FakeVolume {
  live: { content: Content; readOnly: boolean } | null;
  /** Oldest first, as maps keep their order. */
  snapshots: Map<string, Content>;
}

const livePrefix = '/pool/';
const chunkBytes = 64;

/** The disk of a host: outlives every run of its agent. */
export class FakeDisk {
  readonly #volumes = new Map<string, FakeVolume>();
  /** Set by tests: the next stream that arrives finds no room. */
  full = false;

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
    return path.startsWith(livePrefix) ? this.volume(path.slice(livePrefix.length)).live : null;
  }

  forget(id: string): void {
    this.#volumes.delete(id);
  }
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
    setSizeLimit: async () => undefined,
    volumeUsage: async (id) => ({ referencedBytes: JSON.stringify(disk.volume(id).live?.content ?? []).length }),
    estimateDelta: async (id, snapshot, base) => encode(disk, id, snapshot, base).length,
    send: (id, snapshot, base) => Readable.from(chunksOf(encode(disk, id, snapshot, base)), { objectMode: false }),
    receive: async (id, snapshot, base) => receive(disk, id, snapshot, base),
    deleteVolume: async (id) => disk.forget(id),
    ...liveMethods(disk),
    createSnapshot: async (id, snapshot) => {
      disk.volume(id).snapshots.set(snapshot, requireLive(disk, id).content);
    },
    deleteSnapshot: async (id, snapshot) => void disk.volume(id).snapshots.delete(snapshot),
  };
}

function liveMethods(disk: FakeDisk): Pick<VolumeDriver, 'createLive' | 'createLiveFrom' | 'setLiveReadOnly' | 'deleteLive'> {
  return {
    createLive: async (id) => {
      disk.volume(id).live ??= { content: [], readOnly: false };
    },
    createLiveFrom: async (id, snapshot) => {
      const volume = disk.volume(id);
      const content = volume.snapshots.get(snapshot);
      if (content === undefined) throw new SupercargoError('not-found', `There is no snapshot ${snapshot}.`);
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

function encode(disk: FakeDisk, id: string, snapshot: string, base: string | null): Buffer {
  const { snapshots } = disk.volume(id);
  const content = snapshots.get(snapshot);
  const start = base === null ? [] : snapshots.get(base);
  if (content === undefined || start === undefined) throw new SupercargoError('command-failed', 'There is no such snapshot to send.');
  return Buffer.from(JSON.stringify({ base: start, content }));
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
      const parsed = JSON.parse(bytes.toString()) as { base: Content; content: Content };
      if (base !== null && JSON.stringify(parsed.base) !== JSON.stringify(snapshots.get(base))) throw new Error('the base of the stream is another');
      disk.volume(id).snapshots.set(snapshot, parsed.content);
      return { bytes: bytes.length };
    },
    discard: async () => {
      received.length = 0;
      sink.destroy();
    },
  };
}
