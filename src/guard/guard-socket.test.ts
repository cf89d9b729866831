import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GuardedVolume } from '../ports/guardian.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import { systemClock } from '../system/clock.ts';
import { GuardClient } from './guard-client.ts';
import { serveGuard, untilUseless } from './guard-server.ts';
import type { GuardServer, GuardServerOptions } from './guard-server.ts';
import type { GuardState } from './guard.ts';

const lease = (volume: string, epoch = 1): GuardedVolume => ({ volume, epoch, path: `/pool/${volume}`, mountPoint: `/mounts/${volume}` });

let directory: string;
let socketPath: string;
let held: Map<string, GuardState>;
let ends: number;
let clock: ManualClock;
let logged: string[];
const open: { close(): unknown }[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'supercargo-guard-'));
  socketPath = join(directory, 'guard.sock');
  held = new Map();
  ends = 0;
  clock = new ManualClock();
  logged = [];
});
afterEach(async () => {
  for (const each of open.splice(0).toReversed()) await each.close();
  rmSync(directory, { recursive: true });
});

const guard: GuardServerOptions['guard'] = {
  hold: async (leases, until) => {
    for (const { volume, epoch } of leases) held.set(volume, { volume, epoch, until, state: 'held', problem: null });
  },
  drop: async (volume) => void held.delete(volume),
  states: () => [...held.values()],
};
async function serve(): Promise<GuardServer> {
  const note = (details: object, message: string): void => void logged.push(`${message} ${JSON.stringify(details)}`);
  const server = await serveGuard({ guard, socketPath, version: '1.2.3', log: { info: note, warn: note }, onEnd: () => (ends += 1) });
  open.push(server);
  return server;
}
async function dial(): Promise<GuardClient> {
  const client = await GuardClient.connect({ socketPath, clock });
  open.push(client);
  return client;
}

describe('an agent and its guard', () => {
  it('agree on what is held', async () => {
    const server = await serve();
    const client = await dial();
    expect(client.guard).toMatchObject({ processNumber: process.pid, version: '1.2.3' });
    expect([server.connected, server.agents()]).toEqual([1, [process.pid]]);
    // More than the guard has to know may be in what callers have.
    await client.hold([{ ...lease('a'), name: 'pgdata' } as GuardedVolume, lease('b', 7)], 12_345.678);
    await client.drop('a');
    expect(await client.states()).toEqual([{ volume: 'b', epoch: 7, until: 12_345.678, state: 'held', problem: null }]);
  });

  it('change nothing by parting', async () => {
    const server = await serve();
    const client = await dial();
    await client.hold([lease('a')], 5);
    client.close();
    await client.closed;
    await expect.poll(() => server.connected).toBe(0);
    expect([server.agents(), held.size]).toEqual([[], 1]);
    await expect(client.hold([lease('a')], 6)).rejects.toMatchObject({ code: 'not-found' });
  });

  it('part for good when the agent says so', async () => {
    const server = await serve();
    const ending = GuardClient.end({ socketPath, clock });
    await expect.poll(() => ends).toBe(1);
    await server.close();
    await ending;
    expect(existsSync(socketPath)).toBe(false);
  });

  it('are parted by what is no message', async () => {
    const server = await serve();
    for (const words of [
      '{"id":1,"request":"hold","leases":[{"lease":{"volume":"a"},"until":1}]}\n',
      'GET / HTTP/1.1\n',
      'x'.repeat(5 * 1024 ** 2),
    ]) {
      const socket = connect(socketPath).on('error', () => undefined);
      const closed = new Promise((resolve) => socket.once('close', resolve));
      socket.write(words);
      await closed;
    }
    expect([held.size, server.connected, logged.length]).toEqual([0, 0, 3]);
  });

  it('do without a guard that is not there', async () => {
    await expect(dial()).rejects.toMatchObject({ code: 'not-found' });
  });
});

describe('the agent of a guard that has stopped', () => {
  /** Accepts, as the kernel does for a stopped process, answers `hello`, and then reads nothing until it goes on. */
  async function serveAndStop(): Promise<{ goOn(): void; received(): string }> {
    const sockets: Socket[] = [];
    let received = '';
    const server: Server = createServer((socket) => {
      sockets.push(socket);
      socket.once('data', () => {
        socket.write(`${JSON.stringify({ id: 1, guard: { processNumber: 4711, protocol: 1, version: '1.2.3' } })}\n`);
        socket.pause();
        socket.on('data', (chunk) => (received += chunk.toString()));
        socket.on('error', () => undefined);
      });
    });
    await new Promise<void>((resolve) => server.listen(socketPath, resolve));
    open.push(server);
    return { received: () => received, goOn: () => sockets.forEach((socket) => socket.resume()) };
  }

  async function timesOut(call: Promise<unknown>): Promise<void> {
    const failure = call.catch((error: unknown) => error);
    await clock.advance(1000);
    expect(await failure).toMatchObject({ code: 'deadline-exceeded', message: 'The guard (process 4711) does not answer.' });
  }

  it('waits for a second and no longer', async () => {
    await serveAndStop();
    const client = await dial();
    await timesOut(client.hold([lease('a')], 1));
    await timesOut(client.drop('a'));
    await timesOut(client.states());
  });

  it('keeps the newest of what the socket cannot take, and sends it as soon as it can', async () => {
    const { received, goOn } = await serveAndStop();
    const client = await dial();
    const many = Array.from({ length: 6000 }, (_, index) => lease(`vol_${index}`));
    for (let until = 1; until <= 40; until++) await timesOut(client.hold(many, until));
    await timesOut(client.drop('vol_7'));
    goOn();
    await expect.poll(() => received().endsWith('"volumes":["vol_7"]}\n')).toBe(true);
    await timesOut(client.states());
    await expect.poll(() => received().endsWith('"states"}\n')).toBe(true);
    const lines = received().trim().split('\n');
    expect(lines.filter((line) => line.includes('drop'))).toHaveLength(1);
    // Far fewer than were said: what waited was replaced.
    expect(lines.length).toBeLessThan(30);
    const last = JSON.parse(lines.at(-3) ?? '') as { leases: { lease: GuardedVolume; until: number }[] };
    expect([last.leases.length, new Set(last.leases.map(({ until }) => until))]).toEqual([5999, new Set([40])]);
  });
});

