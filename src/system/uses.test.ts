import { expect, it } from 'vitest';
import { processNumbersIn } from './uses.ts';

it('meets the processes that began first before those they started, whatever the length of their numbers', () => {
  expect(processNumbersIn(['1588', '977', '978', 'cpuinfo', 'self'])).toEqual([977, 978, 1588]);
});
