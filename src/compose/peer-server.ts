import type { ServerResponse } from 'node:http';
import type https from 'node:https';
import type { TransferServer } from '../agent/transfer-server.ts';
import type { Log } from '../agent/context.ts';
import type { Clock } from '../ports/clock.ts';
import type { CredentialsHolder } from '../pki/credentials.ts';
import { peerRoutes, ticketHeader } from '../protocol/peer-routes.ts';
import { createServer } from '../protocol/server.ts';
import { createTlsServer, endExpiredConnections, identifyCaller } from './listeners.ts';

/** The port on which agents fetch data from each other. */
export async function createPeerServer(options: {
  transfers: TransferServer;
  /** Sees each response before a stream is written to it: for fault injection. */
  onStream: (response: ServerResponse) => void;
  holder: CredentialsHolder;
  cluster: string;
  clock: Clock;
  version: string;
  log: Log;
}): Promise<https.Server> {
  const identify = (request: Parameters<typeof identifyCaller>[0]): ReturnType<typeof identifyCaller> => identifyCaller(request, options);
  const application = await createServer({
    routes: peerRoutes,
    handlers: options.transfers.handlers(),
    identify,
    serverFactory: (handler) => {
      const server = createTlsServer(handler, options.holder);
      endExpiredConnections(server, options.clock);
      return server;
    },
    onDefect: (error) => options.log.error({ error: String(error) }, 'defect in the agent'),
    version: options.version,
    raw: (app) =>
      app.get<{ Params: { snapshot: string }; Querystring: { base?: string; offset?: string } }>(
        '/v1/peer/snapshots/:snapshot',
        { schema: { hide: true } },
        async (request, reply) => {
          const { host } = identify(request.raw);
          const transfer = {
            ticket: String(request.headers[ticketHeader] ?? ''),
            caller: host,
            snapshot: request.params.snapshot,
            base: request.query.base ?? null,
            offset: Number(request.query.offset ?? '0'),
          };
          options.onStream(reply.raw);
          await options.transfers.stream(transfer, reply.raw);
          reply.hijack();
        },
      ),
  });
  return application.server as https.Server;
}
