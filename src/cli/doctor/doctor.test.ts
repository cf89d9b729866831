import { once } from 'node:events';
import { rename } from 'node:fs/promises';
import http from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AgentStatus } from '../../protocol/local-routes.ts';
import { CliTestBench } from '../test-cli.ts';
import { examineStatus } from './agent-status.ts';
import { examineDocker, examinePluginSocket } from './engine.ts';
import { examineKernel, examineRights, examineTools } from './system.ts';

const now = Date.parse('2026-11-23T12:00:00Z');
const healthy: AgentStatus = {
  cluster: 'c',
  host: { id: 'hst_1', name: 'h1', address: '10.0.0.1:7471' },
  version: '1',
  nameServer: { address: '10.0.0.1:7470', connected: true, problem: null },
  certificateExpiresAt: '2026-11-30T12:00:00Z',
  pool: { driver: 'btrfs', location: '/dev/vdb', capacityBytes: 1000, usedBytes: 500 },
  volumes: [{ name: 'v', id: 'vol_1', live: 'writable', mounted: true, references: 1, grant: 'held', uses: [], problem: null }],
};
const troubles = (status: AgentStatus) => examineStatus(status, now).filter(({ level }) => level !== 'ok');

describe('what the agent says', () => {
  it('is fine when all is well', () => {
    expect(troubles(healthy)).toEqual([]);
  });

  it.each([
    ['problem', /name server at .* does not answer/, { nameServer: { address: 'a:1', connected: false, problem: null } }],
    ['problem', /set back/, { nameServer: { address: 'a:1', connected: false, problem: 'It was set back (accept it)' } }],
    ['problem', /expired/, { certificateExpiresAt: '2026-11-23T11:59:59Z' }],
    ['warning', /valid for 30 min/, { certificateExpiresAt: '2026-11-23T12:30:00Z' }],
    ['problem', /no pool/, { pool: null }],
    ['warning', /85 % full/, { pool: { driver: 'btrfs', location: 'l', capacityBytes: 100, usedBytes: 85 } }],
    ['problem', /96 % full/, { pool: { driver: 'btrfs', location: 'l', capacityBytes: 100, usedBytes: 96 } }],
    ['problem', /Volume v: lost/, { volumes: healthy.volumes.map((volume) => ({ ...volume, problem: 'lost' })) }],
  ])('%s: %s', (level, text, changes) => {
    const found = troubles({ ...healthy, ...changes });
    expect(found).toEqual([{ level, text: expect.stringMatching(text), advice: expect.stringMatching(/\w/) }]);
  });
});

describe('the sockets of engines', () => {
  let bench: CliTestBench;
  let server: http.Server | undefined;
  beforeEach(async () => {
    bench = await CliTestBench.create();
  });
  afterEach(async () => {
    server?.close();
    server = undefined;
    await bench.close();
  });

  async function serve(answer: object): Promise<{ path: string; asked: string[] }> {
    const asked: string[] = [];
    const path = join(bench.directory, 'engine.sock');
    server = http.createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`);
      response.end(JSON.stringify(answer));
    });
    server.listen(path);
    await once(server, 'listening');
    return { path, asked };
  }

  it('answer', async () => {
    const { path, asked } = await serve({ Version: '29.1' });
    expect(await examineDocker(path)).toMatchObject({ level: 'ok', text: expect.stringMatching(/29\.1/) });
    expect(await examinePluginSocket(path)).toMatchObject({ level: 'ok' });
    // Not Activate, by which the agent would take it that the engine was restarted.
    expect(asked).toEqual(['GET /version', 'POST /VolumeDriver.Capabilities']);
  });

  it('are missing or stale', async () => {
    const missing = join(bench.directory, 'missing.sock');
    expect(await examineDocker(missing)).toMatchObject({ level: 'problem' });
    expect(await examinePluginSocket(missing)).toMatchObject({ level: 'problem', text: expect.stringMatching(/no plugin socket/) });
    const bare = createServer().listen(join(bench.directory, 's'));
    await once(bare, 'listening');
    await rename(join(bench.directory, 's'), join(bench.directory, 'stale.sock'));
    bare.close();
    expect(await examinePluginSocket(join(bench.directory, 'stale.sock'))).toMatchObject({ level: 'problem', text: expect.stringMatching(/stale/) });
  });

  it('make the command fail with a problem, and tell each finding', async () => {
    const none = join(bench.directory, 'none');
    const words = ['doctor', '--docker-socket', none, '--plugin-socket', none, '--docker-pid-file', none];
    const execute = async () => 'btrfs-progs v6.2';
    const { code, stdout } = await bench.run(words, { execute });
    expect(code).toBe(1);
    expect(stdout).toMatch(/^problem {2}Docker at .* does not answer.*\n {7} {2}-> Start it/m);
    expect(JSON.parse((await bench.run([...words, '--json'], { execute })).stdout)).toContainEqual({
      level: 'ok',
      text: 'The tools are there: btrfs-progs v6.2.',
      advice: null,
    });
  });
});

it('looks at rights, kernel and tools', async () => {
  const missing = () => Promise.reject(new Error('no such program'));
  expect([examineRights(0).level, examineRights(1000).level]).toEqual(['ok', 'problem']);
  expect(await examineTools(missing)).toMatchObject({ level: 'problem', advice: expect.stringMatching(/btrfs-progs/) });
  expect(await examineKernel(async () => '')).toMatchObject({ level: 'ok' });
});
