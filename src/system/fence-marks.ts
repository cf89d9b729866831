import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What was stopped, and for which volume. */
interface Mark {
  /** Names a cgroup or process. */
  unit: string;
  path: string;
}

/** What a fence keeps of what it stopped. */
export interface FenceMarks {
  add(unit: string, path: string): void;
  /** Whether it is one of ours, whatever the volume. */
  has(unit: string): boolean;
  remove(unit: string, path: string): void;
  removeAll(unit: string): void;
  all(): Mark[];
}

/**
 * One small file a mark, in a directory below /run that every fence of this host shares: so another process can let go on what a process stopped that has
 * died since, and nobody wakes what others stopped (a paused container, a job in the background): the kernel does not tell who stopped it. Where the
 * directory cannot be written to, the marks are kept in memory: stopping has precedence over letting go on after a crash.
 */
export function createFenceMarks(directory: string): FenceMarks {
  const unwritten = new Map<string, Mark>();
  const onDisk = (): Mark[] => namesIn(directory).flatMap((name) => (name.startsWith('.') ? [] : readMark(join(directory, name))));
  const all = (): Mark[] => [...unwritten.values(), ...onDisk()];
  const remove = (unit: string, path: string): void => {
    unwritten.delete(nameOf(unit, path));
    orElse(undefined, () => rmSync(join(directory, nameOf(unit, path)), { force: true }));
  };
  return {
    add(unit, path) {
      const name = nameOf(unit, path);
      if (unwritten.has(name) || existsSync(join(directory, name))) return;
      const written = orElse(false, () => {
        mkdirSync(directory, { recursive: true, mode: 0o700 });
        const unfinished = join(directory, `.${process.pid}`);
        writeFileSync(unfinished, `${unit}\n${path}`, { mode: 0o600 });
        renameSync(unfinished, join(directory, name));
        return true;
      });
      if (!written) unwritten.set(name, { unit, path });
    },
    has: (unit) => all().some((mark) => mark.unit === unit),
    remove,
    removeAll: (unit) => {
      for (const mark of all()) if (mark.unit === unit) remove(unit, mark.path);
    },
    all,
  };
}

function nameOf(unit: string, path: string): string {
  return createHash('sha256').update(`${unit}\n${path}`).digest('hex').slice(0, 32);
}

function readMark(file: string): Mark[] {
  const text = orElse('', () => readFileSync(file, 'utf8'));
  const end = text.indexOf('\n');
  return end === -1 ? [] : [{ unit: text.slice(0, end), path: text.slice(end + 1) }];
}

function namesIn(directory: string): string[] {
  return orElse([], () => readdirSync(directory));
}

/** Whatever is wrong with the directory must keep nobody from stopping a writer. */
function orElse<T>(otherwise: T, task: () => T): T {
  try {
    return task();
  } catch {
    return otherwise;
  }
}
