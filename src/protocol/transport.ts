import http from 'node:http';
import https from 'node:https';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { SupercargoError } from '../model/errors.ts';
import type { ErrorCode } from '../model/errors.ts';
import { FrameReader, framedProtocol } from './framing.ts';

/** Carries one request to one peer. The address and the proof of who we are belong to the transport, not to the request. */
export interface Transport {
  request(request: TransportRequest): Promise<IncomingMessage>;
  /** For an answer of many bytes, which takes its connection over (see framing.ts). A refusal is an answer as to any request. */
  stream(request: TransportRequest): Promise<StreamedAnswer>;
  /** The error that says that this peer stopped answering, for what breaks after the head of an answer. */
  unreachable(cause: unknown): SupercargoError;
  close(): void;
}

/** Whoever reads it owns its chunks. The trailers are there at its end. */
export type StreamedAnswer = Readable & Pick<IncomingMessage, 'statusCode' | 'trailers'>;

export interface TransportRequest {
  method: string;
  path: string;
  headers?: Record<string, string>;
  body?: string;
  signal?: AbortSignal;
  /** Time until the first byte of the answer, in milliseconds; none for no limit. */
  timeoutMilliseconds?: number;
}

interface Peer {
  /** For messages: "the name server at 10.0.0.1:7470". */
  title: string;
  /** The code of the error when it does not answer. */
  unreachable: ErrorCode;
  hint: string;
  /** Told of each connection that is opened. */
  onConnection?: (socket: Socket) => void;
}

/** Speaks to a local socket. */
export function unixTransport(socketPath: string, peer: Peer): Transport {
  const agent = new http.Agent({ keepAlive: true });
  const open: Open = (options) => http.request({ ...options, agent, socketPath, host: 'localhost' });
  return {
    request: (request) => send(peer, request, open) as Promise<IncomingMessage>,
    stream: (request) => send(peer, framed(request), open),
    unreachable: (cause) => unreachableError(peer, cause),
    close: () => agent.destroy(),
  };
}

/**
 * Speaks TLS to `host:port`. The TLS options are asked for at each new connection, so that a renewed certificate is used at once.
 */
export function tlsTransport(address: string, tlsOptions: () => https.RequestOptions, peer: Peer): Transport {
  const { host, port } = splitAddress(address);
  const agent = new https.Agent({ keepAlive: true, maxCachedSessions: 0 });
  const open: Open = (options) => {
    const request = https.request({ ...options, ...tlsOptions(), agent, host, port });
    return request.on('socket', (socket) => peer.onConnection?.(socket));
  };
  return {
    request: (request) => send(peer, request, open) as Promise<IncomingMessage>,
    stream: (request) => send(peer, framed(request), open),
    unreachable: (cause) => unreachableError(peer, cause),
    close: () => agent.destroy(),
  };
}

/** @throws invalid-request if it is not host:port */
export function splitAddress(address: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(address);
  const host = match?.[1] ?? match?.[2];
  if (host === undefined || Number(match?.[3]) > 65_535) {
    throw new SupercargoError('invalid-request', `"${address}" is not an address.`, { hint: 'Write host:port, for example 10.0.0.1:7470.' });
  }
  return { host, port: Number(match?.[3]) };
}

type Open = (options: http.RequestOptions) => http.ClientRequest;

function framed(request: TransportRequest): TransportRequest {
  return { ...request, headers: { ...request.headers, connection: 'upgrade', upgrade: framedProtocol } };
}

function send(peer: Peer, request: TransportRequest, open: Open, again = true): Promise<StreamedAnswer> {
  return new Promise((resolve, reject) => {
    const outgoing = open({
      method: request.method,
      path: request.path,
      headers: {
        ...(request.body === undefined ? {} : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(request.body)) }),
        ...request.headers,
      },
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    });
    const timer =
      request.timeoutMilliseconds === undefined
        ? undefined
        : setTimeout(() => outgoing.destroy(new Error(`no answer within ${request.timeoutMilliseconds} ms`)), request.timeoutMilliseconds);
    let responded = false;
    outgoing.on('response', (response) => {
      responded = true;
      clearTimeout(timer);
      resolve(response);
    });
    outgoing.on('upgrade', (_response, socket, head) => {
      responded = true;
      clearTimeout(timer);
      const answer = new FrameReader(socket, head);
      const giveUp = (): void => void answer.destroy(request.signal?.reason as Error);
      request.signal?.addEventListener('abort', giveUp, { once: true });
      answer.once('close', () => request.signal?.removeEventListener('abort', giveUp));
      resolve(answer);
    });
    outgoing.on('error', (error) => {
      clearTimeout(timer);
      // What breaks after the head concerns the reader of the body, who is told by the body itself.
      if (responded) return;
      if (request.signal?.aborted) reject(request.signal.reason as Error);
      // A connection kept from before may have been closed by a restart of the other side. Every call can be repeated.
      else if (again && outgoing.reusedSocket) resolve(send(peer, request, open, false));
      else reject(unreachableError(peer, error));
    });
    outgoing.end(request.body);
  });
}

function unreachableError(peer: Peer, cause: unknown): SupercargoError {
  const words = cause instanceof Error ? cause.message : String(cause);
  return new SupercargoError(peer.unreachable, `${peer.title} does not answer: ${words}`, { hint: peer.hint, cause });
}
