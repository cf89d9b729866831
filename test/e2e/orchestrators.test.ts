import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TEST_IMAGE } from '../../testbed/lab.ts';
import type { Completed, Host } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import { Swarm } from './support/swarm.ts';

/** Swarm takes its time: stop, back-off between attempts, and the manager's own rounds. */
const rescheduleMilliseconds = 120_000;

let cluster: Cluster;
/** Runs the name server and manages the Swarm; a worker. */
let h1: Host;
let h2: Host;
let swarm: Swarm;

/** A service that uses volume orders runs already when the project comes to require grants; Compose is to use volume stock. */
beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 2 });
  [h1, h2] = [cluster.host('h1'), cluster.host('h2')];
  swarm = await Swarm.form(cluster);
  await cluster.run(h1, 'project', 'add', 'shop');
  for (const [application, volume] of [
    ['shop/db', 'orders'],
    ['shop/web', 'stock'],
  ] as const) {
    await cluster.run(h1, 'app', 'add', application);
    await cluster.run(h1, 'volume', 'create', volume, '--project', 'shop');
    await cluster.run(h1, 'grant', application, volume, '--reason', 'test');
  }
  for (const host of [h1, h2]) {
    await host.engine.stop();
    await host.startDocker(['--authorization-plugin=supercargo']);
  }
  await waitUntil('the Swarm is whole', () => swarm.isWhole(), rescheduleMilliseconds);
  await swarm.createService({ name: 'db', volume: 'orders', script: 'echo secret > /data/file; sleep 1000000' });
  await waitUntil('the service runs', async () => (await swarm.soleTask('db')) !== undefined, rescheduleMilliseconds);
  await cluster.run(h1, 'project', 'set', 'shop', '--require-grants');
  for (const host of [h1, h2]) {
    await waitUntil(`a grant is required on ${host.name}`, async () =>
      /denied/.test((await docker(host, 'run', '--rm', '--privileged', TEST_IMAGE, 'true')).stderr),
    );
  }
}, 300_000);

afterAll(() => cluster?.[Symbol.asyncDispose]());

const docker = (host: Host, ...parameters: string[]): Promise<Completed> =>
  host.engine.command(parameters, { allowFailure: true, timeoutMilliseconds: 200_000 });

async function pass(application: string, host: Host, ...options: string[]): Promise<string> {
  const { stdout } = await cluster.run(h1, 'app', 'pass', application, '--host', host.name, ...options);
  return stdout.trim().replace('supercargo.pass=', '');
}

describe('Compose', () => {
  const file = '/srv/compose.yaml';
  const content = `version: "3.7"
services:
  web:
    image: ${TEST_IMAGE}
    command: ["sh", "-c", "sleep 1000000 & wait"]
    network_mode: none
    stop_grace_period: 1s
    labels: { supercargo.pass: "\${SUPERCARGO_PASS}" }
    volumes: ["stock:/data"]
volumes:
  stock: { name: stock, external: true }
`;
  const compose = (host: Host, token: string, ...parameters: string[]): Promise<Completed> =>
    host.run(['docker-compose', '--no-ansi', '-p', 'shop', '-f', file, ...parameters], {
      environment: { SUPERCARGO_PASS: token },
      allowFailure: true,
      timeoutMilliseconds: 200_000,
    });
  const exec = async (host: Host, script: string): Promise<string> => (await host.docker('exec', 'shop_web_1', 'sh', '-c', script)).stdout;

  beforeAll(async () => {
    for (const host of [h1, h2]) await host.run(['tee', file], { input: content });
  });

  it('makes no container without a pass', async () => {
    const { exitCode, stderr } = await compose(h1, '', 'up', '-d');
    expect(exitCode).not.toBe(0);
    expect(stderr).toMatch(/pass/);
    await compose(h1, '', 'down');
  });

  it('makes its container, and makes it anew, with a pass that counts for many', async () => {
    const token = await pass('shop/web', h1, '--reusable', '--life', '1h');
    expect(await compose(h1, token, 'up', '-d')).toMatchObject({ exitCode: 0 });
    await exec(h1, 'echo kept > /data/file');
    expect(await compose(h1, token, 'restart')).toMatchObject({ exitCode: 0 });
    expect(await compose(h1, token, 'up', '-d', '--force-recreate')).toMatchObject({ exitCode: 0 });
    const [before] = (await h1.docker('ps', '-q', '--filter', 'name=shop_web_1')).stdout.split('\n');
    expect(await compose(h1, await pass('shop/web', h1, '--reusable', '--life', '1h'), 'up', '-d')).toMatchObject({ exitCode: 0 });
    expect((await h1.docker('ps', '-q', '--filter', 'name=shop_web_1')).stdout).not.toContain(before);
    expect(await exec(h1, 'cat /data/file')).toBe('kept\n');
  });

  it('finds the data on another host, which an operator lets have it by a pass', async () => {
    expect(await compose(h1, '', 'down')).toMatchObject({ exitCode: 0 });
    expect((await compose(h2, await pass('shop/web', h1, '--reusable'), 'up', '-d')).exitCode).not.toBe(0);
    const token = await pass('shop/web', h2, '--reusable');
    await waitUntil('Compose has started it on h2', async () => (await compose(h2, token, 'up', '-d')).exitCode === 0);
    expect(await exec(h2, 'cat /data/file')).toBe('kept\n');
  });
});

