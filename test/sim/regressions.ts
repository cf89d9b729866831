import type { Action } from './actions.ts';

/**
 * Histories that once broke, shortened. The actions are written down, because what follows from a seed changes with the kinds of trouble that we think of; the seed
 * is that of the luck of every message. The unit tests play them all.
 */
export const regressions: readonly { found: string; seed: number; hosts: number; actions: readonly Action[] }[] = [
  {
    found:
      'A mount under automatic failover whose lease was not confirmed asked for heartbeats without a pause, as quickly as the name server answered.',
    seed: 3,
    hosts: 3,
    actions: [
      { at: 28_507, do: 'start', host: 2, volume: 'auto', impatientAfter: 2681 },
      { at: 45_567, do: 'start', host: 2, volume: 'auto', impatientAfter: null },
      { at: 49_397, do: 'stop-agent', host: 3, lasts: 296_750 },
      { at: 144_698, do: 'stop-both', host: -1, lasts: 109_415 },
      { at: 144_719, do: 'move', volume: 'plain', host: 2 },
      { at: 147_788, do: 'move', volume: 'kept', host: 2 },
      { at: 190_038, do: 'move', volume: 'kept', host: 3 },
      { at: 190_953, do: 'start', host: 2, volume: 'auto', impatientAfter: null },
      { at: 206_834, do: 'start', host: 2, volume: 'auto', impatientAfter: null },
      { at: 209_127, do: 'start', host: 3, volume: 'auto', impatientAfter: null },
      { at: 210_093, do: 'stop', pick: 67 },
      { at: 210_285, do: 'stop-guard', host: -1, lasts: 22_837 },
      { at: 215_342, do: 'start', host: 1, volume: 'auto', impatientAfter: null },
      { at: 231_122, do: 'cut', from: -1, to: 0, oneWay: false, lasts: 3371 },
      { at: 232_522, do: 'stop-agent', host: -1, lasts: 66_733 },
      { at: 254_323, do: 'start', host: 3, volume: 'auto', impatientAfter: null },
    ],
  },
  {
    found: 'A mount that waited for a takeover opened moves from the lost holder without a pause, each of which ended at once.',
    seed: 1,
    hosts: 3,
    actions: [
      { at: 254_311, do: 'power-cut', host: -1, back: 43_009 },
      { at: 255_249, do: 'start', host: 2, volume: 'auto', impatientAfter: null },
      { at: 255_287, do: 'stop-agent', host: -1, lasts: 1690 },
    ],
  },
  {
    found: 'A host that became the holder by a failover, and counted as having a live copy from an earlier epoch, went on with that one.',
    seed: 162,
    hosts: 3,
    actions: [
      { at: 14_859, do: 'stop-name-server', lasts: 11_893 },
      { at: 15_042, do: 'start', host: 1, volume: 'auto', impatientAfter: null },
      { at: 15_142, do: 'start', host: 2, volume: 'auto', impatientAfter: null },
      { at: 21_243, do: 'start', host: -1, volume: 'auto', impatientAfter: null },
      { at: 23_475, do: 'slow', share: 1, most: 3000, lasts: 40_000 },
      { at: 25_475, do: 'stop-guard', host: -1, lasts: 8954 },
      { at: 35_385, do: 'cut', from: -1, to: 0, oneWay: false, lasts: 34_983 },
      { at: 45_886, do: 'power-cut', host: -1, back: 12_055 },
      { at: 99_613, do: 'cut', from: -1, to: 0, oneWay: false, lasts: 29_771 },
      { at: 104_020, do: 'kill-name-server', effects: 3, back: 11_644 },
      { at: 116_652, do: 'start', host: 2, volume: 'auto', impatientAfter: null },
      { at: 123_334, do: 'kill-agent', host: 2, effects: 1, back: 4911 },
      { at: 129_380, do: 'cut', from: 2, to: 0, oneWay: false, lasts: 24_499 },
      { at: 143_112, do: 'cut', from: -1, to: 0, oneWay: false, lasts: 5118 },
    ],
  },
  {
    found: 'The same, with that live copy gone: the volume was stuck with a host that missed it.',
    seed: 172,
    hosts: 3,
    actions: [
      { at: 32_366, do: 'start', host: 2, volume: 'auto', impatientAfter: null },
      { at: 113_034, do: 'power-cut', host: -1, back: 203_826 },
      { at: 114_799, do: 'isolate', host: 1, lasts: 231_980 },
      { at: 323_712, do: 'cut', from: -1, to: 0, oneWay: false, lasts: 22_531 },
      { at: 345_975, do: 'kill-name-server', effects: 15, back: 9834 },
      { at: 349_012, do: 'power-cut', host: -1, back: 269_290 },
      { at: 357_114, do: 'start', host: 3, volume: 'auto', impatientAfter: null },
      { at: 369_364, do: 'cut', from: -1, to: 0, oneWay: false, lasts: 33_526 },
    ],
  },
  {
    found:
      'A holder without automatic failover that an operator had declared off, and that booted where no name server could be heard, wrote beside the replica that had taken over (seed 10936).',
    seed: 1,
    hosts: 3,
    actions: [
      { at: 2000, do: 'start', host: 1, volume: 'kept', impatientAfter: null },
      { at: 45_000, do: 'power-cut', host: 1, back: 20_000 },
      { at: 57_000, do: 'fail-over', volume: 'kept', to: null },
      { at: 58_000, do: 'start', host: 2, volume: 'kept', impatientAfter: null },
      { at: 62_000, do: 'kill-name-server', effects: 0, back: 40_000 },
      { at: 68_000, do: 'start', host: 1, volume: 'kept', impatientAfter: null },
    ],
  },
  {
    found: 'The same without replicas: an earlier holder had taken over with what it had kept (seeds 10727 and 10734).',
    seed: 1,
    hosts: 3,
    actions: [
      { at: 2000, do: 'start', host: 2, volume: 'plain', impatientAfter: null },
      { at: 20_000, do: 'power-cut', host: 2, back: 20_000 },
      { at: 32_000, do: 'fail-over', volume: 'plain', to: 1 },
      { at: 33_000, do: 'start', host: 1, volume: 'plain', impatientAfter: null },
      { at: 37_000, do: 'cut', from: 2, to: 0, oneWay: false, lasts: 40_000 },
      { at: 43_000, do: 'start', host: 2, volume: 'plain', impatientAfter: null },
    ],
  },
  {
    found:
      'With no margin a replica takes over from a holder whose machine needs longer to freeze than the lead of a second (never shipped: it holds the margin).',
    seed: 5,
    hosts: 3,
    actions: [
      { at: 38_019, do: 'start', host: 1, volume: 'kept', impatientAfter: null },
      { at: 38_584, do: 'stop-agent', host: 1, lasts: 6430 },
      { at: 48_069, do: 'start', host: 1, volume: 'auto', impatientAfter: null },
      { at: 51_666, do: 'slow', share: 1, most: 3000, lasts: 40_000 },
      { at: 53_666, do: 'kill-agent', host: 1, effects: 1, back: 6116 },
      { at: 60_913, do: 'cut', from: 1, to: 0, oneWay: false, lasts: 32_353 },
      { at: 66_184, do: 'kill-agent', host: -1, effects: 1, back: 5680 },
      { at: 67_576, do: 'stop', pick: 624 },
      { at: 73_885, do: 'start', host: -1, volume: 'auto', impatientAfter: null },
      { at: 78_860, do: 'slow', share: 0, most: 3000, lasts: 40_000 },
      { at: 80_860, do: 'stop-agent', host: -1, lasts: 3531 },
      { at: 81_920, do: 'burden', host: -1, by: 1323, lasts: 82_108 },
      { at: 83_943, do: 'cut', from: -1, to: 0, oneWay: false, lasts: 32_790 },
      { at: 86_671, do: 'kill-agent', host: -1, effects: 1, back: 3531 },
    ],
  },
];
