import { setTimeout as wait } from 'node:timers/promises';
import type { Clock } from '../ports/clock.ts';

/** The machine's own clock. */
export const systemClock: Clock = {
  wallMilliseconds: () => Date.now(),
  // CLOCK_MONOTONIC itself, which all processes of the machine share, and not the time since this one started.
  monotonicMilliseconds: () => Number(process.hrtime.bigint()) / 1e6,
  async sleep(milliseconds, signal) {
    try {
      await wait(milliseconds, undefined, signal === undefined ? {} : { signal });
    } catch (error) {
      // The timer wraps the reason in an error of its own; callers wait for the reason itself.
      signal?.throwIfAborted();
      throw error;
    }
  },
};
