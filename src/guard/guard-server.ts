import { linkSync, renameSync, rmSync, statSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { SupercargoError } from '../model/errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { Guard, GuardOptions } from './guard.ts';
import { createLineReader, protocolVersion, requestLine } from './messages.ts';
import type { AnswerLine } from './messages.ts';

export interface GuardServerOptions {
  guard: Pick<Guard, 'hold' | 'drop' | 'states'>;
  socketPath: string;
  version: string;
  log: GuardOptions['log'];
  /** An agent of another version asks for the place. */
  onEnd: () => void;
}

export interface GuardServer {
  /** Number of agents that are connected. */
  readonly connected: number;
  /** Their process numbers. */
  agents(): number[];
  /** Whether the address still leads here, and not to another guard. */
  isAtAddress(): boolean;
  close(): Promise<void>;
}

/**
 * Answers agents. The socket is the lock: only one guard of a host is at the address. That a connection ends changes nothing in the guard.
 * @throws already-exists if another guard serves there
 */
export async function serveGuard(options: GuardServerOptions): Promise<GuardServer> {
  const agents = new Map<Socket, number | null>();
  const server = createServer((socket) => {
    agents.set(socket, null);
    socket.setEncoding('utf8');
    socket.on('error', () => undefined);
    socket.on('close', () => agents.delete(socket));
    const read = createLineReader((line) => {
      const answer = answerTo(line, options, (processNumber) => agents.set(socket, processNumber));
      socket.write(`${JSON.stringify(answer)}\n`, answer.ended === true ? options.onEnd : undefined);
    });
    socket.on('data', (chunk: string) => {
      try {
        read(chunk);
      } catch (error) {
        options.log.warn({ error: String(error) }, 'an agent sent what is no message');
        socket.destroy();
      }
    });
  });
  const inode = await takeAddress(server, options.socketPath);
  const isAtAddress = (): boolean => inodeOf(options.socketPath) === inode;
  return {
    get connected() {
      return agents.size;
    },
    agents: () => [...agents.values()].filter((processNumber) => processNumber !== null),
    isAtAddress,
    close: async () => {
      if (isAtAddress()) rmSync(options.socketPath, { force: true });
      for (const socket of agents.keys()) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function answerTo(line: string, { guard, version }: GuardServerOptions, onHello: (processNumber: number) => void): AnswerLine & { ended?: true } {
  const request = requestLine.parse(JSON.parse(line));
  const done = { id: request.id };
  switch (request.request) {
    case 'hello':
      onHello(request.processNumber);
      return { ...done, guard: { processNumber: process.pid, protocol: protocolVersion, version } };
    case 'hold':
      for (const { lease, until } of request.leases) void guard.hold([lease], until);
      return done;
    case 'drop':
      for (const volume of request.volumes) void guard.drop(volume);
      return done;
    case 'states':
      return { ...done, states: guard.states() };
    case 'end':
      return { ...done, ended: true };
  }
}

const maximumTries = 20;

/**
 * Listens under a name of its own, then puts that socket at the address, which only one can do: linking fails where something is. A socket of a dead guard
 * refuses connections, and is moved away by a rename, which also only one can do. Should the rename catch a guard that came in between, it is put back.
 * @returns the socket's inode
 */
async function takeAddress(server: Server, address: string): Promise<number> {
  const own = `${address}.${process.pid}`;
  rmSync(own, { force: true });
  await listen(server, own);
  const inode = inodeOf(own) ?? 0;
  try {
    for (let tries = 0; tries < maximumTries; tries++) {
      if (linkIfFree(own, address)) return inode;
      const found = inodeOf(address);
      if (await isServed(address)) break;
      if (found !== undefined) moveAway(address, found);
    }
  } catch (error) {
    await new Promise((resolve) => server.close(resolve));
    throw error;
  } finally {
    rmSync(own, { force: true });
  }
  await new Promise((resolve) => server.close(resolve));
  throw new SupercargoError('already-exists', `Another guard serves at ${address}.`);
}

function moveAway(address: string, inode: number): void {
  const aside = `${address}.${process.pid}.old`;
  try {
    renameSync(address, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  if (inodeOf(aside) !== inode) linkIfFree(aside, address);
  rmSync(aside, { force: true });
}

function linkIfFree(existing: string, address: string): boolean {
  try {
    linkSync(existing, address);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}

/** A guard that is stopped still accepts, by the kernel: it lives, and goes on one day. */
function isServed(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(!['ECONNREFUSED', 'ENOENT'].includes(error.code ?? '')));
  });
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // The file is made before listen returns: only that moment is under the narrow mask. Only root may speak to the guard.
    const umask = process.umask(0o177);
    server.listen(path, () => resolve());
    process.umask(umask);
  });
}

export interface IdleOptions {
  guard: Pick<Guard, 'idle'>;
  server: Pick<GuardServer, 'connected' | 'isAtAddress'>;
  clock: Clock;
  signal: AbortSignal;
  /** So long with nothing to guard and no agent, in milliseconds. */
  idleMilliseconds?: number;
}

const idlePollMilliseconds = 1000;

/** Resolves when the guard is of no use any more; rejects if the signal fires before. One that is no longer at its address waits for no agent. */
export async function untilUseless({ guard, server, clock, signal, idleMilliseconds = 60_000 }: IdleOptions): Promise<void> {
  let usedAt = clock.monotonicMilliseconds();
  for (;;) {
    await clock.sleep(idlePollMilliseconds, signal);
    const now = clock.monotonicMilliseconds();
    if (!guard.idle || server.connected > 0) usedAt = now;
    else if (now - usedAt >= idleMilliseconds || !server.isAtAddress()) return;
  }
}
