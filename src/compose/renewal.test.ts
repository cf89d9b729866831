import { afterEach, describe, expect, it } from 'vitest';
import { CredentialsHolder } from '../pki/credentials.ts';
import { createTestCluster } from '../pki/test-cluster.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import { keepRenewed } from './renewal.ts';

const stop: (() => void)[] = [];

afterEach(() => {
  for (const each of stop.splice(0)) each();
});

const lifetimeMilliseconds = 3_600_000;

async function start(failures: number): Promise<{ clock: ManualClock; tries: number[]; warnings: string[] }> {
  const clock = new ManualClock();
  const cluster = await createTestCluster(clock);
  const host = cluster.newHost();
  const issue = () => cluster.credentialsFor(host, { lifetimeMilliseconds, clock });
  const holder = new CredentialsHolder(await issue());
  const tries: number[] = [];
  const warnings: string[] = [];
  const controller = new AbortController();
  const quiet = (): void => undefined;
  const done = keepRenewed({
    holder,
    clock,
    jitter: 0,
    log: { debug: quiet, info: quiet, error: quiet, warn: (_, message) => void warnings.push(message) },
    renew: async () => {
      tries.push(clock.monotonicMilliseconds());
      if (tries.length <= failures) throw new Error('the name server is away');
      holder.replace(await issue());
    },
    signal: controller.signal,
  });
  stop.push(() => controller.abort());
  void done;
  return { clock, tries, warnings };
}

/** Issuing a certificate leaves the event loop for a moment, so time passes in small steps. */
async function pass(clock: ManualClock, milliseconds: number): Promise<void> {
  for (let left = milliseconds; left > 0; left -= 20_000) await clock.advance(Math.min(left, 20_000));
}

describe('renewal', () => {
  it('happens well before the end of the certificate, not at once', async () => {
    const { clock, tries } = await start(0);
    await pass(clock, lifetimeMilliseconds / 10);
    expect(tries).toEqual([]);
    await pass(clock, lifetimeMilliseconds * 0.8);
    expect(tries.length).toBeGreaterThanOrEqual(1);
    expect(tries[0]).toBeLessThan(lifetimeMilliseconds);
  });

  it('is tried again until it works', async () => {
    const { clock, tries, warnings } = await start(3);
    await pass(clock, lifetimeMilliseconds * 0.9);
    expect(tries.length).toBeGreaterThanOrEqual(4);
    expect(warnings).toHaveLength(3);
  });
});
