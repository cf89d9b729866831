import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { waitUntil } from '../../testbed/process.ts';
import { createFenceMarks } from './fence-marks.ts';
import { isStopped, kill, resume, stop, unitNamed } from './fence-units.ts';
import type { Unit } from './fence-units.ts';
import { processStatus } from './process-status.ts';

let directory: string;
let child: ChildProcess;
const path = '/pool/live';
const number = () => child.pid ?? 0;
const unitOf = (startTime = processStatus(number())?.startTime) => unitNamed(`process ${number()} ${startTime}`) as Unit;
const stateOf = () => processStatus(number())?.state;

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'supercargo-marks-'));
  // A name that a careless reader of /proc stumbles over.
  child = spawn('bash', ['-c', 'printf "a) R 1" > /proc/self/comm; echo ready; read line'], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child.stdout!, 'data');
  await waitUntil('it waits', () => stateOf() === 'S');
});
afterEach(async () => {
  const ended = once(child, 'exit');
  if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGKILL');
    await ended;
  }
  rmSync(directory, { recursive: true });
});

it('stops, continues and kills a process, and keeps a mark of it only while it is stopped', async () => {
  const marks = createFenceMarks(directory);
  stop(unitOf(), path, marks);
  expect(createFenceMarks(directory).all()).toEqual([{ unit: unitOf().name, path }]);
  await expect.poll(() => isStopped(unitOf())).toBe(true);
  resume(unitOf(), new Set([path]), createFenceMarks(directory));
  await expect.poll(stateOf).toBe('S');
  expect(marks.all()).toEqual([]);
  stop(unitOf(), path, marks);
  const ended = once(child, 'exit');
  kill(unitOf(), marks);
  expect((await ended)[1]).toBe('SIGKILL');
  expect(readdirSync(directory)).toEqual([]);
});

it('never touches a process that has the number of one that is gone', async () => {
  const marks = createFenceMarks(directory);
  const gone = unitOf('1');
  expect(isStopped(gone)).toBe(true);
  stop(gone, path, marks);
  kill(gone, marks);
  expect([stateOf(), child.signalCode, marks.all()]).toEqual(['S', null, []]);
  child.kill('SIGSTOP');
  await expect.poll(stateOf).toBe('T');
  marks.add(gone.name, path);
  resume(gone, new Set([path]), marks);
  expect([stateOf(), marks.all()]).toEqual(['T', []]);
});

it('reads the names in marks, and no others', () => {
  expect(unitNamed('cgroup 1 /sys/fs/cgroup/freezer/docker/a b')).toMatchObject({
    group: { version: 1, directory: '/sys/fs/cgroup/freezer/docker/a b' },
  });
  expect(['cgroup 3 /a', 'cgroup 2 a', 'process 1', 'process x 2', ''].map(unitNamed)).toEqual(Array(5).fill(undefined));
});
