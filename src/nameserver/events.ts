import { eventRecord } from '../model/records.ts';
import type { EventView } from '../protocol/routes.ts';
import type { Handlers } from '../protocol/server.ts';
import type { Routes } from '../protocol/routes.ts';
import type { NameServerContext } from './name-server.ts';
import { eventSequence } from './journal.ts';
import { keys } from './keys.ts';
import { withHeartbeat } from './watch.ts';

export function eventHandlers(context: NameServerContext): Pick<Handlers<Routes>, 'listEvents' | 'followEvents'> {
  const { store } = context;
  const view = (key: string, value: unknown): EventView => ({ ...eventRecord.parse(value), sequence: eventSequence(key) });
  return {
    listEvents: async ({ query }) => {
      const { entries } = await store.list(keys.events);
      const later = entries.filter((entry) => eventSequence(entry.key) > query.after);
      return { items: later.slice(0, query.limit).map((entry) => view(entry.key, entry.value)) };
    },
    followEvents: ({ query }, { signal }) => {
      async function* follow(): AsyncGenerator<EventView> {
        const { entries, revision } = await store.list(keys.events);
        for (const entry of query.last === 0 ? [] : entries.slice(-query.last)) yield view(entry.key, entry.value);
        for await (const changes of store.watch(keys.events, revision, signal)) {
          for (const { key, value } of changes) if (value !== undefined) yield view(key, value);
        }
      }
      return withHeartbeat(follow(), () => null, context.clock, signal);
    },
  };
}
