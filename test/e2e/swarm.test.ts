import { afterAll, beforeAll, expect, test } from 'vitest';
import { TEST_IMAGE } from '../../testbed/lab.ts';
import type { Host } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import { expectClean } from './support/invariants.ts';
import { Records, writerScript } from './support/records.ts';

/** Swarm takes its time: stop, back-off between attempts, and the manager's own rounds. */
const rescheduleMilliseconds = 120_000;
const service = 'writer';

let cluster: Cluster;
let manager: Host;
let records: Records;

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 3 });
  manager = cluster.host('h1');
  await manager.docker('swarm', 'init', '--advertise-addr', manager.address, '--task-history-limit', '50');
  const token = await manager.docker('swarm', 'join-token', '--quiet', 'worker');
  for (const host of cluster.lab.hosts) {
    if (host !== manager)
      await host.docker('swarm', 'join', '--token', token.stdout.trim(), '--advertise-addr', host.address, `${manager.address}:2377`);
  }
  records = new Records(cluster, 'app');
  const placement = ['--replicas', '1', '--network', 'host', '--constraint', 'node.role==worker', '--no-resolve-image'];
  const restart = ['--stop-grace-period', '1s', '--restart-delay', '1s'];
  const mount = ['--mount', 'type=volume,volume-driver=supercargo,source=app,target=/data'];
  await manager.docker('service', 'create', '--detach', '--name', service, ...placement, ...restart, ...mount, TEST_IMAGE, 'sh', '-c', writerScript);
});
afterAll(() => cluster[Symbol.asyncDispose]());

/** The running container of the service on a host, if there is one. */
async function taskOn(host: Host): Promise<string | undefined> {
  const { stdout } = await host.docker('ps', '--quiet', '--filter', `label=com.docker.swarm.service.name=${service}`);
  return stdout.trim().split('\n').find(Boolean);
}

/** Waits until the one task runs, on one of these hosts, and has written. */
async function runningTask(...hosts: Host[]): Promise<{ host: Host; container: string }> {
  let found: { host: Host; container: string } | undefined;
  await waitUntil(
    `the task writes on ${hosts.map(({ name }) => name).join(' or ')}`,
    async () => {
      for (const host of hosts) {
        const container = await taskOn(host);
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

async function availability(host: Host, state: 'active' | 'drain'): Promise<void> {
  await manager.docker('node', 'update', '--availability', state, host.name);
}

/** Takes over what a task acknowledged; whatever runs next must find all of it. Once for each task, when it has ended. */
async function noteTask({ host, container }: { host: Host; container: string }): Promise<void> {
  records.note(await host.docker('logs', container));
}

async function taskErrors(): Promise<string> {
  return (await manager.docker('service', 'ps', service, '--no-trunc', '--format', '{{.Node}} {{.Error}}')).stdout;
}

test('a service follows the drain of its node, again and again', async () => {
  const workers = [cluster.host('h2'), cluster.host('h3')];
  let task = await runningTask(...workers);
  for (let round = 0; round < 3; round += 1) {
    const others = workers.filter((host) => host !== task.host);
    await availability(task.host, 'drain');
    const next = await runningTask(...others);
    await noteTask(task);
    await availability(task.host, 'active');
    task = next;
  }
  expect(await taskOn(task.host)).toBe(task.container);
});

test('started first, the new task is refused while the old one runs, and takes over when that stops', async () => {
  const workers = [cluster.host('h2'), cluster.host('h3')];
  const old = await runningTask(...workers);
  const target = workers.find((host) => host !== old.host)!;
  const startFirst = ['--update-order', 'start-first', '--update-failure-action', 'continue', '--update-monitor', '1s'];
  const there = ['--constraint-add', `node.hostname==${target.name}`];
  await manager.docker('service', 'update', '--detach', '--no-resolve-image', ...startFirst, ...there, service);
  await waitUntil(
    'the new task is refused',
    async () => new RegExp(`^${target.name} .*in use on ${old.host.name} by container`, 'm').test(await taskErrors()),
    rescheduleMilliseconds,
  );
  expect(await taskOn(old.host)).toBe(old.container);
  await availability(old.host, 'drain');
  await runningTask(target);
  await noteTask(old);
  await availability(old.host, 'active');
});

test('after the service has gone, nothing holds the volume', async () => {
  const task = await runningTask(cluster.host('h2'), cluster.host('h3'));
  await noteTask(task);
  await manager.docker('service', 'rm', service);
  await waitUntil('the task has ended', async () => (await taskOn(task.host)) === undefined, rescheduleMilliseconds);
  await waitUntil(
    'its container is gone',
    async () => (await task.host.docker('ps', '--all', '--quiet')).stdout.trim() === '',
    rescheduleMilliseconds,
  );
  await expectClean(cluster, records.volume);
  await records.append(manager);
  expect(await expectClean(cluster, records.volume)).toBe('h1');
});
