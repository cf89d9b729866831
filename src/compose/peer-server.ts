import { ServerResponse } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type https from 'node:https';
import type { Socket } from 'node:net';
import type { StreamSink, TransferServer } from '../agent/transfer-server.ts';
import type { Log } from '../agent/context.ts';
import type { Denial } from '../model/access.ts';
import { SupercargoError, toSupercargoError } from '../model/errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { CredentialsHolder } from '../pki/credentials.ts';
import type { LiveConnections } from '../pki/live-connections.ts';
import { FrameWriter, framedProtocol } from '../protocol/framing.ts';
import { parseSnapshotStreamPath, peerRoutes, ticketHeader } from '../protocol/peer-routes.ts';
import { problemMediaType, toProblem } from '../protocol/problem.ts';
import { createServer } from '../protocol/server.ts';
import { closeServer, createTlsServer, identifyCaller, watchConnections } from './listeners.ts';

export interface PeerServer {
  server: https.Server;
  /** Cuts what is open, transfers included. */
  close(): Promise<void>;
}

interface PeerServerOptions {
  transfers: TransferServer;
  /** Sees each answer before a stream is written to it: for fault injection. */
  onStream: (sink: StreamSink) => void;
  holder: CredentialsHolder;
  cluster: string;
  /** All of this process. */
  connections: LiveConnections;
  denials: () => Iterable<Denial>;
  clock: Clock;
  version: string;
  log: Log;
}

/** The port on which agents fetch data from each other. */
export async function createPeerServer(options: PeerServerOptions): Promise<PeerServer> {
  const application = await createServer({
    routes: peerRoutes,
    handlers: options.transfers.handlers(),
    identify: (request) => identifyCaller(request, options),
    serverFactory: (handler) => {
      const server = createTlsServer(handler, options.holder);
      watchConnections(server, options.clock, options.connections);
      return server;
    },
    onDefect: (error) => options.log.error({ error: String(error) }, 'defect in the agent'),
    version: options.version,
  });
  const server = application.server as https.Server;
  const taken = new Set<Socket>();
  server.on('upgrade', (request: IncomingMessage, socket: Socket) => {
    taken.add(socket);
    socket.once('close', () => taken.delete(socket));
    socket.on('error', () => undefined);
    answerStream(request, socket, options).catch((error: unknown) => refuse(request, socket, error));
  });
  const close = async (): Promise<void> => {
    for (const socket of taken) socket.destroy();
    await closeServer(server);
  };
  return { server, close };
}

async function answerStream(request: IncomingMessage, socket: Socket, options: PeerServerOptions): Promise<void> {
  const caller = identifyCaller(request, options);
  const wanted = parseSnapshotStreamPath(request.url ?? '');
  if (wanted === null || request.method !== 'GET' || request.headers.upgrade !== framedProtocol)
    throw new SupercargoError('not-found', `There is no stream ${request.url}.`);
  const sink = new FrameWriter(socket);
  options.onStream(sink);
  await options.transfers.stream({ ...wanted, ticket: String(request.headers[ticketHeader] ?? ''), caller }, sink);
}

/** Nothing has been answered yet: a stream that breaks later is no error here. */
function refuse(request: IncomingMessage, socket: Socket, error: unknown): void {
  const problem = toProblem(toSupercargoError(error));
  const response = new ServerResponse(request);
  response.assignSocket(socket);
  response.writeHead(problem.status, { 'content-type': problemMediaType, connection: 'close' });
  response.end(JSON.stringify(problem), () => socket.end());
}
