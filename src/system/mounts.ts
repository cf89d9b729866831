import { readFileSync, realpathSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** One line of /proc/PID/mountinfo. */
export interface Mount {
  id: number;
  parentId: number;
  /** Device of the file system ("major:minor"); subvolumes of a btrfs share it, though stat reports one of their own. */
  device: string;
  /** Path inside the file system that is mounted here. */
  root: string;
  mountPoint: string;
  options: string[];
  /** Propagation: `shared:N`, `master:N`; empty for private. */
  propagation: string[];
  fileSystem: string;
  source: string;
}

/** Parses /proc/PID/mountinfo (proc_pid_mountinfo(5)); paths come out unescaped. */
export function parseMountInfo(text: string): Mount[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map(parseLine);
}

/** The mounts that a process sees. @throws the system's error (ENOENT, ESRCH, EINVAL) if the process is gone */
export function readMounts(process: number | 'self' = 'self'): Mount[] {
  return parseMountInfo(readFileSync(`/proc/${process}/mountinfo`, 'utf8'));
}

/** The mount that a path is reached through: the deepest one, and of those on one directory the topmost. */
export function mountContaining(mounts: readonly Mount[], path: string): Mount | undefined {
  let best: Mount | undefined;
  for (const mount of mounts) {
    const deeper = best === undefined || mount.mountPoint.length >= best.mountPoint.length;
    if (deeper && isWithin(mount.mountPoint, path)) best = mount;
  }
  return best;
}

/** Where a path lies inside the file system of a mount that contains it, as the `root` of another mount would name it. */
export function pathInFileSystem(mount: Mount, path: string): string {
  const below = path.slice(mount.mountPoint === '/' ? 0 : mount.mountPoint.length);
  const joined = (mount.root === '/' ? '' : mount.root) + (below === '/' ? '' : below);
  return joined === '' ? '/' : joined;
}

/** The kernel lists mounts by their real path, while a state directory is often reached through a symbolic link. */
export function canonical(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || path === dirname(path)) throw error;
    return join(canonical(dirname(path)), basename(path));
  }
}

/** True if the path is the directory or lies below it. */
export function isWithin(directory: string, path: string): boolean {
  return directory === '/' || path === directory || path.startsWith(`${directory}/`);
}

function parseLine(line: string): Mount {
  const fields = line.split(' ');
  // Optional fields of unknown number stand between the options and a lone hyphen.
  const separator = fields.indexOf('-', 6);
  const field = (index: number): string => fields[index] ?? '';
  return {
    id: Number(field(0)),
    parentId: Number(field(1)),
    device: field(2),
    root: unescape(field(3)),
    mountPoint: unescape(field(4)),
    options: field(5).split(','),
    propagation: fields.slice(6, separator),
    fileSystem: field(separator + 1),
    source: unescape(field(separator + 2)),
  };
}

/** The kernel writes space, tab, newline and backslash as three octal digits, all other bytes (UTF-8) as they are. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}
