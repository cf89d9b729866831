/* oxlint-disable vitest/no-conditional-expect -- what a property says of arbitrary facts holds under its condition */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chooseBase, isReadyForHandOver } from './transfer-plan.ts';

describe('the base of a delta', () => {
  it.each([
    [['s1', 's2', 's3'], ['s1', 's2'], 's3', 's2'],
    [['s1', 's2', 's3'], ['s2', 's1'], 's3', 's2'],
    [['s1', 's2'], ['s2'], 's2', null],
    [['s1'], ['x'], 's1', null],
    [[], ['s1'], 's2', null],
    [['s1', 's2', 's3'], ['s1', 's3'], 's2', 's1'],
    [['s1', 's2', 's3'], ['s3', 's2'], 's1', 's2'],
  ])('of %j for a host with %j, to reach %s, is %s', (source, destination, target, base) => {
    expect(chooseBase(source, destination, target)).toBe(base);
  });

  it('is on both sides and never the target itself', () => {
    const names = ['s1', 's2', 's3', 's4'];
    fc.assert(
      fc.property(fc.subarray(names), fc.shuffledSubarray(names), fc.constantFrom(...names), (source, destination, target) => {
        const base = chooseBase(source, destination, target);
        if (base === null) expect(source.filter((each) => each !== target && destination.includes(each))).toEqual([]);
        else {
          expect(base).not.toBe(target);
          expect(destination).toContain(base);
          const end = source.includes(target) ? source.indexOf(target) : source.length;
          const between = source.slice(...[source.indexOf(base), end].toSorted((a, b) => a - b));
          expect(between.filter((each) => ![target, base].includes(each) && destination.includes(each))).toEqual([]);
        }
      }),
    );
  });
});

describe('the hand-over', () => {
  const round = (milliseconds: number) => ({ bytes: 1, milliseconds });

  it('begins after a short round', () => {
    expect(isReadyForHandOver([])).toBe(false);
    expect(isReadyForHandOver([round(60_000)])).toBe(false);
    expect(isReadyForHandOver([round(60_000), round(100)])).toBe(true);
  });

  it('begins some time even if the data changes faster than it is copied', () => {
    let rounds = 0;
    while (!isReadyForHandOver(Array.from({ length: rounds }, () => round(60_000)))) rounds += 1;
    expect(rounds).toBeLessThan(10);
  });
});
