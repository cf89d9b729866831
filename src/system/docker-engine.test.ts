import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDockerEngine } from './docker-engine.ts';

const id = 'ab'.repeat(32);

describe('createDockerEngine', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'supercargo-engine-'));
  const socketPath = join(scratch, 'docker.sock');
  const processFile = join(scratch, 'docker.pid');
  const engine = createDockerEngine({ socketPath, processFile });
  const asked: string[] = [];
  let server: Server;

  beforeAll(async () => {
    server = createServer((call, answer) => {
      asked.push(decodeURIComponent(call.url ?? ''));
      const list = [
        { Id: id, Names: ['/database'], State: 'running', Mounts: [{ Type: 'volume', Name: 'pgdata' }] },
        { Id: 'cd'.repeat(32), Names: null, State: 'exited', Mounts: [{ Type: 'bind' }] },
      ];
      const answers = new Map<string | undefined, unknown>([
        ['/volumes', { Volumes: [] }],
        ['/info', { DockerRootDir: '/data/docker', Plugins: { Authorization: ['supercargo'] } }],
        ['/containers/database/json', { Id: id }],
        ['/volumes/a%2Fb', { Name: 'a/b' }],
      ]);
      if (call.url?.includes('absent') === true) answer.statusCode = 404;
      answer.end(JSON.stringify(answers.get(call.url) ?? list));
    });
    await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  });
  afterAll(() => {
    server.close();
    rmSync(scratch, { recursive: true, force: true });
  });

  it('names the containers that use the volume, not those that merely match the filter', async () => {
    expect(await engine.containersUsing('pgdata')).toEqual([{ id, name: 'database', state: 'running' }]);
    expect(asked.at(-1)).toContain('"volume":["pgdata"]');
  });

  it('tells whom the engine asks, and where it keeps its data', async () => {
    expect(await engine.settings()).toEqual({ authorizationPlugins: ['supercargo'], dataDirectory: '/data/docker' });
  });

  it('lists containers with the names of their volumes', async () => {
    expect(await engine.containers()).toEqual([
      { id, name: 'database', volumes: ['pgdata'] },
      { id: 'cd'.repeat(32), name: 'cdcdcdcdcdcd', volumes: [] },
    ]);
  });

  it('shows what the engine says of a container or a volume, or that there is none', async () => {
    expect(await engine.inspectContainer('database')).toBe(JSON.stringify({ Id: id }));
    expect(await engine.inspectVolume('a/b')).toBe(JSON.stringify({ Name: 'a/b' }));
    expect([await engine.inspectContainer('absent'), await engine.inspectVolume('absent')]).toEqual([null, null]);
  });

  it('wakes the engine by listing its volumes', async () => {
    await engine.warmUp();
    expect(asked.at(-1)).toBe('/volumes');
  });

  it('knows no container of a process outside of any', async () => {
    expect(await engine.containerOfProcess(process.pid)).toBeNull();
  });

  it('tells a running engine from one that is gone, without asking it', async () => {
    expect(await engine.instance()).toBeNull();
    writeFileSync(processFile, `${process.pid}\n`);
    expect(await engine.instance()).toMatch(new RegExp(`^${process.pid}-\\d+$`));
    writeFileSync(processFile, '4194999');
    expect(await engine.instance()).toBeNull();
  });

  it('says host-unreachable when nobody answers', async () => {
    const absent = createDockerEngine({ socketPath: join(scratch, 'none.sock') });
    await expect(absent.containersUsing('pgdata')).rejects.toMatchObject({ code: 'host-unreachable' });
  });
});
