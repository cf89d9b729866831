import type { Clock } from '../ports/clock.ts';
import { nextRenewal } from '../pki/renewal.ts';
import type { CredentialsHolder } from '../pki/credentials.ts';
import type { Log } from '../agent/context.ts';

const retryMilliseconds = 5000;
/** The wall clock may be set, so a long wait is broken up. */
const longestWaitMilliseconds = 60_000;

/** Renews credentials when they are due, for as long as the signal allows; a failure is tried again until it works. */
export async function keepRenewed(options: {
  holder: CredentialsHolder;
  clock: Clock;
  jitter: number;
  log: Log;
  /** Puts new credentials into the holder. */
  renew: () => Promise<void>;
  signal: AbortSignal;
}): Promise<void> {
  const { holder, clock, signal } = options;
  while (!signal.aborted) {
    const left = nextRenewal(holder.current, options.jitter) - clock.wallMilliseconds();
    let wait = Math.min(left, longestWaitMilliseconds);
    if (left <= 0) {
      try {
        await options.renew();
        options.log.info({}, 'certificate renewed');
        continue;
      } catch (error) {
        options.log.warn({ error: String(error) }, 'the certificate could not be renewed yet');
        wait = retryMilliseconds;
      }
    }
    await sleepUnlessChanged(options, wait);
  }
}

/** New authorities may make a renewal due. */
async function sleepUnlessChanged(
  { holder, clock, signal }: { holder: CredentialsHolder; clock: Clock; signal: AbortSignal },
  wait: number,
): Promise<void> {
  const changed = new AbortController();
  const stop = holder.onChange(() => changed.abort());
  await clock.sleep(wait, AbortSignal.any([signal, changed.signal])).catch(() => undefined);
  stop();
}
