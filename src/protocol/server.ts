import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import swagger from '@fastify/swagger';
import fastify from 'fastify';
import type { FastifyInstance, FastifyReply, FastifyRequest, RawServerDefault } from 'fastify';
import { jsonSchemaTransform, serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import { SupercargoError, isSupercargoError, toSupercargoError } from '../model/errors.ts';
import { problem, problemMediaType, toProblem } from './problem.ts';
import { drained } from './streams.ts';
import type { Caller, Route, RouteInput, RouteOutput } from './route.ts';

/** Who is calling, as the listener that accepted the connection proved it. */
export interface CallerIdentity {
  caller: Caller;
  /** Host identifier of a `host`, otherwise null. */
  host: string | null;
  /** Serial number of the certificate that proved it, hexadecimal in capital letters; null if none did. */
  certificate: string | null;
}

export interface RequestContext extends CallerIdentity {
  /** Fires when the client went away. */
  signal: AbortSignal;
  /** The entity tag that the object must still have, without quotes; undefined if the client does not care. */
  ifMatch: string | undefined;
  /** Sets the entity tag of the answer. */
  setEntityTag(tag: string): void;
}

/** The handlers of a route table; those of streams are generators. */
export type Handlers<Table extends Record<string, Route>> = {
  [K in keyof Table]: Table[K] extends { stream: true }
    ? (input: RouteInput<Table[K]>, context: RequestContext) => AsyncIterable<RouteOutput<Table[K]>>
    : (input: RouteInput<Table[K]>, context: RequestContext) => Promise<RouteOutput<Table[K]>>;
};

export interface ServerOptions<Table extends Record<string, Route>> {
  routes: Table;
  handlers: Handlers<Table>;
  /** Proves who is calling, from the connection. @throws unauthenticated */
  identify: (request: IncomingMessage) => CallerIdentity;
  /** Makes the bare server (plain or TLS) that the application listens on; further ones may pass their requests to `app.routing`. */
  serverFactory: (handler: (request: IncomingMessage, response: ServerResponse) => void) => Server;
  onDefect?: (error: unknown) => void;
  version: string;
}

/** Makes an HTTP application of a route table: validation, callers, problem+json, the OpenAPI document at /v1/openapi.json. */
export async function createServer<Table extends Record<string, Route>>(options: ServerOptions<Table>): Promise<FastifyInstance> {
  const app = fastify<RawServerDefault>({
    serverFactory: options.serverFactory,
    bodyLimit: 1024 * 1024,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 512 },
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.setErrorHandler((error, _request, reply) => sendProblem(reply, asSupercargoError(error), options.onDefect));
  app.setNotFoundHandler((request, reply) =>
    sendProblem(
      reply,
      new SupercargoError('not-found', `There is no ${request.method} ${request.url}.`, { hint: 'GET /v1/openapi.json lists what there is.' }),
    ),
  );
  await app.register(swagger, {
    openapi: { openapi: '3.1.0', info: { title: 'Supercargo', version: options.version, description: 'The data layer for containers.' } },
    transform: jsonSchemaTransform,
  });
  for (const [name, route] of Object.entries(options.routes)) {
    addRoute(app, name, route, options.handlers[name] as AnyHandler, options.identify);
  }
  app.get('/v1/openapi.json', { schema: { hide: true } }, async (request) => {
    options.identify(request.raw);
    return app.swagger();
  });
  await app.ready();
  return app;
}

type AnyHandler = (input: unknown, context: RequestContext) => Promise<unknown> | AsyncIterable<unknown>;

function addRoute(app: FastifyInstance, name: string, route: Route, handler: AnyHandler, identify: ServerOptions<never>['identify']): void {
  app.route({
    method: route.method,
    url: route.path,
    schema: {
      operationId: name,
      summary: route.summary,
      ...(route.parameters === undefined ? {} : { params: route.parameters }),
      ...(route.query === undefined ? {} : { querystring: route.query }),
      ...(route.body === undefined ? {} : { body: route.body }),
      response: { 200: route.response, default: problem },
    } as never,
    onRequest: async (request) => {
      const identity = identify(request.raw);
      if (!route.callers.includes(identity.caller)) {
        throw new SupercargoError('forbidden', `A ${identity.caller} may not call ${route.method} ${route.path}.`, {
          hint: route.callers.includes('operator')
            ? 'Run it as root on the host that runs the name server.'
            : 'This call is for other parts of Supercargo.',
        });
      }
    },
    handler: async (request, reply) => {
      const context = makeContext(request, reply, identify(request.raw));
      const input = { parameters: request.params, query: request.query, body: request.body };
      if (!route.stream) return (handler(input, context) as Promise<unknown>).then((answer) => reply.send(answer));
      reply.hijack();
      await streamLines(reply, handler(input, context) as AsyncIterable<unknown>);
      return reply;
    },
  });
}

function makeContext(request: FastifyRequest, reply: FastifyReply, identity: CallerIdentity): RequestContext {
  const controller = new AbortController();
  reply.raw.once('close', () => controller.abort(new Error('the client went away')));
  const ifMatch = request.headers['if-match'];
  return {
    ...identity,
    signal: controller.signal,
    ifMatch: ifMatch === undefined || ifMatch === '*' ? undefined : ifMatch.replaceAll(/^(?:W\/)?"|"$/g, ''),
    setEntityTag: (tag) => void reply.header('etag', `"${tag}"`),
  };
}

async function streamLines(reply: FastifyReply, lines: AsyncIterable<unknown>): Promise<void> {
  const { raw } = reply;
  raw.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
  raw.flushHeaders();
  try {
    for await (const line of lines) {
      if (raw.destroyed) return;
      if (!raw.write(`${JSON.stringify(line)}\n`)) await drained(raw);
    }
    raw.end();
  } catch {
    // The head is sent, so the only honest answer left is a broken connection: the client asks again from the start.
    raw.destroy();
  }
}

function asSupercargoError(error: unknown): SupercargoError {
  if (isSupercargoError(error)) return error;
  const { statusCode, message, validation } = error as {
    statusCode?: number;
    message?: string;
    validation?: { instancePath?: string; message?: string }[];
  };
  if (validation !== undefined) {
    const words = validation.map((each) => `${(each.instancePath ?? '').replace(/^\//, '') || 'body'}: ${each.message}`).join('; ');
    return new SupercargoError('invalid-request', `The request is not valid: ${words}`, { hint: 'GET /v1/openapi.json shows what is expected.' });
  }
  if (statusCode !== undefined && statusCode < 500) return new SupercargoError('invalid-request', message ?? 'The request is not valid.');
  return toSupercargoError(error);
}

function sendProblem(reply: FastifyReply, error: SupercargoError, onDefect?: (error: unknown) => void): void {
  if (error.code === 'internal') onDefect?.(error);
  void reply
    .code(error.status)
    .type(problemMediaType)
    .serializer((payload: unknown) => JSON.stringify(payload))
    .send(toProblem(error));
}
