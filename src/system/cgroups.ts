import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isWithin, parseMountInfo } from './mounts.ts';

/** A cgroup through which processes can be frozen: of the v1 freezer, or of v2 (Linux 5.2 and newer), which also kills (5.14). */
export interface ControlGroup {
  version: 1 | 2;
  /** Its directory, as this process sees it. */
  directory: string;
}

/** A mounted tree of cgroups. */
export interface Hierarchy {
  version: 1 | 2;
  mountPoint: string;
  /** Path of the cgroup that is mounted there, as /proc/PID/cgroup writes it. */
  root: string;
}

/** The trees through which processes can be frozen: the v1 freezer first, because a machine that has both runs its containers in it. */
export function findHierarchies(mountInfo: string = readFileSync('/proc/self/mountinfo', 'utf8')): Hierarchy[] {
  const hierarchies: Hierarchy[] = [];
  const lines = mountInfo.split('\n').filter((line) => line !== '');
  for (const [index, { fileSystem, mountPoint, root }] of parseMountInfo(mountInfo).entries()) {
    // The controllers stand among the options of the file system, at the very end of the line.
    const controllers = lines[index]?.slice(lines[index].lastIndexOf(' ') + 1).split(',') ?? [];
    if (fileSystem === 'cgroup2') hierarchies.push({ version: 2, mountPoint, root });
    else if (fileSystem === 'cgroup' && controllers.includes('freezer')) hierarchies.push({ version: 1, mountPoint, root });
  }
  return hierarchies.sort((one, other) => one.version - other.version);
}

/** The cgroups of a process, without the roots of the trees; none if it is gone, or not below what is mounted here. */
export function groupsOf(processNumber: number, hierarchies: readonly Hierarchy[]): ControlGroup[] {
  const text = readIfThere(`/proc/${processNumber}/cgroup`) ?? '';
  const paths = { 1: /^\d+:(?:[^:\n]*,)?freezer(?:,[^:\n]*)?:(.*)$/m.exec(text)?.[1], 2: /^0::(.*)$/m.exec(text)?.[1] };
  return hierarchies.flatMap(({ version, mountPoint, root }) => {
    const path = paths[version];
    if (path === undefined || path === root || !isWithin(root, path)) return [];
    return [{ version, directory: join(mountPoint, root === '/' ? path : path.slice(root.length)) }];
  });
}

/** The container's identifier in the text of /proc/PID/cgroup; the innermost, as an engine may itself run in a container. */
export function containerIdIn(cgroups: string): string | undefined {
  return cgroups.match(/(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/g)?.at(-1);
}

/** Whether a process runs in one of these containers of an engine. */
export function isInContainer(processNumber: number, containers: ReadonlySet<string>): boolean {
  const id = containerIdIn(readIfThere(`/proc/${processNumber}/cgroup`) ?? '');
  return id !== undefined && containers.has(id);
}

/**
 * Process numbers of all members, also of the cgroups below it. 0 stands for one that cannot be seen from here.
 * @throws the system's error if the kernel does not list them (threads of one process in several cgroups)
 */
export function membersOf({ directory }: Pick<ControlGroup, 'directory'>): number[] {
  const own = (readIfThere(join(directory, 'cgroup.procs')) ?? '').split('\n').filter((line) => line !== '');
  return [...own.map(Number), ...groupsBelow(directory).flatMap((below) => membersOf({ directory: below }))];
}

/** Whether it was told itself to freeze, by whomever, and not only a cgroup above it. */
export function isToldToFreeze({ version, directory }: ControlGroup): boolean {
  return readIfThere(join(directory, version === 1 ? 'freezer.self_freezing' : 'cgroup.freeze'))?.trim() === '1';
}

/** True once the kernel confirms that every member stands still, or if the cgroup is gone. */
export function isFrozen({ version, directory }: ControlGroup): boolean {
  if (version === 1) return (readIfThere(join(directory, 'freezer.state')) ?? 'FROZEN').trim() === 'FROZEN';
  const events = readIfThere(join(directory, 'cgroup.events'));
  return events === undefined || /^frozen 1$/m.test(events);
}

/** Tells it to freeze, with all below it. The kernel confirms later: see `isFrozen`. To be repeated with v1, where a fork meanwhile leaves it undone. */
export function tellToFreeze({ version, directory }: ControlGroup): void {
  if (version === 1) writeIfThere(join(directory, 'freezer.state'), 'FROZEN');
  else writeIfThere(join(directory, 'cgroup.freeze'), '1');
}

export function tellToThaw({ version, directory }: ControlGroup): void {
  if (version === 1) writeIfThere(join(directory, 'freezer.state'), 'THAWED');
  else writeIfThere(join(directory, 'cgroup.freeze'), '0');
}

/** Lists of members are read again until nothing new is in them: at most this often. A frozen cgroup needs two. */
const maximumPasses = 50;

/** Sends SIGKILL to every member, also below. Members of a v1 cgroup die when it is thawed; those of v2 at once. */
export function killMembers(group: ControlGroup): void {
  const wholesale = join(group.directory, 'cgroup.kill');
  if (group.version === 2 && existsSync(wholesale)) return writeIfThere(wholesale, '1');
  const told = new Set<number>();
  for (let pass = 0; pass < maximumPasses; pass++) {
    const fresh = membersOf(group).filter((member) => member > 0 && !told.has(member));
    if (fresh.length === 0) return;
    for (const member of fresh) {
      told.add(member);
      sendSignal(member, 'SIGKILL');
    }
  }
}

/** Sends a signal; a process that is gone needs none. */
export function sendSignal(processNumber: number, signal: NodeJS.Signals): void {
  try {
    process.kill(processNumber, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function groupsBelow(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => join(directory, name));
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

function writeIfThere(path: string, text: string): void {
  try {
    writeFileSync(path, text, { flag: 'r+' });
  } catch (error) {
    // A cgroup that is there without the file is of a kernel that cannot do this.
    if (!isGone(error) || existsSync(dirname(path))) throw error;
  }
}

/** ENODEV is what the kernel says of a cgroup whose directory was removed while a file of it was open. */
function isGone(error: unknown): boolean {
  return ['ENOENT', 'ENODEV', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '');
}
