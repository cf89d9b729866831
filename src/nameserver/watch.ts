import { applicationRecord, denialRecord, grantRecord, projectRecord } from '../model/access.ts';
import { moveRecord, hostRecord, volumeRecord } from '../model/records.ts';
import type { z } from 'zod';
import type { Clock } from '../ports/clock.ts';
import type { StoreEvent } from '../ports/store.ts';
import type { Routes, WatchMessage } from '../protocol/routes.ts';
import type { Handlers } from '../protocol/server.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import { hostViewOf } from './hosts.ts';

/** How long a stream may be silent, in milliseconds: its reader then knows that the connection is dead. */
const aliveIntervalMilliseconds = 3000;

export function watchHandlers(context: NameServerContext): Pick<Handlers<Routes>, 'watch'> {
  return {
    watch: (_, { signal }) => {
      let last = 0;
      async function* follow(): AsyncGenerator<WatchMessage> {
        const reset = await wholeState(context);
        last = reset.revision;
        yield reset;
        for await (const changes of context.store.watch(keys.state, reset.revision, signal)) {
          for (const change of changes) {
            const message = await toMessage(context, change);
            last = change.revision;
            if (message !== undefined) yield message;
          }
        }
      }
      return withHeartbeat(follow(), (): WatchMessage => ({ type: 'alive', revision: last }), context.clock, signal);
    },
  };
}

async function wholeState({ store }: NameServerContext): Promise<WatchMessage & { type: 'reset' }> {
  const { entries, revision } = await store.list(keys.state);
  const of = <Schema extends z.ZodType>(prefix: string, schema: Schema): z.output<Schema>[] =>
    entries.filter((entry) => entry.key.startsWith(prefix)).map((entry) => schema.parse(entry.value));
  const sessions = new Set(entries.map((entry) => entry.key).filter((key) => key.startsWith(keys.sessions)));
  return {
    type: 'reset',
    revision,
    volumes: of(keys.volumes, volumeRecord),
    moves: of(keys.moves, moveRecord),
    hosts: of(keys.hosts, hostRecord).map((host) => ({ ...host, status: sessions.has(keys.session(host.id)) ? 'up' : 'down' })),
    projects: of(keys.projects, projectRecord),
    applications: of(keys.applications, applicationRecord),
    grants: of(keys.grants, grantRecord),
    denials: of(keys.denials, denialRecord),
  };
}

async function toMessage(context: NameServerContext, { key, value, revision }: StoreEvent): Promise<WatchMessage | undefined> {
  const id = key.slice(key.lastIndexOf('/') + 1);
  const present = <Schema extends z.ZodType>(schema: Schema): z.output<Schema> | null => (value === undefined ? null : schema.parse(value));
  if (key.startsWith(keys.volumes)) return { type: 'volume', revision, id, volume: present(volumeRecord) };
  if (key.startsWith(keys.moves)) return { type: 'move', revision, id, move: present(moveRecord) };
  if (key.startsWith(keys.projects)) return { type: 'project', revision, id, project: present(projectRecord) };
  if (key.startsWith(keys.applications)) return { type: 'application', revision, id, application: present(applicationRecord) };
  if (key.startsWith(keys.grants)) return { type: 'grant', revision, id, grant: present(grantRecord) };
  if (key.startsWith(keys.denials)) return { type: 'denial', revision, id, denial: present(denialRecord) };
  const host = await context.repository.get(keys.host(id), hostRecord);
  return { type: 'host', revision, id, host: host === undefined ? null : await hostViewOf(context, host) };
}

/** Passes a stream on and puts a sign of life in wherever it is silent for too long. */
export async function* withHeartbeat<Item, Beat>(
  source: AsyncGenerator<Item>,
  beat: () => Beat,
  clock: Clock,
  signal: AbortSignal,
): AsyncGenerator<Item | Beat> {
  let pending = source.next();
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
    pending = source.next();
    pending.catch(() => undefined);
  }
}
