import { setTimeout as delay } from 'node:timers/promises';
import { formatDuration } from '../model/duration.ts';
import { SupercargoError } from '../model/errors.ts';
import type { Acknowledgement } from '../protocol/access-routes.ts';
import type { Api } from './connection.ts';

/** How often the name server is asked, in milliseconds. */
const pollMilliseconds = 100;

/** Waits until every host that is up has put a change of access into effect, or the time is over. @returns how each host stands then */
export async function awaitAcknowledgements(api: Api, revision: number, timeoutMilliseconds: number): Promise<Acknowledgement[]> {
  const end = performance.now() + timeoutMilliseconds;
  for (;;) {
    const { items } = await api.listAcknowledgements({ query: { revision } });
    const isAwaited = items.some(({ acknowledged, status }) => !acknowledged && status === 'up');
    if (!isAwaited || performance.now() + pollMilliseconds > end) return items;
    await delay(pollMilliseconds);
  }
}

/** One line for each host: whether it has put the change into effect, and if not, how long what it knew may still count there. */
export function describeAcknowledgements(items: readonly Acknowledgement[]): string[] {
  return items.map(({ name, status, acknowledged, certificateEndsAt }) => {
    if (acknowledged) return `${name}: in effect`;
    if (status === 'up') return `${name}: NOT in effect, although it is up`;
    const end = certificateEndsAt === null ? 'its certificate runs out' : `its certificate runs out at ${certificateEndsAt}`;
    return `${name}: OUT OF REACH; what runs there goes on. It hears of it when it is back; ${end}`;
  });
}

/** What is to be said if not all hosts have put it into effect; null if they have. */
export function shortfallOf(items: readonly Acknowledgement[], waitedMilliseconds: number): SupercargoError | null {
  const missing = items.filter(({ acknowledged }) => !acknowledged);
  const slow = missing.filter(({ status }) => status === 'up').map(({ name }) => name);
  if (slow.length > 0) {
    return new SupercargoError('deadline-exceeded', `Not in effect after ${formatDuration(waitedMilliseconds)} on ${slow.join(', ')}.`, {
      hint: 'Look at the host: supercargo doctor. The same command again goes on waiting.',
    });
  }
  const away = missing.map(({ name }) => name);
  if (away.length === 0) return null;
  return new SupercargoError('host-unreachable', `Out of reach: ${away.join(', ')}.`, {
    hint: 'The others have put it into effect. If such a host may be in the wrong hands, cut it off and take it out: supercargo host rm HOST --lost',
  });
}
