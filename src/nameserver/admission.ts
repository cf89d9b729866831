import { denialRecord } from '../model/access.ts';
import { requireUndenied } from '../model/deny-list.ts';
import { SupercargoError } from '../model/errors.ts';
import { routes } from '../protocol/routes.ts';
import type { Routes } from '../protocol/routes.ts';
import type { Handlers, RequestContext } from '../protocol/server.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './repository.ts';

type Call = (input: unknown, request: RequestContext) => Promise<unknown>;
type Stream = (input: unknown, request: RequestContext) => AsyncIterable<unknown>;

/**
 * The handlers, for hosts that belong to the cluster and are not denied: one that was removed still has a valid certificate, but is refused whatever it
 * calls, and what it is being told ends at its removal; so do, with their connections, streams of one that is denied. A machine that joins anew gets a new identifier, also under its old name, and so inherits nothing.
 */
export function admitMembers(context: NameServerContext, handlers: Handlers<Routes>): Handlers<Routes> {
  const admitted = Object.entries(handlers).map(([name, handler]) => {
    const isStream = 'stream' in routes[name as keyof Routes];
    return [name, isStream ? admitToStream(context, handler as Stream) : admitToCall(context, handler as unknown as Call)];
  });
  return Object.fromEntries(admitted) as Handlers<Routes>;
}

function admitToCall(context: NameServerContext, call: Call): Call {
  return async (input, request) => {
    if (request.host !== null && (await context.store.get(keys.host(request.host))) === undefined) throw removed();
    await refuseDenied(context, request);
    return call(input, request);
  };
}

/** @throws forbidden */
async function refuseDenied({ repository }: NameServerContext, { host, certificate }: RequestContext): Promise<void> {
  if (host !== null) requireUndenied(await repository.list(keys.denials, denialRecord), { host, certificate: certificate ?? '' });
}

function admitToStream(context: NameServerContext, stream: Stream): Stream {
  const { store } = context;
  return async function* (input, request) {
    if (request.host === null) {
      yield* stream(input, request);
      return;
    }
    const key = keys.host(request.host);
    const { entries, revision } = await store.list(key);
    if (entries.length === 0) throw removed();
    await refuseDenied(context, request);
    const end = new AbortController();
    const signal = AbortSignal.any([request.signal, end.signal]);
    const watching = isDeleted(store.watch(key, revision, signal), key).then((deleted) => {
      end.abort();
      return deleted;
    });
    // A rejection is delivered by the await below.
    watching.catch(() => end.abort());
    try {
      yield* stream(input, { ...request, signal });
    } finally {
      end.abort();
    }
    if (await watching) throw removed();
  };
}

/** Whether the key was deleted before the changes end. */
async function isDeleted(changes: AsyncIterable<{ key: string; value: unknown }[]>, key: string): Promise<boolean> {
  for await (const batch of changes) if (batch.some((change) => change.key === key && change.value === undefined)) return true;
  return false;
}

function removed(): SupercargoError {
  return new SupercargoError('forbidden', 'This host does not belong to the cluster: it never joined, or was removed.', {
    hint: 'To use it, let it join anew: supercargo invite on the first host, then supercargo join here.',
  });
}
