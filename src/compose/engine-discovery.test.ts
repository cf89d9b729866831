import { expect, test, vi } from 'vitest';
import type { ContainerEngine } from '../ports/container-engine.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import { keepDiscovered } from './engine-discovery.ts';

const log = { info: () => undefined, warn: () => undefined, error: () => undefined, debug: () => undefined };

test('the engine is told of the plugin at the start, after each restart, and again until it answers', async () => {
  const clock = new ManualClock();
  const ending = new AbortController();
  const warmUp = vi.fn<ContainerEngine['warmUp']>().mockResolvedValue();
  let instance: string | null = null;
  const engine = { instance: async () => instance, warmUp };
  const running = keepDiscovered({ engine, clock, log, signal: ending.signal });
  await clock.advance(5000);
  expect(warmUp).toHaveBeenCalledTimes(0);

  instance = 'first';
  await clock.advance(20_000);
  expect(warmUp).toHaveBeenCalledTimes(1);

  warmUp.mockRejectedValueOnce(new Error('not yet'));
  instance = 'second';
  await clock.advance(20_000);
  expect(warmUp).toHaveBeenCalledTimes(3);

  ending.abort();
  await running;
});
