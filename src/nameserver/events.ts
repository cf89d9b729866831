import { eventRecord } from '../model/records.ts';
import type { EventView } from '../protocol/routes.ts';
import type { Handlers } from '../protocol/server.ts';
import type { Routes } from '../protocol/routes.ts';
import { pictureOf, tellsOfKnown } from './host-access.ts';
import type { NameServerContext } from './name-server.ts';
import { eventSequence } from './journal.ts';
import { keys } from './keys.ts';
import { withHeartbeat } from './watch.ts';

export function eventHandlers(context: NameServerContext): Pick<Handlers<Routes>, 'listEvents' | 'followEvents'> {
  const { store } = context;
  const view = (key: string, value: unknown): EventView => ({ ...eventRecord.parse(value), sequence: eventSequence(key) });
  return {
    listEvents: async ({ query }, { host }) => {
      const { entries } = await store.list(keys.events);
      const later = entries.filter((entry) => eventSequence(entry.key) > query.after).map((entry) => view(entry.key, entry.value));
      return { items: (await toldOf(context, later, host)).slice(0, query.limit) };
    },
    followEvents: ({ query }, { host, signal }) => {
      async function* follow(): AsyncGenerator<EventView> {
        const { entries, revision } = await store.list(keys.events);
        const past = entries.map((entry) => view(entry.key, entry.value));
        if (query.last > 0) yield* (await toldOf(context, past, host)).slice(-query.last);
        for await (const changes of store.watch(keys.events, revision, signal)) {
          const events = changes.flatMap(({ key, value }) => (value === undefined ? [] : [view(key, value)]));
          yield* await toldOf(context, events, host);
        }
      }
      return withHeartbeat(follow(), () => null, context.clock, signal);
    },
  };
}

/** @param host that asks; null is told everything */
async function toldOf(context: NameServerContext, events: EventView[], host: string | null): Promise<EventView[]> {
  if (host === null || events.length === 0) return events;
  const picture = await pictureOf(context, host);
  return events.filter((event) => tellsOfKnown(picture, event));
}
