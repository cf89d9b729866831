import { setTimeout as wait } from 'node:timers/promises';

/** Shifts what a test does against what runs beside it, so that races are met at every moment. Never for waiting until something is done. */
export async function pause(milliseconds: number): Promise<void> {
  await wait(milliseconds);
}
