import { pipeline } from 'node:stream';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { toSupercargoError } from '../model/errors.ts';
import { localRoutes } from '../protocol/local-routes.ts';
import { problemMediaType, toProblem } from '../protocol/problem.ts';
import type { Handlers } from '../protocol/server.ts';
import { createServer } from '../protocol/server.ts';
import { readText } from '../protocol/streams.ts';
import type { Transport } from '../protocol/transport.ts';
import { listenLocally } from './listeners.ts';

const localPrefix = '/v1/local/';
/** A removal takes as long as its holder needs to answer. Milliseconds. */
const answerMilliseconds = 60_000;
/** The name server takes no more either. */
const maximumBodyBytes = 1024 * 1024;

/** Root's door on a host: the agent's own status; everything else goes on to the name server in the host's name. */
export async function listenForOperator(options: {
  socketPath: string;
  handlers: Handlers<typeof localRoutes>;
  nameServer: Transport;
  version: string;
}): Promise<Server> {
  let own: (request: IncomingMessage, response: ServerResponse) => void = () => undefined;
  const server = await listenLocally((request, response) => {
    if (request.url?.startsWith(localPrefix) === true) own(request, response);
    else void passOn(options.nameServer, request, response);
  }, options.socketPath);
  const application = await createServer({
    routes: localRoutes,
    handlers: options.handlers,
    identify: () => ({ caller: 'operator', host: null, certificate: null }),
    serverFactory: () => server,
    version: options.version,
  });
  own = (request, response) => application.routing(request, response);
  return server;
}

async function passOn(nameServer: Transport, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const gone = new AbortController();
  response.once('close', () => gone.abort(new Error('the client went away')));
  try {
    const body = await readText(request, maximumBodyBytes);
    const ifMatch = request.headers['if-match'];
    const answer = await nameServer.request({
      method: request.method ?? 'GET',
      path: request.url ?? '/',
      ...(body === '' ? {} : { body }),
      ...(ifMatch === undefined ? {} : { headers: { 'if-match': ifMatch } }),
      signal: gone.signal,
      timeoutMilliseconds: answerMilliseconds,
    });
    const { 'content-type': contentType = 'application/json', etag } = answer.headers;
    response.writeHead(answer.statusCode ?? 500, { 'content-type': contentType, ...(etag === undefined ? {} : { etag }) });
    response.flushHeaders();
    pipeline(answer, response, () => undefined);
  } catch (error) {
    if (gone.signal.aborted) return;
    const failure = toSupercargoError(error);
    response.writeHead(failure.status, { 'content-type': problemMediaType });
    response.end(JSON.stringify(toProblem(failure)));
  }
}
