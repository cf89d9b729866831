import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Volume } from '../../src/model/records.ts';
import { shortestSessionMilliseconds } from '../../src/protocol/protection-routes.ts';
import type { WhereView } from '../../src/protocol/routes.ts';
import type { Host } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import { sendToPlugin } from './support/plugin-socket.ts';
import { pause } from './support/timing.ts';

let cluster: Cluster;
let h1: Host;
let h2: Host;

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 2, environment: { all: { SUPERCARGO_SESSION: String(shortestSessionMilliseconds) } } });
  [h1, h2] = [cluster.host('h1'), cluster.host('h2')];
});

afterAll(() => cluster?.[Symbol.asyncDispose]());

/** A call of the plugin that has two seconds to be answered. */
async function callInTime<Answer>(call: string, body: object): Promise<Answer> {
  const { status, text } = await sendToPlugin(h2, { call, body, withinMilliseconds: 2000 });
  expect(status, text).toBe(200);
  return JSON.parse(text) as Answer;
}

async function lines(host: Host, container: string): Promise<number> {
  return Number((await host.docker('exec', container, 'sh', '-c', 'wc -l < /data/log')).stdout);
}

async function goesOnWriting(host: Host, container: string): Promise<void> {
  const before = await lines(host, container);
  await waitUntil(`${container} goes on writing`, async () => (await lines(host, container)) > before);
}

async function isRunning(host: Host, container: string): Promise<boolean> {
  return (await host.docker('inspect', '--format', '{{.State.Running}}', container)).stdout === 'true\n';
}

const writingScript = 'while :; do echo alive >> /data/log; usleep 20000; done';

describe('while the name server is away', () => {
  const volumes = ['elsewhere', 'idle', 'leased', 'restarting', 'running'];

  beforeAll(async () => {
    for (const name of ['running', 'restarting', 'idle']) await cluster.createVolume(h2, name);
    await cluster.createVolume(h1, 'elsewhere');
    await cluster.inContainer(h1, 'elsewhere', 'echo on h1 > /data/file');
    await cluster.inContainer(h2, 'idle', 'echo on h2 > /data/file');
    await cluster.run(h1, 'class', 'set', 'leased', '--failover', 'auto');
    await cluster.createVolume(h2, 'leased', 'class=leased');
    for (const name of ['running', 'leased']) await cluster.startContainer(h2, name, name, writingScript);
    await cluster.startContainer(h2, 'restarting', 'restarting', writingScript);
    await waitUntil('h2 knows all volumes', async () => (await h2.docker('volume', 'ls', '-q')).stdout.includes('elsewhere'));
    await cluster.killDaemon(h1);
    await waitUntil('h2 has noticed', async () => !(await cluster.status(h2)).nameServer.connected);
  });

  it('running containers go on, also when the lease is over that stops those of a class with automatic failover', async () => {
    await goesOnWriting(h2, 'running');
    await waitUntil('the lease is over', async () => !(await isRunning(h2, 'leased')));
    await goesOnWriting(h2, 'running');
  });

  it('a container restarts, and another starts, on volumes that the host holds', async () => {
    const before = await lines(h2, 'restarting');
    await h2.docker('restart', '--time', '0', 'restarting');
    await goesOnWriting(h2, 'restarting');
    expect(await lines(h2, 'restarting')).toBeGreaterThan(before);
    expect((await cluster.inContainer(h2, 'idle', 'cat /data/file; echo more >> /data/file')).stdout).toBe('on h2\n');
    expect((await cluster.inContainer(h2, 'idle', 'cat /data/file')).stdout).toBe('on h2\nmore\n');
  });

  it('list and inspect answer within two seconds, for volumes of other hosts as well', async () => {
    const { Volumes } = await callInTime<{ Volumes: { Name: string }[] }>('VolumeDriver.List', {});
    expect(Volumes.map(({ Name }) => Name).sort()).toEqual(volumes);
    for (const [name, host] of [
      ['running', 'h2'],
      ['elsewhere', 'h1'],
    ] as const) {
      const { Volume } = await callInTime<{ Volume: { Name: string; Status: object } }>('VolumeDriver.Get', { Name: name });
      expect(Volume).toMatchObject({ Name: name, Status: { host, note: 'as of the last contact with the name server' } });
    }
    expect((await h2.docker('volume', 'ls', '-q')).stdout.trim().split('\n').sort()).toEqual(volumes);
    expect((await h2.docker('volume', 'inspect', 'elsewhere')).stdout).toContain('"Driver": "supercargo"');
  });

  it('a volume of another host is refused clearly, and no empty directory takes its place', async () => {
    const refused = await cluster.inContainer(h2, 'elsewhere', 'echo wrong > /data/file', true);
    expect(refused.exitCode).toBe(125);
    expect(refused.stderr).toMatch(/name server.* does not answer/i);
    const created = await h2.engine.command(['volume', 'create', '-d', 'supercargo', 'new'], { allowFailure: true });
    expect(created.exitCode).toBe(1);
    expect((await sendToPlugin(h2, { call: 'VolumeDriver.Remove', body: { Name: 'idle' } })).status).toBe(500);
  });

  it('everything goes on when it is back', async () => {
    await cluster.up(h1);
    await waitUntil('h2 is connected again', async () => (await cluster.status(h2)).nameServer.connected);
    await goesOnWriting(h2, 'running');
    expect((await cluster.inContainer(h2, 'elsewhere', 'cat /data/file')).stdout).toBe('on h1\n');
    await cluster.createVolume(h2, 'new');
    await cluster.run(h2, 'volume', 'move', 'idle', '--to', 'h1');
    expect((await cluster.inContainer(h1, 'idle', 'cat /data/file')).stdout).toBe('on h2\nmore\n');
    expect(await cluster.json<WhereView>(h2, 'where', 'running')).toMatchObject({ host: 'h2', epoch: 1 });
    await h2.docker('rm', '-f', 'running', 'restarting', 'leased');
  });
});

it('loses no acknowledged change in ten kills', async () => {
  const acknowledged: string[] = [];
  const ended = new AbortController();
  const client = async (prefix: string): Promise<void> => {
    for (let number = 0; !ended.signal.aborted; number += 1) {
      const name = `${prefix}-${number}`;
      const { status } = await sendToPlugin(h2, { call: 'VolumeDriver.Create', body: { Name: name } });
      if (status === 200) acknowledged.push(name);
      else await pause(20);
    }
  };
  const clients = Promise.all(['a', 'b', 'c'].map(client));
  try {
    for (let kills = 0; kills < 10; kills += 1) {
      const before = acknowledged.length;
      await waitUntil('volumes are created again', () => acknowledged.length > before + 3);
      await cluster.restartDaemon(h1);
    }
  } finally {
    ended.abort();
    await clients;
  }
  expect(acknowledged.length).toBeGreaterThan(30);
  const names = (await cluster.json<Volume[]>(h1, 'volume', 'ls')).map(({ name }) => name);
  expect(acknowledged.filter((name) => !names.includes(name))).toEqual([]);
  await waitUntil('h2 is connected again', async () => (await cluster.status(h2)).nameServer.connected);
  const last = acknowledged.at(-1)!;
  expect((await cluster.inContainer(h1, last, 'echo fine > /data/file; cat /data/file')).stdout).toBe('fine\n');
});
