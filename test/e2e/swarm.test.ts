import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Host } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import { expectClean } from './support/invariants.ts';
import { Records, writerScript } from './support/records.ts';
import { Swarm } from './support/swarm.ts';

/** Swarm takes its time: stop, back-off between attempts, and the manager's own rounds. */
const rescheduleMilliseconds = 120_000;
const service = 'writer';

let cluster: Cluster;
let swarm: Swarm;
let records: Records;

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 3 });
  swarm = await Swarm.form(cluster, '--task-history-limit', '50');
  records = new Records(cluster, 'app');
  await swarm.createService({ name: service, volume: records.volume, script: writerScript });
});
afterAll(() => cluster[Symbol.asyncDispose]());

/** Waits until the one task runs, on one of these hosts, and has written. */
async function runningTask(...hosts: Host[]): Promise<{ host: Host; container: string }> {
  let found: { host: Host; container: string } | undefined;
  await waitUntil(
    `the task writes on ${hosts.map(({ name }) => name).join(' or ')}`,
    async () => {
      for (const host of hosts) {
        const [container] = await swarm.containersOn(host, service);
        if (container === undefined) continue;
        const { stdout } = await host.docker('logs', container);
        if (stdout.trim().split('\n').length > 2) found = { host, container };
      }
      return found !== undefined;
    },
    rescheduleMilliseconds,
  );
  return found!;
}

/** Takes over what a task acknowledged; whatever runs next must find all of it. Once for each task, when it has ended. */
async function noteTask({ host, container }: { host: Host; container: string }): Promise<void> {
  records.note(await host.docker('logs', container));
}

async function taskErrors(): Promise<string> {
  return (await swarm.manager.docker('service', 'ps', service, '--no-trunc', '--format', '{{.Node}} {{.Error}}')).stdout;
}

test('a service follows the drain of its node, again and again', async () => {
  const { workers } = swarm;
  let task = await runningTask(...workers);
  for (let round = 0; round < 3; round += 1) {
    const others = workers.filter((host) => host !== task.host);
    await swarm.availability(task.host, 'drain');
    const next = await runningTask(...others);
    await noteTask(task);
    await swarm.availability(task.host, 'active');
    task = next;
  }
  expect(await swarm.containersOn(task.host, service)).toEqual([task.container]);
});

test('started first, the new task is refused while the old one runs, and takes over when that stops', async () => {
  const { workers } = swarm;
  const old = await runningTask(...workers);
  const target = workers.find((host) => host !== old.host)!;
  const startFirst = ['--update-order', 'start-first', '--update-failure-action', 'continue', '--update-monitor', '1s'];
  const there = ['--constraint-add', `node.hostname==${target.name}`];
  await swarm.manager.docker('service', 'update', '--detach', '--no-resolve-image', ...startFirst, ...there, service);
  await waitUntil(
    'the new task is refused',
    async () => new RegExp(`^${target.name} .*in use on ${old.host.name} by container`, 'm').test(await taskErrors()),
    rescheduleMilliseconds,
  );
  expect(await swarm.containersOn(old.host, service)).toEqual([old.container]);
  await swarm.availability(old.host, 'drain');
  await runningTask(target);
  await noteTask(old);
  await swarm.availability(old.host, 'active');
});

test('after the service has gone, nothing holds the volume', async () => {
  const task = await runningTask(...swarm.workers);
  await noteTask(task);
  await swarm.manager.docker('service', 'rm', service);
  await waitUntil('the task has ended', async () => (await swarm.containersOn(task.host, service)).length === 0, rescheduleMilliseconds);
  await waitUntil(
    'its container is gone',
    async () => (await task.host.docker('ps', '--all', '--quiet')).stdout.trim() === '',
    rescheduleMilliseconds,
  );
  await expectClean(cluster, records.volume);
  await records.append(swarm.manager);
  expect(await expectClean(cluster, records.volume)).toBe('h1');
});
