import { describe, expect, it } from 'vitest';
import { playHistory } from '../../test/sim/history.ts';
import { regressions } from '../../test/sim/regressions.ts';

/** Which histories: SUPERCARGO_SEED=4711 SUPERCARGO_HISTORIES=1 replays one; `npm run sim` plays many more, and shortens what breaks. */
const firstSeed = Number(process.env['SUPERCARGO_SEED'] ?? 1);
const count = Number(process.env['SUPERCARGO_HISTORIES'] ?? 10);

describe('random histories of containers, operators, and everything that fails', () => {
  it.each(Array.from({ length: count }, (_, index) => firstSeed + index))(
    'seed %d: one writer, nothing acknowledged is lost, nothing is stuck',
    async (seed) => {
      await expect(playHistory({ seed, hosts: 2 + (seed % 3), hours: 0.05 })).resolves.toMatchObject({ hours: expect.any(Number) as number });
    },
  );

  it.each(regressions)('do not break again: $found', async ({ seed, hosts, actions }) => {
    await expect(playHistory({ seed, hosts, hours: 0 }, actions)).resolves.toMatchObject({ hours: expect.any(Number) as number });
  });

  it('are the same each time they are played', async () => {
    const [first, second] = [await playHistory({ seed: 7, hosts: 3, hours: 0.05 }), await playHistory({ seed: 7, hosts: 3, hours: 0.05 })];
    expect(second).toEqual(first);
  });
});
