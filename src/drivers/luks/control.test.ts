import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from '../../system/clock.ts';
import { Control } from './control.ts';

let directory: string;
let daemon: Server | undefined;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'supercargo-control-'));
});

afterEach(async () => {
  await new Promise<void>((resolve) => (daemon === undefined ? resolve() : daemon.close(() => resolve())));
  daemon = undefined;
  rmSync(directory, { recursive: true });
});

/** Speaks as the engine does; its jobs fail with these words, one after the other, and then succeed. @returns the socket, and the jobs that were begun */
async function daemonThatFails(...failures: string[]): Promise<{ socket: string; jobs: string[] }> {
  const socket = join(directory, 'control');
  const jobs: string[] = [];
  const errors = new Map<string, string | undefined>();
  const answers: Record<string, (parameters: { 'job-id': string; id: string }) => unknown> = {
    'query-jobs': () => [...errors].map(([id, error]) => ({ id, status: 'concluded', error })),
    'job-dismiss': ({ id }) => void errors.delete(id),
    'blockdev-create': ({ 'job-id': id }) => void errors.set(id, failures[jobs.push(id) - 1]),
  };
  daemon = createServer((connection) => {
    connection.write('{"QMP":{}}\n');
    connection.setEncoding('utf8').on('data', (text: string) => {
      for (const line of text.trim().split('\n')) {
        const { execute, arguments: parameters } = JSON.parse(line) as { execute: string; arguments: { 'job-id': string; id: string } };
        connection.write(`${JSON.stringify({ return: answers[execute]?.(parameters) ?? {} })}\n`);
      }
    });
  });
  await new Promise<void>((resolve) => daemon?.listen(socket, resolve));
  return { socket, jobs };
}

function createImage(socket: string): Promise<void> {
  return Control.use(socket, systemClock, (control) => control.runJob('blockdev-create', {}));
}

const unmeasured = 'Unable to get accurate CPU usage';

it('runs a job again that could not measure the cost of a key', async () => {
  const { socket, jobs } = await daemonThatFails(unmeasured, unmeasured);
  await createImage(socket);
  expect(jobs).toEqual(['job1', 'job2', 'job3']);
});

it('gives up on a machine where it never can', async () => {
  const { socket, jobs } = await daemonThatFails(...Array.from({ length: 1000 }, () => unmeasured));
  await expect(createImage(socket)).rejects.toThrow(unmeasured);
  expect(jobs.length).toBeLessThan(1000);
});

it('runs no job again that failed otherwise', async () => {
  const { socket, jobs } = await daemonThatFails('No space left on device');
  await expect(createImage(socket)).rejects.toThrow('No space left on device');
  expect(jobs).toEqual(['job1']);
});
