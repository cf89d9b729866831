import { describe, expect, it } from 'vitest';
import { SupercargoError } from '../model/errors.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import { createSeal, createShutter } from './seal.ts';

const busy = new SupercargoError('volume-in-use', 'busy');

/** A cipher that notes what is asked of it. @param close what it does when it is to close a volume */
function cipherThat(close: (attempt: number) => Promise<void>) {
  const calls: string[] = [];
  const cutOff = Promise.withResolvers<void>();
  return {
    calls,
    gone: cutOff.promise,
    close: async () => {
      calls.push('close');
      await close(calls.length);
    },
    cutOff: async () => {
      calls.push('cut off');
      cutOff.resolve();
    },
  };
}

describe('an encrypted volume at the end of its lease', () => {
  it('is closed as soon as what used it is gone', async () => {
    const clock = new ManualClock();
    const cipher = cipherThat(async (attempt) => {
      if (attempt < 3) throw busy;
    });
    const shut = createShutter(cipher, clock)('vol_1');
    await clock.advance(100);
    await shut;
    expect(cipher.calls).toEqual(['close', 'close', 'close']);
  });

  it('is cut off if that takes too long', async () => {
    const clock = new ManualClock();
    const cipher = cipherThat(async () => {
      throw busy;
    });
    const shut = createShutter(cipher, clock)('vol_1');
    await clock.advance(1100);
    await shut;
    expect([cipher.calls.includes('close'), cipher.calls.at(-1)]).toEqual([true, 'cut off']);
  });

  it('is cut off if closing hangs, which ends that as well', async () => {
    const clock = new ManualClock();
    const cipher = cipherThat(async () => cipher.gone);
    const shut = createShutter(cipher, clock)('vol_1');
    await clock.advance(1100);
    await shut;
    expect(cipher.calls).toEqual(['close', 'cut off']);
  });

  it('is shut before its image is made read-only', async () => {
    const order: string[] = [];
    const driver = {
      inspect: async (volume: string) => ({ volume, live: 'writable' as const, snapshots: [] }),
      setLiveReadOnly: async () => void order.push('read-only'),
      createSnapshot: async () => undefined,
    };
    await createSeal(driver, 'guard', async () => void order.push('shut')).setReadOnly('vol_1');
    expect(order).toEqual(['shut', 'read-only']);
  });
});
