import { lstat, mkdir, rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { dirname } from 'node:path';
import { SupercargoError } from '../model/errors.ts';

/** An open plugin socket. */
export interface PluginSocket {
  /**
   * Accepts nothing more, waits for the calls in flight, removes the socket file (a stale one makes engines wait for seconds).
   * @param signal ends the waiting: what is still in flight then gets no answer
   */
  close(signal?: AbortSignal): Promise<void>;
}

/**
 * Opens the plugin socket for root only, in a directory that is made if it is missing. A socket that a killed process left is replaced.
 * @throws wrong-state if another process answers on it or the path is something else than a socket
 */
export async function listenOnPluginSocket(server: Server, path: string): Promise<PluginSocket> {
  await mkdir(dirname(path), { recursive: true, mode: 0o755 });
  await removeStaleSocket(path);
  const idle = trackIdle(server);
  await listenPrivately(server, path);
  return {
    close: (signal) =>
      new Promise((resolve, reject) => {
        const giveUp = (): void => server.closeAllConnections();
        // Also removes the file; the busy connections close with their answer.
        server.close((error) => {
          signal?.removeEventListener('abort', giveUp);
          if (error === undefined) resolve();
          else reject(error);
        });
        for (const socket of idle) socket.destroy();
        if (signal?.aborted) giveUp();
        else signal?.addEventListener('abort', giveUp, { once: true });
      }),
  };
}

/** Connections without a call in flight, counting those that never had one: engines keep such, and the server's own list leaves them out. */
function trackIdle(server: Server): ReadonlySet<Socket> {
  const idle = new Set<Socket>();
  server.on('connection', (socket) => {
    idle.add(socket);
    socket.once('close', () => idle.delete(socket));
  });
  server.on('request', ({ socket }, response) => {
    idle.delete(socket);
    response.once('close', () => {
      if (!socket.destroyed) idle.add(socket);
    });
  });
  return idle;
}

function listenPrivately(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // The file is made inside `listen`, so that the narrow mask leaves no moment in which others could connect.
    const previousMask = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(previousMask);
    }
  });
}

async function removeStaleSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new SupercargoError('wrong-state', `${path} exists and is not a socket.`, { hint: 'Move it away and start again.' });
  }
  if (await isAnswered(path)) {
    throw new SupercargoError('wrong-state', `Another process answers on ${path}.`, {
      hint: 'Is Supercargo running already? Stop it first: supercargo down',
    });
  }
  await rm(path, { force: true });
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // Only these say that nobody listens; a full queue, for one, is a process that is alive.
    socket.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code !== 'ECONNREFUSED' && code !== 'ENOENT'));
  });
}
