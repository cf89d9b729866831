import type { Action } from './actions.ts';
import { BrokenHistory, playHistory } from './history.ts';
import type { HistoryOptions } from './history.ts';

/**
 * Looks for a shorter list of actions that breaks the same: leaves out halves, then quarters, down to single ones, until nothing more can go or the time is over.
 * @param milliseconds of real time
 */
export async function shorten(options: HistoryOptions, broken: BrokenHistory, milliseconds: number): Promise<BrokenHistory> {
  const end = performance.now() + milliseconds;
  let shortest = broken;
  for (let size = Math.ceil(broken.actions.length / 2); size >= 1;) {
    const before = shortest.actions.length;
    for (let begin = shortest.actions.length; begin > 0; begin -= size) {
      if (performance.now() > end) return shortest;
      const { actions } = shortest;
      const found = await attempt(options, [...actions.slice(0, Math.max(0, begin - size)), ...actions.slice(begin)]);
      if (found !== null && kindOf(found) === kindOf(broken)) shortest = found;
    }
    if (size > 1) size = Math.ceil(size / 2);
    else if (shortest.actions.length === before) break;
  }
  return shortest;
}

async function attempt(options: HistoryOptions, actions: readonly Action[]): Promise<BrokenHistory | null> {
  try {
    await playHistory(options, actions);
    return null;
  } catch (error) {
    if (error instanceof BrokenHistory) return error;
    throw error;
  }
}

/** The message without what differs from run to run. */
function kindOf({ message }: BrokenHistory): string {
  return message.replaceAll(/\[[^\]]*\]|\w*\d\w*|auto|kept|plain/g, '').slice(0, 60);
}
