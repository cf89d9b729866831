import { recordCopy } from './copies.ts';
import { SupercargoError } from './errors.ts';
import { recordSnapshot } from './failover.ts';
import type { LineageEntry, Snapshot, Volume } from './records.ts';

/**
 * Snapshots that people ask for by name, as pure functions like those of placement.ts. What is called pinned has been taken: wherever it is, it stays until it is
 * deleted here, and whoever gets the volume gets it too.
 */

/** So many a volume may have: they are in its record, which travels whole with each change. */
const maximumSnapshots = 1000;

export interface SnapshotWish {
  id: string;
  name: string;
  kind: Snapshot['kind'];
  description: string;
  labels: Record<string, string>;
  now: string;
}

/** A snapshot with its place on the disks. */
export type TakenSnapshot = Snapshot & { snapshot: string; takenAt: string };

export function isTaken(snapshot: Snapshot): snapshot is TakenSnapshot {
  return snapshot.snapshot !== null && snapshot.takenAt !== null;
}

/** Identifiers on the disks of what is pinned, in the order in which it was taken. */
export function pinnedSnapshots({ snapshots }: Pick<Volume, 'snapshots'>): string[] {
  return snapshots.filter(isTaken).map(({ snapshot }) => snapshot);
}

/** Those that the holder is to take, the first that was asked for first. */
export function wantedSnapshots({ snapshots }: Pick<Volume, 'snapshots'>): Snapshot[] {
  return snapshots.filter((each) => !isTaken(each) && each.problem === null);
}

/** Hosts whose copy has it. */
export function hostsWith({ copies }: Pick<Volume, 'copies'>, snapshot: string): string[] {
  return copies.filter(({ snapshots }) => snapshots.includes(snapshot)).map(({ host }) => host);
}

/** By its name, or an identifier of it. @throws not-found */
export function findSnapshot({ name, snapshots }: Pick<Volume, 'name' | 'snapshots'>, word: string): Snapshot {
  const found = snapshots.find((each) => [each.name, each.id, each.snapshot].includes(word));
  if (found !== undefined) return found;
  throw new SupercargoError('not-found', `Volume "${name}" has no snapshot "${word}".`, { hint: `supercargo snapshot ls ${name} lists them.` });
}

/** The same for one whose data is there. @throws not-found, wrong-state */
export function findTaken(volume: Pick<Volume, 'name' | 'snapshots'>, word: string): TakenSnapshot {
  const found = findSnapshot(volume, word);
  if (isTaken(found)) return found;
  throw new SupercargoError('wrong-state', `Snapshot "${volume.name}@${found.name}" has not been taken${found.problem === null ? ' yet' : ''}.`, {
    hint: `Look at it: supercargo snapshot inspect ${volume.name}@${found.name}`,
  });
}

/**
 * Snapshots of a host in the order of what they hold, the oldest first. A disk lists them in the order of their arrival, which is another one where an older one was
 * fetched later. Those that the history does not know, such as those of a move that goes on, keep their places.
 */
export function inHistoryOrder({ lineage }: Pick<Volume, 'lineage'>, snapshots: readonly string[]): string[] {
  const places = new Map(lineage.map(({ snapshot }, index) => [snapshot, index]));
  const placeOf = (snapshot: string): number => places.get(snapshot) ?? -1;
  const known = snapshots.filter((each) => places.has(each)).sort((a, b) => placeOf(a) - placeOf(b));
  return snapshots.map((each) => (places.has(each) ? (known.shift() ?? each) : each));
}

/**
 * Somebody wants a snapshot of what the volume holds now. The same name again is the same snapshot; one that could not be taken is tried again.
 * @throws wrong-state if there is no data to take one of, or too many; already-exists if there is another one of that name
 */
export function requestSnapshot(volume: Volume, wish: SnapshotWish): Volume {
  const existing = volume.snapshots.find(({ name }) => name === wish.name);
  if (existing !== undefined) return repeatRequest(volume, existing, wish);
  requireData(volume);
  if (volume.snapshots.length >= maximumSnapshots) {
    throw new SupercargoError('wrong-state', `Volume "${volume.name}" has ${volume.snapshots.length} snapshots, and may have ${maximumSnapshots}.`, {
      hint: `Delete some: supercargo snapshot rm ${volume.name}@NAME`,
    });
  }
  const { now, ...given } = wish;
  const snapshot: Snapshot = { ...given, requestedAt: now, snapshot: null, takenAt: null, epoch: null, bytes: null, problem: null };
  return { ...volume, snapshots: [...volume.snapshots, snapshot] };
}

