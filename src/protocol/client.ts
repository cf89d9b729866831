import type { IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { fromProblem } from './problem.ts';
import type { Route, RouteCall, RouteOutput } from './route.ts';
import { jsonLines } from './streams.ts';
import type { Transport } from './transport.ts';

export interface CallOptions {
  signal?: AbortSignal;
  /** Default 10 s; a stream has none after its first byte. Milliseconds. */
  timeoutMilliseconds?: number;
  /** Only if the object still has this ETag. */
  ifMatch?: string;
}

type StreamKeys<Table> = { [K in keyof Table]: Table[K] extends { stream: true } ? K : never }[keyof Table];

/** A method for each route of the table, named after it. */
export type Client<Table extends Record<string, Route>> = {
  [K in Exclude<keyof Table, StreamKeys<Table>>]: (input: RouteCall<Table[K]>, options?: CallOptions) => Promise<RouteOutput<Table[K]>>;
} & {
  [K in StreamKeys<Table>]: (input: RouteCall<Table[K]>, options?: CallOptions) => AsyncIterable<RouteOutput<Table[K]>>;
};

type Scalar = string | number | boolean;

interface AnyInput {
  parameters?: Record<string, Scalar> | undefined;
  query?: Record<string, Scalar | undefined> | undefined;
  body?: unknown;
}

const defaultTimeoutMilliseconds = 10_000;

/** Makes the typed client of a route table. Errors of the other side arrive as SupercargoError with their code. */
export function createClient<Table extends Record<string, Route>>(table: Table, transport: Transport): Client<Table> {
  const methods: Record<string, unknown> = {};
  for (const [name, route] of Object.entries(table)) {
    methods[name] = route.stream
      ? (input: AnyInput, options: CallOptions = {}) => streamCall(transport, route, input, options)
      : (input: AnyInput, options: CallOptions = {}) => call(transport, route, input, options);
  }
  return methods as Client<Table>;
}

async function call(transport: Transport, route: Route, input: AnyInput, options: CallOptions): Promise<unknown> {
  const response = await open(transport, route, input, options);
  return route.response.parse(JSON.parse(await bodyOf(transport, response, options)));
}

async function* streamCall(transport: Transport, route: Route, input: AnyInput, options: CallOptions): AsyncGenerator {
  const response = await open(transport, route, input, options);
  try {
    for await (const line of jsonLines(response)) {
      if (line !== '') yield route.response.parse(JSON.parse(line));
    }
  } finally {
    response.destroy();
  }
}

async function open(transport: Transport, route: Route, input: AnyInput, options: CallOptions): Promise<IncomingMessage> {
  const response = await transport.request({
    method: route.method,
    path: requestPath(route, input),
    ...(input.body === undefined ? {} : { body: JSON.stringify(input.body) }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...(options.ifMatch === undefined ? {} : { headers: { 'if-match': options.ifMatch } }),
    timeoutMilliseconds: options.timeoutMilliseconds ?? defaultTimeoutMilliseconds,
  });
  const status = response.statusCode ?? 500;
  if (status >= 400) throw fromProblem(status, await bodyOf(transport, response, options));
  return response;
}

/** The whole body, within the time of the call. @throws the transport's word for a peer that stopped in the middle */
async function bodyOf(transport: Transport, response: IncomingMessage, options: CallOptions): Promise<string> {
  const timer = setTimeout(() => response.destroy(new Error('the answer broke off')), options.timeoutMilliseconds ?? defaultTimeoutMilliseconds);
  try {
    return await text(response);
  } catch (error) {
    options.signal?.throwIfAborted();
    throw transport.unreachable(error);
  } finally {
    clearTimeout(timer);
  }
}

function requestPath(route: Route, input: AnyInput): string {
  const path = route.path.replaceAll(/:(\w+)/g, (_, name: string) => encodeURIComponent(String(input.parameters?.[name] ?? '')));
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(input.query ?? {})) {
    if (value !== undefined) query.set(name, String(value));
  }
  return query.size === 0 ? path : `${path}?${query.toString()}`;
}
