import { chmod, rm } from 'node:fs/promises';
import http from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import https from 'node:https';
import { TLSSocket } from 'node:tls';
import { SupercargoError } from '../model/errors.ts';
import type { Clock } from '../ports/clock.ts';
import { endAtExpiry, peerIdentity } from '../pki/peer.ts';
import { followCredentials, serverTlsOptions } from '../pki/tls.ts';
import type { Credentials, CredentialsHolder } from '../pki/credentials.ts';
import type { CallerIdentity } from '../protocol/server.ts';

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** Longer than any client of ours keeps an idle connection, so that the client and not the server closes it. */
const keepAliveMilliseconds = 75_000;

/** A TLS server that follows the renewal of its credentials. */
export function createTlsServer(
  handler: Handler,
  holder: CredentialsHolder,
  toOptions: (credentials: Credentials) => https.ServerOptions = serverTlsOptions,
): https.Server {
  const server = https.createServer({ ...toOptions(holder.current), keepAliveTimeout: keepAliveMilliseconds }, handler);
  followCredentials(server, holder, toOptions);
  return server;
}

/** Ends each connection when its peer's certificate ends. For servers that ask for one. */
export function endExpiredConnections(server: https.Server, clock: Clock): void {
  server.on('secureConnection', (socket) => endAtExpiry(socket, clock));
}

/** Who calls: a host or a user by its certificate, or root on this host by the local socket. @throws unauthenticated */
export function identifyCaller(request: IncomingMessage, options: { cluster: string; clock: Clock }): CallerIdentity {
  if (!(request.socket instanceof TLSSocket)) return { caller: 'operator', host: null };
  const identity = peerIdentity(request.socket, options);
  switch (identity.kind) {
    case 'host':
      return { caller: 'host', host: identity.id };
    case 'user':
      return { caller: 'user', host: null, user: identity.id };
    case 'name-server':
      throw new SupercargoError('unauthenticated', 'The name server calls nobody.');
  }
}

/** @throws wrong-state if the port is taken, with the port's number */
export function listenOnPort(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        error.code === 'EADDRINUSE'
          ? new SupercargoError('wrong-state', `Port ${port} is in use.`, {
              hint: 'Is Supercargo running already? supercargo down stops it; --address HOST:PORT chooses another port.',
            })
          : error,
      ),
    );
    server.listen(port, () => resolve());
  });
}

/** A local socket for root only. One left by a killed process is replaced: a living one would hold its store's lock. */
export async function listenLocally(handler: Handler, path: string): Promise<Server> {
  const server = http.createServer({ keepAliveTimeout: keepAliveMilliseconds }, handler);
  await rm(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    // The file is made before listen returns: only that moment is under the narrow mask, nothing else that runs meanwhile.
    const umask = process.umask(0o177);
    server.listen(path, () => resolve());
    process.umask(umask);
  });
  await chmod(path, 0o600);
  return server;
}

/** Stops accepting and cuts what is open; everything that was promised is durable already. */
export function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
