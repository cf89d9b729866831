import type { Action } from './actions.ts';
import { BrokenHistory, playHistory } from './history.ts';
import type { HistoryOptions } from './history.ts';

/**
 * Looks for a shorter list of actions that breaks the same: first how early it can end, then leaves out halves, quarters, and so on down to single actions, until
 * nothing more can go or the time is over.
 * @param milliseconds of real time
 */
export async function shorten(options: HistoryOptions, broken: BrokenHistory, milliseconds: number): Promise<BrokenHistory> {
  const end = performance.now() + milliseconds;
  let shortest = broken;
  const breaksWith = async (actions: readonly Action[]): Promise<boolean> => {
    const found = await attempt(options, actions);
    if (found === null || kindOf(found) !== kindOf(broken)) return false;
    shortest = found;
    return true;
  };
  // What was played only counts up to where it broke.
  for (let too = 0; shortest.actions.length - too > 1 && performance.now() < end;) {
    const length = Math.floor((too + shortest.actions.length) / 2);
    if (!(await breaksWith(shortest.actions.slice(0, length)))) too = length;
  }
  for (let size = Math.ceil(shortest.actions.length / 2); size >= 1;) {
    const before = shortest.actions.length;
    for (let begin = shortest.actions.length; begin > 0; begin -= size) {
      if (performance.now() > end) return shortest;
      const { actions } = shortest;
      await breaksWith([...actions.slice(0, Math.max(0, begin - size)), ...actions.slice(begin)]);
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
