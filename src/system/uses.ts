import { readFileSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { setImmediate as yieldToEvents } from 'node:timers/promises';
import { SupercargoError } from '../model/errors.ts';
import type { KernelUse } from '../ports/host-system.ts';
import { isWithin, mountContaining, parseMountInfo, pathInFileSystem, readMounts } from './mounts.ts';
import type { Mount } from './mounts.ts';

/** A subvolume as the kernel's different views of it name it. */
interface Target {
  /** st_dev of everything inside the subvolume. */
  subvolumeDevice: number;
  /** "major:minor" of the whole file system, which mountinfo and maps show instead. */
  fileSystemDevice: string;
  /** Path of the subvolume inside its file system. */
  root: string;
  /** The host's own mount of it; undefined while it is not mounted. */
  ownMount: Mount | undefined;
  ownMounts: Mount[];
}

/** What a volume is reached by on this host. */
interface UsedPath {
  /** The live path in the pool. */
  path: string;
  mountPoint: string;
}

/** A process that could read or write volumes. */
export interface VolumeUser {
  processNumber: number;
  /** Name of its program. */
  program: string;
  /** container: it sees the volume in a mount namespace of its own. process: only by what it has open. */
  kind: 'container' | 'process';
  /** Which of the paths that were asked for, by index. */
  uses: Set<number>;
}

/** Event-loop time one stretch of the scan may take before others get a turn, in milliseconds. */
const stretch = 5;

/**
 * Scans every process for a hold on the subvolume at `path`. See HostSystem.usesOf for what counts.
 * Not seen: a mount namespace kept alive only by a bind mount or descriptor of its namespace file, and files the kernel itself holds
 * (a loop device or swap file inside the volume); unmounting the volume fails as busy for the latter.
 */
export async function findUses(path: string, mountPoint: string): Promise<KernelUse[]> {
  const target = describeTarget(path, mountPoint);
  if (target === undefined) return [];
  const users = await scanProcesses(newScan([target], 'first'));
  return [
    ...mountsOfOurOwn(target, mountPoint),
    ...users.map(({ kind, program, processNumber }) => ({ kind, name: `${program} (process ${processNumber})`, processNumber })),
  ];
}

/** As findUses for several volumes in one scan, with every process that sees a volume in its mount namespace, not only the first of each. */
export async function findUsers(paths: readonly UsedPath[]): Promise<VolumeUser[]> {
  return scanProcesses(newScan(describeTargets(paths), 'every'));
}

/** The quick half of findUsers: who sees a volume in another mount namespace. In one piece: some microseconds a process. */
export function findUsersByMount(paths: readonly UsedPath[]): VolumeUser[] {
  const scan = newScan(describeTargets(paths), 'every');
  return processNumbers().flatMap((processNumber) => {
    const uses = mountsHeld(scan, `/proc/${processNumber}`);
    return uses === undefined || uses.size === 0 ? [] : [{ processNumber, program: programOf(processNumber), kind: 'container', uses }];
  });
}

/** Whether the process has a file or directory of one of the volumes open, mapped or as its place, whatever it sees mounted. */
export function hasFilesOf(processNumber: number, paths: readonly UsedPath[]): boolean {
  const uses = new Set<number>();
  const scan = newScan(describeTargets(paths), 'every');
  for (const thread of unlessGone(() => readdirSync(`/proc/${processNumber}/task`)) ?? [])
    addFilesHeld(scan, `/proc/${processNumber}/task/${thread}`, uses);
  return uses.size > 0;
}

interface Scan {
  /** By index of what was asked for; undefined where there is nothing. */
  targets: (Target | undefined)[];
  /** Which of them each mount namespace holds. */
  namespaces: Map<string, Set<number>>;
  /** Whether only the first process found in a namespace that holds a volume counts as its user, or each. */
  members: 'first' | 'every';
}

function newScan(targets: (Target | undefined)[], members: Scan['members']): Scan {
  return { targets, members, namespaces: new Map([[readlinkSync('/proc/self/ns/mnt'), new Set()]]) };
}

function describeTargets(paths: readonly UsedPath[]): (Target | undefined)[] {
  return paths.map(({ path, mountPoint }) => describeTarget(path, mountPoint));
}

async function scanProcesses(scan: Scan): Promise<VolumeUser[]> {
  const users: VolumeUser[] = [];
  if (scan.targets.every((target) => target === undefined)) return users;
  let began = performance.now();
  for (const processNumber of processNumbers()) {
    const user = scanProcess(scan, processNumber);
    if (user !== undefined) users.push(user);
    if (performance.now() - began > stretch) {
      await yieldToEvents();
      began = performance.now();
    }
  }
  return users;
}

/** Every process but this one. */
function processNumbers(): number[] {
  return processNumbersIn(readdirSync('/proc')).filter((processNumber) => processNumber !== process.pid);
}

/**
 * Lowest number first, where Node sorts the names as text: of a container its first process is then met first, which lives as long as it does. One that
 * lives for a moment only would be gone before anybody can tell which container it is of.
 */
export function processNumbersIn(entries: readonly string[]): number[] {
  return entries
    .map(Number)
    .filter(Number.isInteger)
    .toSorted((one, other) => one - other);
}

function programOf(processNumber: number): string {
  return unlessGone(() => readFileSync(`/proc/${processNumber}/comm`, 'utf8').trimEnd()) ?? 'unknown';
}

function describeTarget(path: string, mountPoint: string): Target | undefined {
  const status = statSync(path, { throwIfNoEntry: false });
  if (status === undefined) return undefined;
  const ownMounts = readMounts();
  const pool = mountContaining(ownMounts, path);
  if (pool === undefined) throw new SupercargoError('internal', `No mount contains ${path}.`);
  const root = pathInFileSystem(pool, path);
  return {
    subvolumeDevice: status.dev,
    fileSystemDevice: pool.device,
    root,
    ownMount: ownMounts.find((mount) => mount.mountPoint === mountPoint && mount.device === pool.device && mount.root === root),
    ownMounts,
  };
}

/** Other mounts of the subvolume in this very namespace, made by hand or by another program. */
function mountsOfOurOwn(target: Target, mountPoint: string): KernelUse[] {
  return holdingMounts(target, target.ownMounts)
    .filter((mount) => mount.mountPoint !== mountPoint)
    .map((mount) => ({ kind: 'mount-session', name: `mount at ${mount.mountPoint}`, processNumber: 0 }));
}

function holdingMounts(target: Target, mounts: readonly Mount[]): Mount[] {
  return mounts.filter(
    (mount) => mount.device === target.fileSystemDevice && isWithin(target.root, mount.root) && !vanishesWithOurs(target, mount, mounts),
  );
}

/**
 * A mount that merely reached another namespace (say of a system service) by propagation goes away when ours is unmounted, so it is no hold:
 * its parent belongs to the peer group of our mount's parent, and it sits at the same place there.
 */
function vanishesWithOurs(target: Target, mount: Mount, mounts: readonly Mount[]): boolean {
  const ours = target.ownMount;
  if (ours === undefined || mount.root !== ours.root) return false;
  const ourParent = target.ownMounts.find((candidate) => candidate.id === ours.parentId);
  const parent = mounts.find((candidate) => candidate.id === mount.parentId);
  const group = ourParent?.propagation.find((tag) => tag.startsWith('shared:'))?.slice('shared:'.length);
  if (ourParent === undefined || parent === undefined || group === undefined) return false;
  return (
    (parent.propagation.includes(`shared:${group}`) || parent.propagation.includes(`master:${group}`)) &&
    parent.device === ourParent.device &&
    pathInFileSystem(parent, mount.mountPoint) === pathInFileSystem(ourParent, ours.mountPoint)
  );
}

function scanProcess(scan: Scan, processNumber: number): VolumeUser | undefined {
  const directory = `/proc/${processNumber}`;
  // No program file: a kernel thread, or a process whose first thread has ended while others may live on.
  const hasProgram = unlessGone(() => readlinkSync(`${directory}/exe`)) !== undefined;
  const threads = unlessGone(() => readdirSync(`${directory}/task`)) ?? [];
  if (!hasProgram && threads.length <= 1) return undefined;

  const uses = new Set<number>();
  // A thread may have left for a mount namespace of its own.
  for (const thread of threads) addAll(uses, mountsHeld(scan, `${directory}/task/${thread}`) ?? []);
  const kind = uses.size > 0 ? 'container' : 'process';
  const views = hasProgram ? [directory] : threads.map((thread) => `${directory}/task/${thread}`);
  for (const view of views) addFilesHeld(scan, view, uses);
  return uses.size === 0 ? undefined : { processNumber, program: programOf(processNumber), kind, uses };
}

/** Which targets the task's mount namespace holds; each namespace is judged once, by the first task found in it. Undefined: not judged. */
function mountsHeld(scan: Scan, task: string): Set<number> | undefined {
  const namespace = unlessGone(() => readlinkSync(`${task}/ns/mnt`));
  if (namespace === undefined) return undefined;
  const known = scan.namespaces.get(namespace);
  if (known !== undefined) return scan.members === 'every' ? known : undefined;
  // A dying task gives EINVAL here; the namespace stays unseen, so that a living member of it is asked.
  const text = unlessGone(() => readFileSync(`${task}/mountinfo`, 'utf8'), 'EINVAL');
  if (text === undefined) return undefined;
  const held = new Set<number>();
  if (scan.targets.some((target) => target !== undefined && text.includes(` ${target.fileSystemDevice} `))) {
    const mounts = parseMountInfo(text);
    for (const [index, target] of scan.targets.entries()) if (target !== undefined && holdingMounts(target, mounts).length > 0) held.add(index);
  }
  scan.namespaces.set(namespace, held);
  return held;
}

/** Adds the targets that the task has a file or directory of. Ends as soon as none is left to be found. */
function addFilesHeld(scan: Scan, task: string, uses: Set<number>): void {
  const wanted = scan.targets.filter((target) => target !== undefined).length;
  for (const link of fileLinks(scan, task)) {
    if (uses.size === wanted) return;
    addTargetOf(scan, task, link, uses);
  }
}

function* fileLinks(scan: Scan, task: string): Generator<string> {
  yield* ['cwd', 'root', 'exe'];
  for (const descriptor of unlessGone(() => readdirSync(`${task}/fd`)) ?? []) {
    const destination = unlessGone(() => readlinkSync(`${task}/fd/${descriptor}`));
    if (destination !== undefined && !withoutFile.test(destination)) yield `fd/${descriptor}`;
  }
  yield* mappedFiles(scan, task);
}

const withoutFile = /^(?:socket:\[|pipe:\[|anon_inode:)/;

/** The device number tells, by whatever path the file was opened and even if it is deleted by now. */
function addTargetOf(scan: Scan, task: string, link: string, uses: Set<number>): void {
  try {
    const device = statSync(`${task}/${link}`, { throwIfNoEntry: false })?.dev;
    if (device === undefined) return;
    for (const [index, target] of scan.targets.entries()) if (target?.subvolumeDevice === device) uses.add(index);
  } catch (error) {
    if (isGone(error) || isOnAnotherFileSystem(scan, task, link)) return;
    throw unreadable(`${task}/${link}`, error);
  }
}

/** A user's FUSE mount or a dead network mount refuses to be examined, even by root, and concerns us only if the path is on the pool. */
function isOnAnotherFileSystem(scan: Scan, task: string, link: string): boolean {
  const path = unlessGone(() => readlinkSync(`${task}/${link}`));
  const text = unlessGone(() => readFileSync(`${task}/mountinfo`, 'utf8'), 'EINVAL');
  if (path === undefined || text === undefined) return true;
  const mount = mountContaining(parseMountInfo(text), path);
  return mount !== undefined && !scan.targets.some((target) => target?.fileSystemDevice === mount.device);
}

function* mappedFiles(scan: Scan, task: string): Generator<string> {
  const maps = unlessGone(() => readFileSync(`${task}/maps`, 'latin1')) ?? '';
  const devices = new Set(scan.targets.flatMap((target) => (target === undefined ? [] : [` ${mapsDevice(target.fileSystemDevice)} `])));
  for (const device of devices) {
    for (let at = maps.indexOf(device); at !== -1; at = maps.indexOf(device, at + 1)) {
      const lineStart = maps.lastIndexOf('\n', at) + 1;
      const range = maps.slice(lineStart, maps.indexOf(' ', lineStart));
      yield `map_files/${range.replace(/(^|-)0+(?=[0-9a-f])/g, '$1')}`;
    }
  }
}

/** /proc/PID/maps writes device numbers in hexadecimal, mountinfo in decimal. */
function mapsDevice(device: string): string {
  return device
    .split(':')
    .map((number) => Number(number).toString(16).padStart(2, '0'))
    .join(':');
}

function addAll(set: Set<number>, more: Iterable<number>): void {
  for (const each of more) set.add(each);
}

/** The result, or undefined if the process ended meanwhile. Anything else that hinders reading must not pass for "no use". */
function unlessGone<T>(read: () => T, ...alsoGone: string[]): T | undefined {
  try {
    return read();
  } catch (error) {
    if (isGone(error, ...alsoGone)) return undefined;
    throw unreadable('/proc', error);
  }
}

function isGone(error: unknown, ...alsoGone: string[]): boolean {
  return ['ENOENT', 'ESRCH', ...alsoGone].includes((error as NodeJS.ErrnoException).code ?? '');
}

function unreadable(path: string, cause: unknown): SupercargoError {
  return new SupercargoError('command-failed', `Cannot see who uses the volume: ${path}: ${(cause as Error).message}.`, {
    hint: 'Run the agent as root in the process namespace of the host.',
    cause,
  });
}
