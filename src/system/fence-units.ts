import { readlinkSync } from 'node:fs';
import { findHierarchies, groupsOf, isFrozen, isToldToFreeze, killMembers, membersOf, sendSignal, tellToFreeze, tellToThaw } from './cgroups.ts';
import type { ControlGroup, Hierarchy } from './cgroups.ts';
import type { FenceMarks } from './fence-marks.ts';
import { processStatus, standsStill } from './process-status.ts';

/** What can be stopped as one: the cgroup of a container, or a single process. */
export type Unit =
  | { name: string; kind: 'cgroup'; group: ControlGroup }
  /** The start tells it from another process that gets the number later. */
  | { name: string; kind: 'process'; processNumber: number; startTime: string };

/** Knows which processes belong to a container, for the length of one call: what it has found out is not looked at again. */
export class UnitFinder {
  readonly #hierarchies: Hierarchy[] = findHierarchies();
  /** Our own, and that of the machine's first process. */
  readonly #hostNamespaces = new Set(['self', '1'].map((name) => namespaceOf(name)).filter((name) => name !== ''));
  readonly #verdicts = new Map<string, boolean>();
  readonly #spared: Map<number, boolean>;

  /** @param spared processes that are never stopped or killed, with all their descendants: this one, and the other that fences */
  constructor(spared: readonly number[]) {
    this.#spared = new Map([0, 1, process.pid, ...spared].map((processNumber) => [processNumber, processNumber > 1]));
  }

  /** What to stop for a process that uses a volume; undefined if it is gone, or is one of our own. */
  unitOf(processNumber: number): Unit | undefined {
    const group = groupsOf(processNumber, this.#hierarchies).find((candidate) => this.#isContainer(candidate, processNumber));
    if (group !== undefined) return groupUnit(group);
    const status = processStatus(processNumber);
    if (status === undefined || processNumber === 1 || this.#isSpared(processNumber)) return undefined;
    return { name: `process ${processNumber} ${status.startTime}`, kind: 'process', processNumber, startTime: status.startTime };
  }

  /** The kernel refuses to freeze the cgroup: its users are stopped one by one from now on. */
  distrust(group: ControlGroup): void {
    this.#verdicts.set(group.directory, false);
  }

  /** Whether nothing but a container is in the cgroup: no member sees the machine as its host does, and none is ours. */
  #isContainer(group: ControlGroup, member: number): boolean {
    let verdict = this.#verdicts.get(group.directory);
    if (verdict === undefined) {
      verdict = this.#holdsOnlyAContainer(group, member);
      this.#verdicts.set(group.directory, verdict);
    }
    return verdict;
  }

  #holdsOnlyAContainer(group: ControlGroup, member: number): boolean {
    try {
      const members = membersOf(group);
      return members.includes(member) && members.every((each) => each > 0 && !this.#hostNamespaces.has(namespaceOf(each)) && !this.#isSpared(each));
    } catch {
      // Not listed: a cgroup of threads. Its processes are stopped one by one.
      return false;
    }
  }

  #isSpared(processNumber: number): boolean {
    let verdict = this.#spared.get(processNumber);
    if (verdict === undefined) {
      verdict = this.#isSpared(processStatus(processNumber)?.parent ?? 0);
      this.#spared.set(processNumber, verdict);
    }
    return verdict;
  }
}

/** A unit by the name that a mark has of it; undefined for one that is malformed. */
export function unitNamed(name: string): Unit | undefined {
  const [, version, directory] = /^cgroup (1|2) (\/.*)$/s.exec(name) ?? [];
  if (directory !== undefined) return groupUnit({ version: version === '1' ? 1 : 2, directory });
  const [, processNumber, startTime] = /^process (\d+) (\d+)$/.exec(name) ?? [];
  return startTime === undefined ? undefined : { name, kind: 'process', processNumber: Number(processNumber), startTime };
}

function groupUnit(group: ControlGroup): Unit {
  return { name: `cgroup ${group.version} ${group.directory}`, kind: 'cgroup', group };
}

export function isStopped(unit: Unit): boolean {
  return unit.kind === 'cgroup' ? isFrozen(unit.group) : standsStill(unit.processNumber, unit.startTime);
}

/**
 * Orders it to stop; `isStopped` says when it does. The mark is set before, so that no crash leaves something stopped of which nobody knows, and looked
 * at again after, because the other fence may be letting it go on at this moment. What others stopped already gets no mark.
 */
export function stop(unit: Unit, path: string, marks: FenceMarks): void {
  const stoppedBefore = unit.kind === 'cgroup' ? isToldToFreeze(unit.group) : isStopped(unit);
  const ours = !stoppedBefore || marks.has(unit.name);
  if (ours) marks.add(unit.name, path);
  if (unit.kind === 'process') {
    if (!stoppedBefore) signal(unit, 'SIGSTOP');
  } else if (!stoppedBefore || !isFrozen(unit.group)) {
    tellToFreeze(unit.group);
  }
  if (ours) marks.add(unit.name, path);
}

/** Lets it go on, and takes the marks for these volumes away, unless it is to stay stopped for another volume. */
export function resume(unit: Unit, paths: ReadonlySet<string>, marks: FenceMarks): void {
  const all = marks.all().filter((mark) => mark.unit === unit.name);
  const mine = all.filter(({ path }) => paths.has(path));
  if (mine.length === all.length) letGoOn(unit);
  for (const { path } of mine) marks.remove(unit.name, path);
  // The other fence may have stopped it again since: then it is still ours.
  if (mine[0] !== undefined && mine.length === all.length && isHeldBack(unit)) marks.add(unit.name, mine[0].path);
}

/** SIGKILL to all of it. A frozen cgroup is thawed afterwards: its processes end without another instruction of their own. */
export function kill(unit: Unit, marks: FenceMarks): void {
  if (unit.kind === 'process') {
    signal(unit, 'SIGKILL');
  } else {
    killMembers(unit.group);
    tellToThaw(unit.group);
  }
  marks.removeAll(unit.name);
}

function letGoOn(unit: Unit): void {
  if (unit.kind === 'cgroup') tellToThaw(unit.group);
  else signal(unit, 'SIGCONT');
}

function isHeldBack(unit: Unit): boolean {
  if (unit.kind === 'cgroup') return isToldToFreeze(unit.group);
  const status = processStatus(unit.processNumber);
  return status?.startTime === unit.startTime && status.state === 'T';
}

function signal(unit: { processNumber: number; startTime: string }, name: NodeJS.Signals): void {
  if (processStatus(unit.processNumber)?.startTime === unit.startTime) sendSignal(unit.processNumber, name);
}

/** The mount namespace of a process; empty if it has ended. */
function namespaceOf(process: number | string): string {
  try {
    return readlinkSync(`/proc/${process}/ns/mnt`);
  } catch {
    return '';
  }
}
