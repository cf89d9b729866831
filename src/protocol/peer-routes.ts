import { z } from 'zod';
import { byteCount, identifier } from '../model/records.ts';
import { defineRoutes } from './route.ts';

/**
 * What agents offer each other, over TLS with both certificates. The transfer itself is a GET that takes its connection over (see `framing.ts`,
 * `snapshotStreamPath`), so it is not in this table.
 */
export const peerRoutes = defineRoutes({
  health: {
    method: 'GET',
    path: '/v1/peer/health',
    summary: 'Whether the agent answers.',
    callers: ['host'],
    response: z.object({ host: identifier }),
  },
  prepareRound: {
    method: 'POST',
    path: '/v1/peer/rounds',
    summary: 'Makes the next snapshot of a move, or finds the final one, and says how to get it.',
    callers: ['host'],
    body: z.strictObject({ ticket: z.string().max(8192), have: z.array(identifier).max(10_000) }),
    response: z.object({
      snapshot: identifier,
      base: identifier.nullable(),
      final: z.boolean(),
      estimatedBytes: byteCount,
    }),
  },
});
export type PeerRoutes = typeof peerRoutes;

/** GET; the ticket travels in a header, because addresses end up in logs. */
export function snapshotStreamPath(snapshot: string, base: string | null, offset: number): string {
  const query = new URLSearchParams({ offset: String(offset), ...(base === null ? {} : { base }) });
  return `/v1/peer/snapshots/${snapshot}?${query.toString()}`;
}

/** The other way; null if it is the path of something else. */
export function parseSnapshotStreamPath(path: string): { snapshot: string; base: string | null; offset: number } | null {
  const { pathname, searchParams } = new URL(path, 'http://localhost');
  const snapshot = /^\/v1\/peer\/snapshots\/([^/]+)$/.exec(pathname)?.[1];
  return snapshot === undefined ? null : { snapshot, base: searchParams.get('base'), offset: Number(searchParams.get('offset') ?? '0') };
}

export const ticketHeader = 'supercargo-ticket';
/** Trailers of a stream: length in bytes and digest (see `stream-digest.ts`) of the whole stream from its first byte, whatever the offset. */
export const lengthTrailer = 'supercargo-length';
export const digestTrailer = 'supercargo-digest';
