import { denialRecord } from '../model/access.ts';
import { requireUndenied } from '../model/deny-list.ts';
import { SupercargoError } from '../model/errors.ts';
import { routes } from '../protocol/routes.ts';
import type { Routes } from '../protocol/routes.ts';
import type { Handlers, RequestContext } from '../protocol/server.ts';
import { requireKnown, toldToHost } from './host-access.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import { requireRight, visibleTo } from './user-access.ts';

type Call = (input: unknown, request: RequestContext) => Promise<unknown>;
type Stream = (input: unknown, request: RequestContext) => AsyncIterable<unknown>;

/**
 * The handlers, for members of the cluster that are not denied: a host or user that was removed still has a valid certificate, but is refused whatever it
 * calls, and what it is being told ends at its removal; so do, with their connections, streams of one that is denied. A machine that joins anew gets a new
 * identifier, also under its old name, and so inherits nothing.
 */
export function admitMembers(context: NameServerContext, handlers: Handlers<Routes>): Handlers<Routes> {
  const admitted = Object.entries(handlers).map(([name, handler]) => {
    const route = name as keyof Routes;
    const isStream = 'stream' in routes[route];
    return [name, isStream ? admitToStream(context, route, handler as Stream) : admitToCall(context, route, handler as unknown as Call)];
  });
  return Object.fromEntries(admitted) as Handlers<Routes>;
}

/** The record by which the caller belongs to the cluster; null for one that needs none. */
function memberKey({ host, user }: RequestContext): string | null {
  if (user !== undefined) return keys.user(user);
  return host === null ? null : keys.host(host);
}

function admitToCall(context: NameServerContext, route: keyof Routes, call: Call): Call {
  return async (input, request) => {
    if (request.host !== null && (await context.store.get(keys.host(request.host))) === undefined) throw removed();
    await refuseDenied(context, request);
    if (request.user !== undefined) {
      const user = await requireRight(context, route, input, request);
      return visibleTo(context, user, route, await call(input, request));
    }
    if (request.host === null) return call(input, request);
    await requireKnown(context, route, input, request.host);
    return toldToHost(context, route, await call(input, request), request.host);
  };
}

/** @throws forbidden */
async function refuseDenied({ repository }: NameServerContext, { host, user, certificate }: RequestContext): Promise<void> {
  if (certificate === null && host === null && user === undefined) return;
  const bearer = { host, certificate: certificate ?? '', ...(user === undefined ? {} : { user }) };
  requireUndenied(await repository.list(keys.denials, denialRecord), bearer);
}

function admitToStream(context: NameServerContext, route: keyof Routes, stream: Stream): Stream {
  const { store } = context;
  return async function* (input, request) {
    const key = memberKey(request);
    if (key === null) {
      yield* stream(input, request);
      return;
    }
    const { entries, revision } = await store.list(key);
    if (entries.length === 0) throw removed();
    if (request.user !== undefined) await requireRight(context, route, input, request);
    await refuseDenied(context, request);
    if (request.host !== null) await requireKnown(context, route, input, request.host);
    const end = new AbortController();
    const signal = AbortSignal.any([request.signal, end.signal]);
    const watching = hasChanged(store.watch(key, revision, signal), key, request).then((changed) => {
      end.abort();
      return changed;
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

/** Whether, before the changes end, the member was removed; or a user's rights were changed, which then asks anew. */
async function hasChanged(changes: AsyncIterable<{ key: string; value: unknown }[]>, key: string, { user }: RequestContext): Promise<boolean> {
  for await (const batch of changes) {
    if (batch.some((change) => change.key === key && (user !== undefined || change.value === undefined))) return true;
  }
  return false;
}

function removed(): SupercargoError {
  return new SupercargoError('forbidden', 'This host does not belong to the cluster: it never joined, or was removed.', {
    hint: 'To use it, let it join anew: supercargo invite on the first host, then supercargo join here.',
  });
}
