import type { z } from 'zod';

/**
 * One route of the API, as data. The same table makes the server's validation, the OpenAPI document and the typed client, so they
 * cannot disagree. `callers` says who may call it at all: `operator` (root on a host, by a local socket), `user` (a person, by a certificate: calls what an `operator` may, as far as its role goes), `host` (an agent, by its
 * certificate), `guest` (somebody who holds a join token).
 */
export interface Route {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  path: string;
  summary: string;
  callers: readonly Caller[];
  parameters?: z.ZodObject;
  query?: z.ZodObject;
  body?: z.ZodType;
  response: z.ZodType;
  /** The answer is a stream of JSON lines, each of the response's type. */
  stream?: true;
}

export type Caller = 'operator' | 'user' | 'host' | 'guest';

export function defineRoutes<const Table extends Record<string, Route>>(table: Table): Table {
  return table;
}

type Parsed<Schema> = Schema extends z.ZodType ? z.output<Schema> : undefined;
type Given<Schema> = Schema extends z.ZodType ? z.input<Schema> : undefined;
type Member<Key extends string, Value> = [Value] extends [undefined] ? { [K in Key]?: undefined } : { [K in Key]: Value };

/** What a handler of the route receives after validation. */
export type RouteInput<R extends Route> = Member<'parameters', Parsed<R['parameters']>> &
  Member<'query', Parsed<R['query']>> &
  Member<'body', Parsed<R['body']>>;

/** What a client passes. */
export type RouteCall<R extends Route> = Member<'parameters', Given<R['parameters']>> &
  Member<'query', Given<R['query']>> &
  Member<'body', Given<R['body']>>;

export type RouteOutput<R extends Route> = z.output<R['response']>;
