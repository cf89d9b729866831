import type { Snapshot, Volume } from '../../src/model/records.ts';
import { isBeginningOf, lengthOf, newestFirst, show } from './content.ts';
import type { Content, Written } from './content.ts';

/** A container as the oracle sees it. */
export interface Writer {
  name: string;
  host: string;
  volume: string;
  epoch: number;
  /** Whether it could complete a write at this moment. */
  able: boolean;
  /** Its host stood still, or both of its guardians did: the exception that is documented. */
  excused: boolean;
}

/** So long after it went on the name server may not know yet which hosts are up: heartbeats that were lost meanwhile are tried again. */
const wakingMilliseconds = 10_000;

interface KnownVolume {
  name: string;
  record: Volume;
  /** What the holder of each epoch found, and what was acknowledged under it since. */
  heads: Map<number, Content>;
  /** The highest epoch under which anybody could ever write. */
  highest: { epoch: number; writer: string };
  /** Epochs that a failover ended. */
  replaced: Set<number>;
  /** What the volume held before it went back to a snapshot, by the epoch that began then. */
  revertedFrom: Map<number, Content>;
  /** Epochs of which all is in what was kept then. */
  keptByRevert: Set<number>;
  /** True time at which each snapshot came into the record's history. */
  recordedAt: Map<string, number>;
  /** What was acknowledged, and under which epoch, when each snapshot with a name was asked for. */
  asked: Map<string, { epoch: number; head: Content }>;
}

/**
 * What applications were told is safe, epoch by epoch, beside what the name server's records say. Every read, write, takeover and stop is compared with it:
 * whoever sees less, or more, has found a second writer or lost data.
 */
export class Oracle {
  /** Writes of old epochs by hosts that are excused. */
  excusedWrites = 0;
  failovers = 0;
  reverts = 0;
  /** True time at which the name server's wall clock was last set: what it had said before cannot be judged. */
  nameServerClockSetAt = -Infinity;
  /** True time at which the name server last went on after it stood still: which hosts are up it learns only then, and may choose before it has heard of all. */
  nameServerWokeAt = -Infinity;
  /** Failovers within that time to a host that had less of the history than another. */
  hastyChoices = 0;
  readonly #now: () => number;
  readonly #trueTimeOf: (nameServerTime: string) => number;
  readonly #written = new Map<string, Written>();
  readonly #snapshots = new Map<string, { content: Content; at: number }>();
  readonly #volumes = new Map<string, KnownVolume>();

  /** @param trueTimeOf when the wall clock of the name server's machine showed this */
  constructor(now: () => number, trueTimeOf: (nameServerTime: string) => number) {
    this.#now = now;
    this.#trueTimeOf = trueTimeOf;
  }

  find(token: string): Content {
    const written = this.#written.get(token);
    if (written === undefined) throw new Error(`a stream carries ${token}, which was never written`);
    return written;
  }

  snapshotAppeared(snapshot: string, content: Content): void {
    const known = this.#snapshots.get(snapshot);
    if (known === undefined) this.#snapshots.set(snapshot, { content, at: this.#now() });
    else if (known.content !== content) throw new Error(`snapshot ${snapshot} is ${show(known.content)} here and ${show(content)} there`);
  }

  get writes(): number {
    return this.#written.size;
  }

