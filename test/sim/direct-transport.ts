import type { IncomingMessage, ServerResponse } from 'node:http';
import { PassThrough, Readable } from 'node:stream';
import { SupercargoError, toSupercargoError } from '../../src/model/errors.ts';
import type { ErrorCode } from '../../src/model/errors.ts';
import type { Clock } from '../../src/ports/clock.ts';
import { toProblem } from '../../src/protocol/problem.ts';
import type { Route } from '../../src/protocol/route.ts';
import type { RequestContext } from '../../src/protocol/server.ts';
import type { Transport, TransportRequest } from '../../src/protocol/transport.ts';
import type { Incarnation } from './incarnation.ts';

/** What the network does to one request. */
export type Fault = 'none' | 'refuse' | 'lose-answer' | 'duplicate' | 'lose-trailers' | { cutAfterBytes: number } | { corruptByte: number };

/** The process at the other end, as long as it lives. */
export interface Served {
  incarnation: Incarnation;
  table: Record<string, Route>;
  handlers: Record<string, unknown>;
  /** Answers requests that are no route of the table; undefined if there are none such. */
  raw?: (request: TransportRequest, caller: string, response: ServerResponse) => Promise<void>;
}

/** How long it takes to notice that an answer was lost. */
const lossMilliseconds = 5;

export interface DirectTransportOptions {
  /** The caller's host identifier, or null for the operator. */
  caller: string | null;
  clock: Clock;
  /** Code and words of the error when nobody answers. */
  unreachable: { code: ErrorCode; message: string };
  /** undefined while the other process does not run. */
  target: () => Served | undefined;
  fault: (request: TransportRequest) => Fault;
  /** What the way there and the way back are like. */
  way?: Way;
}

/** Both directions between two processes; a gate is null while things pass. */
export interface Way {
  there: () => Promise<void> | null;
  back: () => Promise<void> | null;
  /** How long a message takes. Milliseconds. */
  delay: (message: string) => number;
  /** While the caller is stopped it takes nothing in. */
  caller: () => Promise<void> | null;
}

const openWay: Way = { there: () => null, back: () => null, delay: () => 0, caller: () => null };

/** Carries requests by function call: the same routes, schemas and errors as over a socket, without one. The network's faults are asked for at each request. */
export function directTransport(options: DirectTransportOptions): Transport {
  const unreachable = (cause: unknown): SupercargoError => new SupercargoError(options.unreachable.code, options.unreachable.message, { cause });
  const send = (request: TransportRequest): Promise<IncomingMessage> => carry(options, request);
  return { request: send, stream: send, unreachable, close: () => undefined };
}

async function carry(options: DirectTransportOptions, request: TransportRequest): Promise<IncomingMessage> {
  const fault = options.fault(request);
  const target = options.target();
  if (fault === 'refuse' || target === undefined || !target.incarnation.alive) throw lost(options);
  request.signal?.throwIfAborted();
  const settled = new AbortController();
  const gaveUp =
    request.timeoutMilliseconds === undefined
      ? []
      : [options.clock.sleep(request.timeoutMilliseconds, settled.signal).then(() => Promise.reject(lost(options)))];
  for (const each of gaveUp) each.catch(() => undefined);
  try {
    const answer = exchange(options, request, fault, settled.signal);
    // Whoever gives up leaves an answer behind that nobody reads.
    answer.then(
      (response) => settled.signal.reason === 'given up' && response.destroy(),
      () => undefined,
    );
    return await Promise.race([answer, aborted(request.signal, settled.signal), ...gaveUp]);
  } catch (error) {
    settled.abort('given up');
    throw error;
  } finally {
    settled.abort();
  }
}

/** The way of a request there and of its answer back. What has left is on its way, whether or not anybody still waits for it. */
async function exchange(options: DirectTransportOptions, request: TransportRequest, fault: Fault, settled: AbortSignal): Promise<IncomingMessage> {
  const { way = openWay, clock } = options;
  for (let gate = way.there(); gate !== null; gate = way.there()) await gate;
  if (settled.aborted) throw lost(options);
  await delayed(clock, way.delay(`there ${request.path}`));
  const target = options.target();
  if (target === undefined || !target.incarnation.alive) throw lost(options);
  const died = target.incarnation.died.catch(() => Promise.reject(lost(options)));
  const { gate: stopped } = target.incarnation;
  if (stopped !== null) await Promise.race([stopped, died]);
  let response = await Promise.race([serve(options, target, request, fault), died]);
  if (fault === 'duplicate') {
    response.destroy();
    response = await Promise.race([serve(options, target, request, fault), died]);
  }
  await delayed(clock, way.delay(`back ${request.path}`));
  for (let gate = way.back(); gate !== null; gate = way.back()) await gate;
  if (fault !== 'lose-answer') return response;
  response.destroy();
  await delayed(clock, lossMilliseconds);
  throw lost(options);
}

async function delayed(clock: Clock, milliseconds: number): Promise<void> {
  if (milliseconds > 0) await clock.sleep(milliseconds);
}

/** What a stream has to pass before its reader sees the next part of it; null if it passes. */
function gateOf({ way = openWay }: DirectTransportOptions, target: Served): Promise<void> | null {
  return target.incarnation.gate ?? way.back() ?? way.caller();
}

function lost({ unreachable }: DirectTransportOptions, cause?: unknown): SupercargoError {
  return new SupercargoError(unreachable.code, unreachable.message, { cause });
}

function aborted(signal: AbortSignal | undefined, done: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true, signal: done });
  });
}

