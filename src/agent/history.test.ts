import { describe, expect, it } from 'vitest';
import { playHistory } from '../../test/sim/history.ts';

/** Which histories: SUPERCARGO_SEED=4711 SUPERCARGO_HISTORIES=1 replays the one that failed. */
const firstSeed = Number(process.env['SUPERCARGO_SEED'] ?? 1);
const count = Number(process.env['SUPERCARGO_HISTORIES'] ?? 10);

describe('random histories of containers, operators, crashes and a bad network', () => {
  it.each(Array.from({ length: count }, (_, index) => firstSeed + index))(
    'seed %d: one writer, nothing acknowledged is lost, nothing is stuck',
    async (seed) => {
      await expect(playHistory({ seed, hosts: 2 + (seed % 3), hours: 0.1 })).resolves.toMatchObject({ excusedWrites: expect.any(Number) as number });
    },
  );
});
