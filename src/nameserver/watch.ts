import type { Clock } from '../ports/clock.ts';
import type { StoreEvent } from '../ports/store.ts';
import type { Routes, WatchMessage } from '../protocol/routes.ts';
import type { Handlers } from '../protocol/server.ts';
import { HostPicture } from './host-picture.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import { StateRecords } from './state-records.ts';
import type { Touched } from './state-records.ts';

/** How long a stream may be silent, in milliseconds: its reader then knows that the connection is dead. */
const aliveIntervalMilliseconds = 3000;

export function watchHandlers(context: NameServerContext): Pick<Handlers<Routes>, 'watch'> {
  return {
    watch: (_, { host, signal }) => {
      const noted = { last: 0 };
      const stream = host === null ? followAll(context, noted, signal) : followAs(context, host, noted, signal);
      return withHeartbeat(stream, (): WatchMessage => ({ type: 'alive', revision: noted.last }), context.clock, signal);
    },
  };
}

/** The whole state and every change of it, for people. @param noted the last revision that was told of */
async function* followAll({ store }: NameServerContext, noted: { last: number }, signal: AbortSignal): AsyncGenerator<WatchMessage> {
  const { entries, revision } = await store.list(keys.state);
  const records = new StateRecords(entries);
  noted.last = revision;
  yield resetOf(records, revision);
  for await (const changes of store.watch(keys.state, revision, signal)) {
    for (const change of changes) {
      const touched = records.take(change);
      noted.last = change.revision;
      const message = touched && toMessage(records, touched, change.revision);
      if (message !== undefined) yield message;
    }
  }
}

/** The same for a host: what it may know, and every change of that, also one by time alone. */
async function* followAs(context: NameServerContext, host: string, noted: { last: number }, signal: AbortSignal): AsyncGenerator<WatchMessage> {
  const { store, clock } = context;
  const { entries, revision } = await store.list(keys.state);
  const records = new StateRecords(entries);
  const picture = new HostPicture(records, host, clock.wallMilliseconds());
  noted.last = revision;
  yield resetOf(picture, revision);
  // What time alone changes is told at the next change or sign of silence.
  for await (const changes of withHeartbeat(store.watch(keys.state, revision, signal), (): StoreEvent[] => [], clock, signal)) {
    const touched = changes.flatMap((change) => records.take(change) ?? []);
    noted.last = changes.at(-1)?.revision ?? noted.last;
    const now = clock.wallMilliseconds();
    if (touched.length > 0 || picture.isDue(now)) yield* picture.update(touched, noted.last, now);
  }
}

function resetOf(told: Pick<StateRecords, PluralKind>, revision: number): WatchMessage {
  const all = <Item>(items: ReadonlyMap<string, Item>): Item[] => [...items.values()];
  return {
    type: 'reset',
    revision,
    volumes: all(told.volumes),
    moves: all(told.moves),
    hosts: all(told.hosts),
    projects: all(told.projects),
    applications: all(told.applications),
    grants: all(told.grants),
    denials: all(told.denials),
  };
}

type PluralKind = 'volumes' | 'moves' | 'hosts' | 'projects' | 'applications' | 'grants' | 'denials';

function toMessage(records: StateRecords, { kind, id }: Touched, revision: number): WatchMessage | undefined {
  switch (kind) {
    case 'volume':
      return { type: kind, revision, id, volume: records.volumes.get(id) ?? null };
    case 'move':
      return { type: kind, revision, id, move: records.moves.get(id) ?? null };
    case 'host':
      return { type: kind, revision, id, host: records.hosts.get(id) ?? null };
    case 'project':
      return { type: kind, revision, id, project: records.projects.get(id) ?? null };
    case 'application':
      return { type: kind, revision, id, application: records.applications.get(id) ?? null };
    case 'grant':
      return { type: kind, revision, id, grant: records.grants.get(id) ?? null };
    case 'denial':
      return { type: kind, revision, id, denial: records.denials.get(id) ?? null };
    case 'admission':
      return undefined;
  }
}

/** Passes a stream on and puts a sign of life in wherever it is silent for too long. */
export async function* withHeartbeat<Item, Beat>(
  source: AsyncIterable<Item>,
  beat: () => Beat,
  clock: Clock,
  signal: AbortSignal,
): AsyncGenerator<Item | Beat> {
  const items = source[Symbol.asyncIterator]();
  let pending = items.next();
  // A rejection is delivered by the await below; this keeps it from counting as unhandled while a beat is being waited for.
  pending.catch(() => undefined);
  while (!signal.aborted) {
    const timer = new AbortController();
    const silence = clock.sleep(aliveIntervalMilliseconds, AbortSignal.any([signal, timer.signal])).then(
      () => 'silence' as const,
      () => 'silence' as const,
    );
    const next = await Promise.race([pending, silence]);
    timer.abort();
    if (next === 'silence') {
      if (!signal.aborted) yield beat();
      continue;
    }
    if (next.done) return;
    yield next.value;
    pending = items.next();
    pending.catch(() => undefined);
  }
}