function repeatRequest(volume: Volume, existing: Snapshot, { kind, description, labels }: SnapshotWish): Volume {
  const isSame = existing.kind === kind && existing.description === description && sortedText(existing.labels) === sortedText(labels);
  if (!isSame) {
    throw new SupercargoError(
      'already-exists',
      `There is a snapshot "${volume.name}@${existing.name}" already, with another description or labels.`,
      {
        hint: `Use another name, or delete it first: supercargo snapshot rm ${volume.name}@${existing.name}`,
      },
    );
  }
  if (existing.problem === null) return volume;
  return { ...volume, snapshots: volume.snapshots.map((each) => (each === existing ? { ...existing, problem: null } : each)) };
}

function sortedText(labels: Readonly<Record<string, string>>): string {
  return JSON.stringify(Object.entries(labels).toSorted(([a], [b]) => a.localeCompare(b)));
}

/** @throws wrong-state if nobody has ever held the volume; not-found if it is going */
function requireData({ name, placement }: Volume): void {
  if (placement.state === 'free') {
    throw new SupercargoError('wrong-state', `Volume "${name}" has never been used, so there is nothing to take a snapshot of.`, {
      hint: 'Mount it in a container first.',
    });
  }
  if (placement.state === 'removing') throw new SupercargoError('not-found', `Volume "${name}" is being removed.`);
}

export interface Taking {
  /** The request. */
  id: string;
  /** On the disk of the holder. */
  entry: LineageEntry;
  /** The end of the volume's history as the holder knew it: if that has gone on since, this is not what comes next. */
  after: string | null;
}

/**
 * The holder has taken a snapshot that was wanted: it is the newest of the volume's history. Only the first one that is reported for a request counts.
 * @throws stale-epoch; wrong-state if the history has gone on; not-found if nobody wants it any more
 */
export function recordTaken(volume: Volume, host: string, { id, entry, after }: Taking): Volume {
  const wanted = findSnapshot(volume, id);
  if (isTaken(wanted)) return volume;
  const end = volume.lineage.at(-1)?.snapshot ?? null;
  if (end !== after) {
    throw new SupercargoError('wrong-state', `The history of volume "${volume.name}" has gone on since the snapshot was taken.`, {
      hint: 'It is taken again.',
    });
  }
  const changed = recordSnapshot(volume, host, entry);
  const taken: Snapshot = { ...wanted, snapshot: entry.snapshot, takenAt: entry.takenAt, epoch: entry.epoch, problem: null };
  return withTaken(withCopyOf(changed, host, entry.snapshot), taken);
}

/** Behind those that were taken before. */
function withTaken(volume: Volume, taken: Snapshot): Volume {
  const others = volume.snapshots.filter(({ id }) => id !== taken.id);
  return { ...volume, snapshots: [...others.filter(isTaken), taken, ...others.filter((each) => !isTaken(each))] };
}

/** What the host has said of one of its snapshots is known of its copy as well. */
function withCopyOf(volume: Volume, host: string, snapshot: string): Volume {
  const copy = volume.copies.find((each) => each.host === host);
  if (copy === undefined || copy.snapshots.includes(snapshot)) return volume;
  return recordCopy(volume, host, { ...copy, snapshots: [...copy.snapshots, snapshot] });
}

/** What the holder has found out of the size of a snapshot, for its name and for the history. */
export function recordBytes(volume: Volume, snapshot: string, bytes: number): Volume {
  const withBytes = <Item extends { snapshot: string | null }>(item: Item): Item => (item.snapshot === snapshot ? { ...item, bytes } : item);
  if (!volume.snapshots.some((each) => each.snapshot === snapshot && each.bytes !== bytes)) return volume;
  return { ...volume, snapshots: volume.snapshots.map(withBytes), lineage: volume.lineage.map(withBytes) };
}

/** The holder cannot take it: whoever wants it is told why, and it is not tried again by itself. */
export function recordFailed(volume: Volume, id: string, problem: string): Volume {
  const wanted = volume.snapshots.find((each) => each.id === id);
  if (wanted === undefined || isTaken(wanted) || wanted.problem === problem) return volume;
  return { ...volume, snapshots: volume.snapshots.map((each) => (each === wanted ? { ...wanted, problem } : each)) };
}

/** Nobody wants it any more: each host drops it when it next hears of that. @throws not-found, wrong-state */
export function deleteSnapshot(volume: Volume, word: string): Volume {
  const found = findSnapshot(volume, word);
  if (volume.reverting !== null && volume.reverting.problem === null && volume.reverting.snapshot === found.snapshot) {
    throw new SupercargoError('wrong-state', `Volume "${volume.name}" is going back to this snapshot.`, { hint: 'Wait a moment.' });
  }
  return { ...volume, snapshots: volume.snapshots.filter((each) => each !== found) };
}