describe('the address of the guard', () => {
  it('is only root’s, and has one guard', async () => {
    const first = await serve();
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
    await expect(serve()).rejects.toMatchObject({ code: 'already-exists' });
    expect(first.isAtAddress()).toBe(true);
    expect(readdirSync(directory)).toEqual(['guard.sock']);
    await dial();
  });

  it('is taken over from a guard that was killed', async () => {
    const program = `require('node:net').createServer().listen(${JSON.stringify(socketPath)}, () => process.kill(process.pid, 'SIGKILL'))`;
    expect(spawnSync(process.execPath, ['-e', program]).signal).toBe('SIGKILL');
    expect(existsSync(socketPath)).toBe(true);
    await serve();
    await dial();
    expect(readdirSync(directory)).toEqual(['guard.sock']);
  });

  it('goes to one of several that start at once', async () => {
    const program = join(directory, 'start.mjs');
    const source = `import { serveGuard } from ${JSON.stringify(join(import.meta.dirname, 'guard-server.ts'))};
      const nothing = () => {};
      await serveGuard({ guard: { hold: nothing, drop: nothing, states: () => [] }, socketPath: process.argv[2], version: '1', log: {}, onEnd: nothing })
        .then(() => console.log('serves'), (error) => { console.log(error.code); });
      process.stdin.on('end', () => process.exit()).resume();`;
    writeFileSync(program, source);
    // A stale socket on top, over which they might all stumble.
    spawnSync(process.execPath, [
      '-e',
      `require('node:net').createServer().listen(${JSON.stringify(socketPath)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ]);
    const starting = Array.from({ length: 6 }, () => spawn(process.execPath, [program, socketPath], { stdio: ['pipe', 'pipe', 'inherit'] }));
    const said = await Promise.all(
      starting.map((child) => new Promise<string>((resolve) => child.stdout.once('data', (words: Buffer) => resolve(words.toString().trim())))),
    );
    const ended = Promise.all(starting.map((child) => new Promise((resolve) => child.once('exit', resolve))));
    for (const child of starting) child.stdin.end();
    await ended;
    expect(said.toSorted()).toEqual([...Array(5).fill('already-exists'), 'serves']);
  });

  it('is left to the one that has it now', async () => {
    const first = await serve();
    rmSync(socketPath);
    const second = await serve();
    expect([first.isAtAddress(), second.isAtAddress()]).toEqual([false, true]);
    await first.close();
    expect(existsSync(socketPath)).toBe(true);
  });
});

describe('untilUseless', () => {
  const useless = (state: { idle: boolean; connected: number; atAddress: boolean }, signal = new AbortController().signal) => {
    let ended = false;
    const server = {
      get connected() {
        return state.connected;
      },
      isAtAddress: () => state.atAddress,
    };
    const ending = untilUseless({
      guard: {
        get idle() {
          return state.idle;
        },
      },
      server,
      clock,
      signal,
    }).then(() => (ended = true));
    return { ending, ended: () => ended };
  };

  it('comes when nothing is guarded and no agent was there for a minute', async () => {
    const state = { idle: true, connected: 1, atAddress: true };
    const guard = useless(state);
    await clock.advance(600_000);
    Object.assign(state, { idle: false, connected: 0 });
    await clock.advance(600_000);
    state.idle = true;
    await clock.advance(59_000);
    expect(guard.ended()).toBe(false);
    await clock.advance(1000);
    expect(guard.ended()).toBe(true);
  });

  it('comes at once for a guard that nobody can reach, unless it holds something', async () => {
    const state = { idle: false, connected: 0, atAddress: false };
    const guard = useless(state);
    await clock.advance(600_000);
    expect(guard.ended()).toBe(false);
    state.idle = true;
    await clock.advance(1000);
    expect(guard.ended()).toBe(true);
  });

  it('ends with its signal', async () => {
    const stop = new AbortController();
    const { ending } = useless({ idle: true, connected: 0, atAddress: true }, stop.signal);
    stop.abort(new Error('enough'));
    await expect(ending).rejects.toThrow('enough');
  });
});

it('counts on a clock that all processes of the machine share', () => {
  const elsewhere = () => Number(spawnSync(process.execPath, ['-p', 'Number(process.hrtime.bigint()) / 1e6']).stdout.toString());
  const before = systemClock.monotonicMilliseconds();
  const there = elsewhere();
  expect(there).toBeGreaterThan(before);
  expect(systemClock.monotonicMilliseconds()).toBeGreaterThan(there);
  // Seconds since the machine started, as the kernel tells everybody.
  expect(Math.abs(there / 1000 - Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]))).toBeLessThan(3600);
});
