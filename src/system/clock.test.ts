import { describe, expect, it } from 'vitest';
import { systemClock } from './clock.ts';

describe('systemClock', () => {
  it('rejects a sleep with the reason of its signal, before and during', async () => {
    const controller = new AbortController();
    const sleeping = systemClock.sleep(60_000, controller.signal);
    controller.abort(new Error('enough'));
    await expect(sleeping).rejects.toThrow('enough');
    await expect(systemClock.sleep(60_000, controller.signal)).rejects.toThrow('enough');
  });

  it('sleeps at least as long as it is told, by its own count', async () => {
    const before = systemClock.monotonicMilliseconds();
    await systemClock.sleep(20);
    expect(systemClock.monotonicMilliseconds() - before).toBeGreaterThanOrEqual(19);
  });
});