  named(name: string): Volume | undefined {
    return [...this.#volumes.values()].find((known) => known.name === name)?.record;
  }

  volume(id: string): Volume | undefined {
    return this.#volumes.get(id)?.record;
  }

  /** Whether a failover ended this epoch: what still writes under it may be stopped, whatever the class says. */
  isReplaced(id: string, epoch: number): boolean {
    return this.#volumes.get(id)?.replaced.has(epoch) === true;
  }

  /** The name server has changed the record of a volume. @param writers all containers that run at this moment */
  recorded(record: Volume, writers: readonly Writer[]): void {
    const known = this.#volumes.get(record.id);
    if (known === undefined) {
      const { origin } = record;
      const heads = new Map<number, Content>([[record.epoch, origin === null ? null : this.#contentOf(origin.snapshot)]]);
      this.#volumes.set(record.id, {
        name: record.name,
        record,
        heads,
        highest: { epoch: 0, writer: '' },
        replaced: new Set(),
        revertedFrom: new Map(),
        keptByRevert: new Set(),
        recordedAt: new Map(),
        asked: new Map(),
      });
      return;
    }
    const before = known.record;
    known.record = record;
    for (const each of record.snapshots) this.#noteNamed(known, each);
    for (const { snapshot } of record.lineage) if (!known.recordedAt.has(snapshot)) known.recordedAt.set(snapshot, this.#now());
    if (record.epoch === before.epoch) return;
    if (record.epoch !== before.epoch + 1) throw new Error(`the epoch of ${record.name} went from ${before.epoch} to ${record.epoch}`);
    if (record.lastFailover !== null && record.lastFailover.fromEpoch === before.epoch && before.lastFailover !== record.lastFailover) {
      this.#failedOver(known, before, record, writers);
    } else if (
      before.reverting !== null &&
      record.lineage.some((entry) => entry.snapshot === before.reverting?.snapshot && entry.epoch === record.epoch)
    ) {
      this.#reverted(known, before, record);
    } else known.heads.set(record.epoch, known.heads.get(before.epoch) ?? null);
  }

  /** Says what was found by whoever has just begun to use the volume, or goes on to. */
  read(writer: Writer, seen: Content): void {
    const known = this.#require(writer.volume);
    const expected = known.heads.get(writer.epoch);
    if (expected === undefined) throw new Error(`${writer.name} on ${writer.host} uses ${known.name} under epoch ${writer.epoch}, which never was`);
    if (expected === seen) return;
    throw new Error(
      `${writer.name} on ${writer.host} sees ${show(seen)} in ${known.name} under epoch ${writer.epoch}, but ${show(expected)} was acknowledged`,
    );
  }

  /** The writer appends a record and is told that it is safe. @returns what is in the volume then */
  acknowledge(writer: Writer, seen: Content): Content {
    this.read(writer, seen);
    this.check([writer], true);
    const known = this.#require(writer.volume);
    const token = `w${this.#written.size + 1}`;
    const written: Written = { token, previous: seen, length: lengthOf(seen) + 1, acknowledgedAt: this.#now() };
    this.#written.set(token, written);
    known.heads.set(writer.epoch, written);
    return written;
  }

  /** After every step: nobody can write under an older epoch than another. @param writing whether they do */
  check(writers: readonly Writer[], writing = false): void {
    for (const writer of writers) {
      if (!writer.able) continue;
      const known = this.#require(writer.volume);
      const who = `${writer.name} on ${writer.host}`;
      const { highest } = known;
      if (writer.epoch > highest.epoch) known.highest = { epoch: writer.epoch, writer: writer.host };
      else if (writer.epoch === highest.epoch && writer.host !== highest.writer) {
        throw new Error(`${who} can write ${known.name} under epoch ${writer.epoch}, which is that of ${highest.writer}`);
      } else if (writer.epoch < highest.epoch) {
        if (!writer.excused)
          throw new Error(`${who} can write ${known.name} under epoch ${writer.epoch}, but ${highest.writer} could under ${highest.epoch}`);
        if (writing) this.excusedWrites += 1;
      }
    }
  }

  /** A fence has stopped or ended a container. */
  fenced({ name, host, volume, epoch }: Writer, how: string): void {
    const known = this.#require(volume);
    if (known.record.protection.failover === 'auto' || known.replaced.has(epoch)) return;
    throw new Error(`${name} on ${host} was ${how}, though ${known.name} is not under automatic failover and nothing has replaced it`);
  }

  /**
   * When all hosts are back and all is quiet: every record that was ever acknowledged is in the volume or in a kept snapshot that is listed.
   * @param contentOf what a host's disk has under this snapshot
   */
  checkNothingLost(id: string, contentOf: (host: string, snapshot: string) => Content | undefined): void {
    const { record, heads, name, keptByRevert } = this.#require(id);
    const present = heads.get(record.epoch) ?? null;
    const kept = record.diverged.map(({ host, snapshot }) => {
      const content = contentOf(host, snapshot);
      if (content === undefined) throw new Error(`kept copy ${snapshot} of ${name} is listed, but it is not on the disk of ${host}`);
      return content;
    });
    for (const [epoch, head] of heads) {
      if (keptByRevert.has(epoch) || [present, ...kept].some((content) => isBeginningOf(head, content))) continue;
      throw new Error(
        `${show(head)} was acknowledged in ${name} under epoch ${epoch}, but it is neither in ${show(present)} nor in [${kept.map(show).join(' ')}]`,
      );
    }
  }

  #contentOf(snapshot: string): Content {
    const taken = this.#snapshots.get(snapshot);
    if (taken === undefined) throw new Error(`${snapshot} is on record, but nobody ever took it`);
    return taken.content;
  }

  /** A snapshot that is asked for holds all that was acknowledged before, and was on a disk when it was recorded. */
  #noteNamed({ name, record, asked, heads }: KnownVolume, { id, name: title, snapshot, epoch }: Snapshot): void {
    if (!asked.has(id)) asked.set(id, { epoch: record.epoch, head: heads.get(record.epoch) ?? null });
    if (snapshot === null) return;
    const content = this.#contentOf(snapshot);
    const before = asked.get(id);
    if (before === undefined || before.epoch !== epoch || isBeginningOf(before.head, content)) return;
    throw new Error(`snapshot ${name}@${title} holds ${show(content)}, but ${show(before.head)} was acknowledged when it was asked for`);
  }

  /** @param isThere whether some disk has the snapshot, whose content is the same wherever it is */
  checkNamed(isThere: (volume: string, snapshot: string) => boolean): void {
    for (const { name, record } of this.#volumes.values()) {
      if (record.placement.state === 'removing') continue;
      for (const { name: title, snapshot } of record.snapshots) {
        if (snapshot !== null && !isThere(record.id, snapshot)) throw new Error(`snapshot ${name}@${title} (${snapshot}) is on no disk any more`);
      }
    }
  }

  #failedOver(known: KnownVolume, before: Volume, after: Volume, writers: readonly Writer[]): void {
    const { lastFailover: failover } = after;
    if (failover === null) return;
    const { name } = known;
    this.failovers += 1;
    known.replaced.add(before.epoch);
    if (failover.actor !== 'operator' && (before.protection.failover !== 'auto' || before.leasedEpoch !== before.epoch)) {
      throw new Error(`${failover.actor} let ${failover.to} take ${name} over, which is not under automatic failover`);
    }
    for (const { volume, epoch, able, excused, name: container, host } of writers) {
      if (volume === after.id && epoch <= before.epoch && able && !excused)
        throw new Error(`${name} was taken over while ${container} on ${host} could still write it under epoch ${epoch}`);
    }
    this.#checkChoice(name, before, failover);
    const snapshot = failover.snapshot === null ? undefined : this.#snapshots.get(failover.snapshot);
    if (snapshot === undefined) throw new Error(`${name} was taken over from snapshot ${failover.snapshot}, which nobody ever took`);
    const head = known.heads.get(before.epoch) ?? null;
    const undone = known.revertedFrom.get(before.epoch) ?? null;
    if (!isBeginningOf(snapshot.content, head) && !isBeginningOf(snapshot.content, undone))
      throw new Error(`${name} goes on from ${show(snapshot.content)}, which is no beginning of ${show(head)}`);
    // What its clock said before it was set cannot be compared with what it says now; a report may be as old as a heartbeat.
    if (snapshot.at > this.nameServerClockSetAt + 30_000) this.#checkLoss(known, failover.snapshotTakenAt, snapshot.content, head);
    known.heads.set(after.epoch, snapshot.content);
  }

  /** The volume went back to a snapshot: all that was acknowledged before is in another one, which people may delete if they want to. */
  #reverted(known: KnownVolume, before: Volume, after: Volume): void {
    const { name, heads } = known;
    this.reverts += 1;
    const safety = after.lineage.findLast(({ epoch }) => epoch === before.epoch);
    const kept = safety === undefined ? null : this.#contentOf(safety.snapshot);
    const head = heads.get(before.epoch) ?? null;
    if (kept !== head) throw new Error(`${name} goes back to a snapshot, with ${show(kept)} kept of ${show(head)}`);
    for (const [epoch, each] of heads) if (isBeginningOf(each, kept)) known.keptByRevert.add(epoch);
    known.revertedFrom.set(after.epoch, kept);
    heads.set(after.epoch, this.#contentOf(before.reverting?.snapshot ?? ''));
  }

  /** Nothing that is missing may be older than what the record says. */
  #checkLoss(known: KnownVolume, takenAt: string | null, kept: Content, head: Content): void {
    if (takenAt === null) throw new Error(`the failover of ${known.name} does not say what is missing`);
    const reported = this.#trueTimeOf(takenAt);
    for (const written of newestFirst(head)) {
      if (isBeginningOf(written, kept)) return;
      if (written.acknowledgedAt < reported)
        throw new Error(
          `${written.token} is missing from ${known.name} and was acknowledged at ${written.acknowledgedAt}, but only what came after ${reported} is said to be missing`,
        );
    }
  }

  /** No host that is as good otherwise had more of the volume's history. */
  #checkChoice(name: string, before: Volume, { from, to, snapshot, actor }: NonNullable<Volume['lastFailover']>): void {
    if (actor === 'operator') return;
    const newest = (host: string): number => {
      const snapshots = before.copies.find((copy) => copy.host === host)?.snapshots ?? [];
      return before.lineage.findLastIndex((entry) => snapshots.includes(entry.snapshot));
    };
    const chosen = before.lineage.findLastIndex((entry) => entry.snapshot === snapshot);
    for (const { host } of before.copies) {
      if (host === from || host === to || !this.isUp(host)) continue;
      if (newest(host) <= chosen) continue;
      if (this.#now() - this.nameServerWokeAt >= wakingMilliseconds)
        throw new Error(`${to} took ${name} over, though ${host} had more of its history`);
      this.hastyChoices += 1;
      return;
    }
  }

  /** Whether the name server counts the host as up; set by the cluster. */
  isUp: (host: string) => boolean = () => false;

  #require(id: string): KnownVolume {
    const known = this.#volumes.get(id);
    if (known === undefined) throw new Error(`volume ${id} is used, but was never created`);
    return known;
  }
}
