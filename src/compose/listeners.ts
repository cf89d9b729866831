import { chmod, rm } from 'node:fs/promises';
import http from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import https from 'node:https';
import { TLSSocket } from 'node:tls';
import type { Denial } from '../model/access.ts';
import { requireUndenied } from '../model/deny-list.ts';
import { SupercargoError } from '../model/errors.ts';
import type { Clock } from '../ports/clock.ts';
import { bearerOf, LiveConnections } from '../pki/live-connections.ts';
import { endAtExpiry, peerIdentity } from '../pki/peer.ts';
import { followCredentials, serverTlsOptions } from '../pki/tls.ts';
import type { Credentials, CredentialsHolder } from '../pki/credentials.ts';
import { verifyCertificate } from '../pki/verification.ts';
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

/** What both ends of each connection go by while it lasts: the authorities of now, and the deny list. */
export function createConnections(options: { holder: CredentialsHolder; clock: Clock; denials: () => Iterable<Denial> }): LiveConnections {
  const { holder, clock, denials } = options;
  const connections = new LiveConnections((certificate) => {
    verifyCertificate(certificate, holder.current.authorities, clock);
    requireUndenied(denials(), bearerOf(certificate));
  });
  holder.onChange(() => connections.recheck());
  return connections;
}

/** Ends each connection when its peer's certificate ends, or counts no more. For servers that ask for one. */
export function watchConnections(server: https.Server, clock: Clock, connections: LiveConnections): void {
  server.on('secureConnection', (socket) => {
    endAtExpiry(socket, clock);
    connections.add(socket);
  });
}

/**
 * Who calls: a host by its certificate, or root on this host by the local socket.
 * @param options with the deny list, where nobody else looks at it
 * @throws unauthenticated, forbidden
 */
export function identifyCaller(
  request: IncomingMessage,
  options: { cluster: string; clock: Clock; denials?: () => Iterable<Denial> },
): CallerIdentity {
  if (!(request.socket instanceof TLSSocket)) return { caller: 'operator', host: null, certificate: null };
  const identity = peerIdentity(request.socket, options);
  if (identity.kind !== 'host') throw new SupercargoError('unauthenticated', 'Only hosts may connect here.');
  const bearer = { host: identity.id, certificate: request.socket.getPeerX509Certificate()?.serialNumber ?? '' };
  requireUndenied(options.denials?.() ?? [], bearer);
  return { caller: 'host', ...bearer };
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