async function serve(options: DirectTransportOptions, target: Served, request: TransportRequest, fault: Fault): Promise<IncomingMessage> {
  try {
    const found = findRoute(target.table, request);
    if (found !== undefined) return await callHandler(options, target, request, found);
    if (target.raw === undefined || options.caller === null) throw new SupercargoError('not-found', `There is no ${request.path}.`);
    const response = new ByteStream(fault, () => gateOf(options, target));
    endWith(response, request.signal, target.incarnation);
    const head = response.headWritten();
    await Promise.race([head, target.raw(request, options.caller, response as unknown as ServerResponse).then(() => head)]);
    return response as unknown as IncomingMessage;
  } catch (error) {
    const problem = toProblem(toSupercargoError(error));
    return answerOf(Readable.from([JSON.stringify(problem)]), problem.status);
  }
}

interface FoundRoute {
  name: string;
  route: Route;
  parameters: Record<string, string>;
  query: Record<string, string>;
}

function findRoute(table: Record<string, Route>, request: TransportRequest): FoundRoute | undefined {
  const { pathname, searchParams } = new URL(request.path, 'http://localhost');
  const parts = pathname.split('/');
  for (const [name, route] of Object.entries(table)) {
    const pattern = route.path.split('/');
    if (route.method !== request.method || pattern.length !== parts.length) continue;
    if (!pattern.every((part, index) => part.startsWith(':') || part === parts[index])) continue;
    const named = pattern.flatMap((part, index) => (part.startsWith(':') ? [[part.slice(1), decodeURIComponent(parts[index] ?? '')] as const] : []));
    return { name, route, parameters: Object.fromEntries(named), query: Object.fromEntries(searchParams) };
  }
  return undefined;
}

async function callHandler(options: DirectTransportOptions, target: Served, request: TransportRequest, found: FoundRoute): Promise<IncomingMessage> {
  const { route, name } = found;
  const gone = new AbortController();
  const context: RequestContext = {
    caller: options.caller === null ? 'operator' : 'host',
    host: options.caller,
    certificate: null,
    signal: gone.signal,
    ifMatch: request.headers?.['if-match'],
    setEntityTag: () => undefined,
  };
  const input = {
    parameters: route.parameters?.parse(found.parameters),
    query: route.query?.parse(found.query),
    body: route.body?.parse(request.body === undefined ? undefined : JSON.parse(request.body)),
  };
  const handler = target.handlers[name] as (input: unknown, context: RequestContext) => unknown;
  if (!route.stream) return answerOf(Readable.from([JSON.stringify(await handler(input, context))]), 200);
  const lines = new PassThrough();
  lines.once('close', () => gone.abort(new Error('the client went away')));
  endWith(lines, request.signal, target.incarnation);
  void writeLines(handler(input, context) as AsyncIterable<unknown>, lines, () => gateOf(options, target));
  return answerOf(lines, 200);
}

type Gate = () => Promise<void> | null;

/** Not `Readable.from`: that cannot be destroyed while its generator waits, and the generator of a dead process waits for ever. */
async function writeLines(items: AsyncIterable<unknown>, lines: PassThrough, gate: Gate): Promise<void> {
  try {
    for await (const item of items) {
      for (let wait = gate(); wait !== null; wait = gate()) await wait;
      if (lines.destroyed) return;
      lines.write(`${JSON.stringify(item)}\n`);
    }
    lines.end();
  } catch (error) {
    lines.destroy(error as Error);
  }
}

/** Cuts a stream when its reader goes away or its writer dies. */
function endWith(stream: Readable, signal: AbortSignal | undefined, incarnation: Incarnation): void {
  const cut = (): void => void stream.destroy(new Error('the connection was cut'));
  const forget = incarnation.onDeath(cut);
  signal?.addEventListener('abort', cut, { once: true });
  stream.once('error', () => undefined);
  stream.once('close', () => {
    forget();
    signal?.removeEventListener('abort', cut);
  });
}

function answerOf(body: Readable, status: number): IncomingMessage {
  return Object.assign(body, { statusCode: status, headers: {}, trailers: {} }) as unknown as IncomingMessage;
}

/** Both ends of a raw answer in one object: what the server writes is what the client reads, faults included. */
class ByteStream extends PassThrough {
  statusCode = 200;
  readonly trailers: Record<string, string> = {};
  readonly #fault: Fault;
  readonly #head = Promise.withResolvers<void>();
  readonly #gate: Gate;
  #passed = 0;

  constructor(fault: Fault, gate: Gate) {
    super();
    this.#fault = fault;
    this.#gate = gate;
  }

  headWritten(): Promise<void> {
    return this.#head.promise;
  }

  writeHead(status: number): void {
    this.statusCode = status;
  }

  flushHeaders(): void {
    this.#head.resolve();
  }

  addTrailers(trailers: Record<string, string>): void {
    if (this.#fault !== 'lose-trailers') Object.assign(this.trailers, trailers);
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null, data?: Buffer) => void): void {
    const gate = this.#gate();
    if (gate !== null) {
      void gate.then(() => this._transform(chunk, _encoding, done));
      return;
    }
    const begin = this.#passed;
    this.#passed += chunk.length;
    const fault = this.#fault;
    if (typeof fault === 'object' && 'cutAfterBytes' in fault && this.#passed > fault.cutAfterBytes) {
      this.push(chunk.subarray(0, fault.cutAfterBytes - begin));
      setImmediate(() => this.destroy(new Error('connection reset')));
      return;
    }
    const hit = typeof fault === 'object' && 'corruptByte' in fault ? fault.corruptByte - begin : -1;
    if (hit < 0 || hit >= chunk.length) return done(null, chunk);
    const corrupt = Buffer.from(chunk);
    corrupt[hit] = (corrupt[hit] ?? 0) ^ 1;
    done(null, corrupt);
  }
}
