import http from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { SupercargoError, toSupercargoError } from '../model/errors.ts';
import type { VolumeVerbs } from '../ports/volume-verbs.ts';
import { Authorization } from './authorization.ts';
import type { AuthorizationOptions } from './authorization.ts';
import { NoAnswer, pluginCalls } from './calls.ts';
import type { Answer, Call } from './calls.ts';
import { parseDocument, readBody } from './request.ts';

/** What the plugin says about its work; a pino logger fits. */
export interface PluginLog {
  debug(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
  error(fields: Record<string, unknown>, message: string): void;
}

export interface DockerPluginOptions extends AuthorizationOptions {
  verbs: VolumeVerbs;
  log: PluginLog;
}

/** Makes the server that container engines speak the volume-plugin protocol with; `listenOnPluginSocket` opens it. */
export function createDockerPlugin({ verbs, log, ...authorization }: DockerPluginOptions): Server {
  const calls = pluginCalls(verbs, new Authorization(authorization));
  const server: Server = http.createServer(
    {
      // Engines keep idle connections for ever, some before their first byte. If we closed one as the engine begins to write, it would repeat
      // the call with an empty body. The socket is root's alone, so slow clients need no limit.
      keepAliveTimeout: 0,
      headersTimeout: 0,
      requestTimeout: 0,
      requireHostHeader: false,
    },
    (request, response) => void exchange(request, response),
  );
  return server;

  async function exchange(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const delivery = watchDelivery(response);
    const path = request.url ?? '';
    const outcome = await perform(calls, request, delivery.signal);
    if (outcome.error !== undefined) logFailure(path, outcome.error);
    else log.debug({ call: path }, 'answered');
    if (outcome.answer === undefined) return void response.destroy();
    send(response, outcome.status, outcome.answer.document, server.listening);
    const delivered = await delivery.done;
    try {
      await outcome.answer.settled?.(delivered);
    } catch (error) {
      log.error({ call: path, error: toSupercargoError(error).toText() }, 'could not clean up after a call');
    }
  }

  function logFailure(path: string, error: unknown): void {
    const { code, message } = toSupercargoError(error);
    if (code === 'internal' && !(error instanceof NoAnswer)) log.error({ call: path, code, error }, message);
    else log.warn({ call: path, code }, message);
  }
}

interface Outcome {
  status: number;
  /** Undefined: the connection is closed without one. */
  answer: Answer | undefined;
  error?: unknown;
}

async function perform(calls: ReadonlyMap<string, Call>, request: IncomingMessage, signal: AbortSignal): Promise<Outcome> {
  try {
    const document = parseDocument(await readBody(request));
    const call = calls.get(request.url ?? '');
    if (call === undefined || request.method !== 'POST') {
      throw new SupercargoError('not-found', `There is no call ${request.method} ${request.url}.`);
    }
    return { status: 200, answer: await call(document, signal) };
  } catch (error) {
    if (error instanceof NoAnswer) return { status: 0, answer: undefined, error };
    const failure = toSupercargoError(error);
    // The status must not be 200, because one engine then overlooks the text; which one it is matters to none.
    const status = failure.code === 'not-found' ? 404 : 500;
    return { status, answer: { document: { Err: failure.toText() } }, error };
  }
}

/** Whether the answer goes out: `signal` fires when the client hangs up before, `done` tells how it ended. */
function watchDelivery(response: ServerResponse): { signal: AbortSignal; done: Promise<boolean> } {
  const controller = new AbortController();
  let finished = false;
  response.once('finish', () => {
    finished = true;
  });
  const done = new Promise<boolean>((resolve) => {
    response.once('close', () => {
      if (!finished) controller.abort(new Error('the container engine closed the connection'));
      resolve(finished);
    });
  });
  return { signal: controller.signal, done };
}

function send(response: ServerResponse, status: number, document: object, keepAlive: boolean): void {
  const body = JSON.stringify(document);
  response.writeHead(status, {
    'content-type': 'application/vnd.docker.plugins.v1.2+json',
    'content-length': Buffer.byteLength(body),
    ...(keepAlive ? {} : { connection: 'close' }),
  });
  response.end(body);
}
