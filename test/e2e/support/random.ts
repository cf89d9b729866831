/** Numbers in [0, 1) that follow from the seed alone, so that a failure can be played again (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The seed of this run: a new one each time, or E2E_SEED, to play a run again. A test that uses it says it. */
export const testSeed = Number(process.env['E2E_SEED'] ?? Date.now() % 1_000_000);
