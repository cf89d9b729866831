/** Processes that use a volume, without a container engine: shells of the host, and containers, which are a cgroup and a mount namespace. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, readdirSync, rmSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { membersOf, tellToThaw } from '../../src/system/cgroups.ts';
import type { ControlGroup } from '../../src/system/cgroups.ts';
import { processStatus } from '../../src/system/process-status.ts';
import { waitUntil } from '../../testbed/process.ts';

/** The first thing a started shell, or what it becomes, has to do: say its process number. */
export const sayStarted = 'echo $$ > $STARTED';

/**
 * Starts a shell that is no descendant of this process, and leads a process group of its own.
 * @param directory takes a file with the number that it says
 * @returns its process number, once it has said so
 */
export async function startShell(directory: string, script: string): Promise<number> {
  const file = join(directory, `started-${randomBytes(6).toString('hex')}`);
  spawn('setsid', ['--fork', 'bash', '-c', script], { env: { ...process.env, STARTED: file }, stdio: ['ignore', 'ignore', 'inherit'] });
  await waitUntil('a shell has started', () => existsSync(file) && readFileSync(file, 'utf8').endsWith('\n'));
  const processNumber = Number(readFileSync(file, 'utf8'));
  rmSync(file);
  return processNumber;
}

export interface ContainerOptions {
  group: Pick<ControlGroup, 'directory'>;
  /** What it sees at `inside`; it sees none of `hidden`. */
  path: string;
  inside: string;
  hidden: readonly string[];
  script: string;
}

/** A script for `startShell` that enters the cgroup and a mount namespace before it runs its own script there. */
export function containerScript({ group, path, inside, hidden, script }: ContainerOptions): string {
  return `echo $$ > ${group.directory}/cgroup.procs || exit
    exec unshare --mount --propagation private bash -c '${hidden.map((mount) => `umount ${mount}; `).join('')}mount --bind ${path} ${inside}; cd /; ${script}'`;
}

/** Writes numbers into a file, one over the other, each flushed, for use inside single quotes. `before` is Python that runs first. */
export function flushingWriter(file: string, before = 'pass'): string {
  const lines = [
    'import os',
    before,
    `f = os.open(\\"${file}\\", os.O_RDWR | os.O_CREAT)`,
    'open(os.environ[\\"STARTED\\"], \\"w\\").write(str(os.getpid()) + chr(10))',
    'n = 0',
    'while True:',
    '  n += 1',
    '  os.pwrite(f, b\\"%d\\" % n, 0)',
    '  os.fsync(f)',
  ];
  return `exec python3 -c "${lines.join('\n')}"`;
}

export function hasEnded(processNumber: number): boolean {
  return ['Z', 'X', undefined].includes(processStatus(processNumber)?.state);
}

/** Ends every process in the cgroup and below, and removes what is below it. */
export async function emptyGroup(group: ControlGroup): Promise<void> {
  const below = readdirSync(group.directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isDirectory())
    .map((entry): ControlGroup => ({ version: group.version, directory: join(entry.parentPath, entry.name) }));
  for (const each of [group, ...below]) tellToThaw(each);
  for (const member of membersOf(group)) endProcess(member);
  await waitUntil('the cgroup is empty', () => membersOf(group).length === 0);
  for (const each of below.toReversed()) rmdirSync(each.directory);
}

/** SIGKILL to a process, or with a negative number to its process group. */
export function endProcess(processNumber: number): void {
  try {
    process.kill(processNumber, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