describe('a service of Swarm', () => {
  /** Those of the last tasks that were refused for what they are: Swarm remembers a few. */
  const refused = async (): Promise<string[]> => {
    const { stdout } = await h1.docker('service', 'ps', 'db', '--no-trunc', '--format', '{{.ID}} {{.Error}}');
    return stdout.split('\n').filter((line) => line.includes('tasks of Swarm services show none'));
  };
  /** Swarm makes new ones every few seconds; the first may have been ordered before. */
  const refusedAgain = async (): Promise<void> => {
    const before = new Set(await refused());
    const isAnew = async (): Promise<boolean> => (await refused()).filter((line) => !before.has(line)).length > 1;
    await waitUntil('further tasks are refused', isAnew, rescheduleMilliseconds);
  };
  const tasks = () => swarm.containersOn(h2, 'db');

  it('goes on if it ran before anything was required, and its task is refused when it is made anew', async () => {
    const [running = ''] = await tasks();
    expect((await h2.docker('exec', running, 'cat', '/data/file')).stdout).toBe('secret\n');
    await h1.docker('service', 'update', '--detach', '--force', 'db');
    await waitUntil('its next task is refused', async () => (await refused()).length > 0, rescheduleMilliseconds);
    expect((await tasks()).filter((id) => id !== running)).toEqual([]);
    await h2.docker('rm', '-f', running);
    await refusedAgain();
    expect(await tasks()).toEqual([]);
  });

  it('gets nothing by a pass among its labels', async () => {
    const token = await pass('shop/db', h2, '--reusable');
    await h1.docker('service', 'update', '--detach', '--force', '--container-label-add', `supercargo.pass=${token}`, 'db');
    await refusedAgain();
    expect(await tasks()).toEqual([]);
  });

  it('is refused at once by a manager that is told of the volume', async () => {
    await pass('shop/db', h1);
    await waitUntil('h1 lists the volume', async () => (await h1.docker('volume', 'ls', '--format', '{{.Name}}')).stdout.includes('orders'));
    for (const parameters of [
      ['create', '--name', 'thief', '--mount', 'type=volume,source=orders,target=/data,volume-driver=supercargo', TEST_IMAGE],
      ['update', '--image', TEST_IMAGE, '--args', 'cat /data/file', 'db'],
    ]) {
      const { exitCode, stderr } = await docker(h1, 'service', ...parameters);
      expect(stderr).toMatch(/services of Swarm cannot use it.*by docker run or Compose/s);
      expect(exitCode).not.toBe(0);
    }
  });

  it('is not what an image says: containers have the labels of their images', async () => {
    await h2.docker('create', '--name', 'base', '--network', 'none', TEST_IMAGE, 'true');
    const labels = ['com.docker.swarm.task.id=x', 'com.docker.swarm.service.name=db'].flatMap((label) => ['--change', `LABEL ${label}`]);
    await h2.docker('commit', ...labels, 'base', 'fake');
    const made = (await h2.docker('create', '--network', 'none', 'fake', 'true')).stdout.trim();
    expect((await h2.docker('inspect', '--format', '{{json .Config.Labels}}', made)).stdout).toContain('com.docker.swarm.task.id');
    const { exitCode, stdout } = await docker(h2, 'run', '--rm', '--network', 'none', '-v', 'orders:/data', 'fake', 'cat', '/data/file');
    expect([exitCode === 0, stdout]).toEqual([false, '']);
  });
});
