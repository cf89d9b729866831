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
  const ownNamespace = readlinkSync('/proc/self/ns/mnt');
  const scan: Scan = { target, seenNamespaces: new Set([ownNamespace]), uses: mountsOfOurOwn(target, mountPoint) };
  let began = performance.now();
  for (const name of readdirSync('/proc')) {
    const processNumber = Number(name);
    if (!Number.isInteger(processNumber) || processNumber === process.pid) continue;
    scanProcess(scan, processNumber);
    if (performance.now() - began > stretch) {
      await yieldToEvents();
      began = performance.now();
    }
  }
  return scan.uses;
}

interface Scan {
  target: Target;
  seenNamespaces: Set<string>;
  uses: KernelUse[];
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

function scanProcess(scan: Scan, processNumber: number): void {
  const directory = `/proc/${processNumber}`;
  // No program file: a kernel thread, or a process whose first thread has ended while others may live on.
  const hasProgram = unlessGone(() => readlinkSync(`${directory}/exe`)) !== undefined;
  const threads = unlessGone(() => readdirSync(`${directory}/task`)) ?? [];
  if (!hasProgram && threads.length <= 1) return;

  let kind: 'container' | 'process' | undefined;
  for (const thread of threads) {
    // A thread may have left for a mount namespace of its own.
    if (holdsMount(scan, `${directory}/task/${thread}`)) kind = 'container';
  }
  const views = hasProgram ? [directory] : threads.map((thread) => `${directory}/task/${thread}`);
  if (kind === undefined && views.some((view) => holdsFile(scan.target, view))) kind = 'process';
  if (kind === undefined) return;
  const program = unlessGone(() => readFileSync(`${directory}/comm`, 'utf8').trimEnd()) ?? 'unknown';
  scan.uses.push({ kind, name: `${program} (process ${processNumber})`, processNumber });
}

/** Whether the task's mount namespace holds the volume; each namespace is judged once, by the first task found in it. */
function holdsMount(scan: Scan, task: string): boolean {
  const namespace = unlessGone(() => readlinkSync(`${task}/ns/mnt`));
  if (namespace === undefined || scan.seenNamespaces.has(namespace)) return false;
  // A dying task gives EINVAL here; the namespace stays unseen, so that a living member of it is asked.
  const text = unlessGone(() => readFileSync(`${task}/mountinfo`, 'utf8'), 'EINVAL');
  if (text === undefined) return false;
  scan.seenNamespaces.add(namespace);
  return holdingMounts(scan.target, parseMountInfo(text)).length > 0;
}

function holdsFile(target: Target, task: string): boolean {
  if (['cwd', 'root', 'exe'].some((link) => leadsInto(target, task, link))) return true;
  const descriptors = unlessGone(() => readdirSync(`${task}/fd`)) ?? [];
  return descriptors.some((descriptor) => descriptorLeadsInto(target, task, `fd/${descriptor}`)) || mapsFile(target, task);
}

const withoutFile = /^(?:socket:\[|pipe:\[|anon_inode:)/;

function descriptorLeadsInto(target: Target, task: string, link: string): boolean {
  const destination = unlessGone(() => readlinkSync(`${task}/${link}`));
  return destination !== undefined && !withoutFile.test(destination) && leadsInto(target, task, link);
}

/** The device number tells, by whatever path the file was opened and even if it is deleted by now. */
function leadsInto(target: Target, task: string, link: string): boolean {
  try {
    return statSync(`${task}/${link}`, { throwIfNoEntry: false })?.dev === target.subvolumeDevice;
  } catch (error) {
    if (isGone(error) || isOnAnotherFileSystem(target, task, link)) return false;
    throw unreadable(`${task}/${link}`, error);
  }
}

/** A user's FUSE mount or a dead network mount refuses to be examined, even by root, and concerns us only if the path is on the pool. */
function isOnAnotherFileSystem(target: Target, task: string, link: string): boolean {
  const path = unlessGone(() => readlinkSync(`${task}/${link}`));
  const text = unlessGone(() => readFileSync(`${task}/mountinfo`, 'utf8'), 'EINVAL');
  if (path === undefined || text === undefined) return true;
  const mount = mountContaining(parseMountInfo(text), path);
  return mount !== undefined && mount.device !== target.fileSystemDevice;
}

function mapsFile(target: Target, task: string): boolean {
  const maps = unlessGone(() => readFileSync(`${task}/maps`, 'latin1')) ?? '';
  const device = ` ${mapsDevice(target.fileSystemDevice)} `;
  for (let at = maps.indexOf(device); at !== -1; at = maps.indexOf(device, at + 1)) {
    const lineStart = maps.lastIndexOf('\n', at) + 1;
    const range = maps.slice(lineStart, maps.indexOf(' ', lineStart));
    if (leadsInto(target, task, `map_files/${range.replace(/(^|-)0+(?=[0-9a-f])/g, '$1')}`)) return true;
  }
  return false;
}

/** /proc/PID/maps writes device numbers in hexadecimal, mountinfo in decimal. */
function mapsDevice(device: string): string {
  return device
    .split(':')
    .map((number) => Number(number).toString(16).padStart(2, '0'))
    .join(':');
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
