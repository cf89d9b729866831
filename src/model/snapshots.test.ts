import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { newVolume } from './new-volume.ts';
import type { Volume } from './records.ts';
import {
  deleteSnapshot,
  findTaken,
  inHistoryOrder,
  pinnedSnapshots,
  recordBytes,
  recordFailed,
  recordTaken,
  requestSnapshot,
  wantedSnapshots,
} from './snapshots.ts';

const now = '2026-01-01T00:00:00.000Z';
const held = newVolume({
  id: 'vol_1',
  name: 'data',
  createdAt: now,
  epoch: 2,
  placement: { state: 'held', host: 'h1', base: null },
  copies: [{ host: 'h1', kind: 'live', snapshots: [] }],
});
const wish = (name: string, changes = {}) => ({ id: `id of ${name}`, name, kind: 'manual' as const, description: '', labels: {}, now, ...changes });
const taking = (name: string, snapshot: string, after: string | null, epoch = 2) => ({
  id: `id of ${name}`,
  entry: { snapshot, epoch, takenAt: now, bytes: 0 },
  after,
});
const wanting = (...names: string[]): Volume => names.reduce((volume, name) => requestSnapshot(volume, wish(name)), held);
const historyOf = (...snapshots: string[]): Volume => ({
  ...held,
  lineage: snapshots.map((snapshot) => ({ snapshot, epoch: 2, takenAt: now, bytes: 0 })),
});

describe('a request for a snapshot', () => {
  it('is the same one if it comes twice, with its labels in whatever order', () => {
    const volume = requestSnapshot(held, wish('a', { labels: { x: '1', y: '2' } }));
    expect(requestSnapshot(volume, wish('a', { id: 'another', labels: { y: '2', x: '1' } }))).toBe(volume);
  });

  it('is refused if the name is taken by another one', () => {
    expect(() => requestSnapshot(wanting('a'), wish('a', { description: 'more' }))).toThrow(expect.objectContaining({ code: 'already-exists' }));
    expect(() => requestSnapshot(wanting('a'), wish('a', { kind: 'safety' }))).toThrow(expect.objectContaining({ code: 'already-exists' }));
  });

  it('is refused where there is no data', () => {
    expect(() => requestSnapshot({ ...held, placement: { state: 'free' } }, wish('a'))).toThrow(expect.objectContaining({ code: 'wrong-state' }));
    const removing = { state: 'removing', host: 'h1', base: null, confirmed: false } as const;
    expect(() => requestSnapshot({ ...held, placement: removing }, wish('a'))).toThrow(expect.objectContaining({ code: 'not-found' }));
  });

  it('is refused if there are too many', () => {
    const full = { ...held, snapshots: Array.from({ length: 1000 }, (_, index) => ({ ...wanting('a').snapshots[0]!, name: `s${index}` })) };
    expect(() => requestSnapshot(full, wish('a'))).toThrow(expect.objectContaining({ code: 'wrong-state' }));
    expect(requestSnapshot(full, wish('s7'))).toBe(full);
  });

  it('is tried again after it could not be met, when it is made again', () => {
    const failed = recordFailed(wanting('a'), 'id of a', 'The pool is full.');
    expect(wantedSnapshots(failed)).toEqual([]);
    expect(wantedSnapshots(requestSnapshot(failed, wish('a')))).toMatchObject([{ name: 'a', problem: null }]);
  });
});

describe('a snapshot that was taken', () => {
  it('is the newest of the history, is known to be on its host, and comes before those that are wanted', () => {
    const volume = recordTaken(wanting('a', 'b'), 'h1', taking('b', 's1', null));
    expect(volume).toMatchObject({ lineage: [{ snapshot: 's1' }], copies: [{ host: 'h1', snapshots: ['s1'] }], copyChanges: { h1: 1 } });
    expect(volume.snapshots.map(({ name, snapshot }) => [name, snapshot])).toEqual([['b', 's1'], ['a', null]]); // prettier-ignore
    expect(pinnedSnapshots(volume)).toEqual(['s1']);
    expect(() => findTaken(volume, 'a')).toThrow(expect.objectContaining({ code: 'wrong-state' }));
    expect(findTaken(volume, 's1')).toMatchObject({ name: 'b' });
  });

  it('is the first one that was reported for the request', () => {
    const volume = recordTaken(wanting('a'), 'h1', taking('a', 's1', null));
    expect(recordTaken(volume, 'h1', taking('a', 's1', null))).toBe(volume);
    expect(recordTaken(volume, 'h1', taking('a', 's2', 's1'))).toBe(volume);
  });

  it('does not count if the history has gone on since, if another epoch has begun, or if nobody wants it any more', () => {
    expect(() => recordTaken({ ...historyOf('s0'), snapshots: wanting('a').snapshots }, 'h1', taking('a', 's1', null))).toThrow(
      expect.objectContaining({ code: 'wrong-state' }),
    );
    expect(() => recordTaken(wanting('a'), 'h1', taking('a', 's1', null, 1))).toThrow(expect.objectContaining({ code: 'stale-epoch' }));
    expect(() => recordTaken(wanting('a'), 'h2', taking('a', 's1', null))).toThrow(expect.objectContaining({ code: 'stale-epoch' }));
    const anew = requestSnapshot(deleteSnapshot(wanting('a'), 'a'), wish('a', { id: 'another' }));
    expect(() => recordTaken(anew, 'h1', taking('a', 's1', null))).toThrow(expect.objectContaining({ code: 'not-found' }));
  });

  it('stays in the history although no copy has it, until it is deleted', () => {
    let volume = recordTaken(wanting('a'), 'h1', taking('a', 'pinned', null));
    for (let index = 0; index < 40; index += 1) {
      const name = `n${index}`;
      const after = volume.lineage.at(-1)?.snapshot ?? null;
      const next = recordTaken(requestSnapshot(volume, wish(name)), 'h1', taking(name, `s${index}`, after));
      volume = deleteSnapshot({ ...next, copies: held.copies }, name);
    }
    expect(volume.lineage.length).toBeLessThan(25);
    expect(volume.lineage[0]).toMatchObject({ snapshot: 'pinned' });
  });

  it('gets its size later', () => {
    const volume = recordTaken(wanting('a'), 'h1', taking('a', 's1', null));
    expect(volume.snapshots[0]).toMatchObject({ bytes: null });
    const measured = recordBytes(volume, 's1', 7);
    expect(measured).toMatchObject({ snapshots: [{ bytes: 7 }], lineage: [{ bytes: 7 }] });
    expect(recordBytes(measured, 's1', 7)).toBe(measured);
  });
});

describe('the order of snapshots on a disk', () => {
  it('is that of the history where it is known, and that of their arrival otherwise', () => {
    expect(inHistoryOrder(historyOf('s1', 's2', 's3'), ['s3', 's1', 'x', 's2', 'y'])).toEqual(['s1', 's2', 'x', 's3', 'y']);
  });

  it('loses none and adds none', () => {
    const names = ['s1', 's2', 's3', 's4', 's5'];
    fc.assert(
      fc.property(fc.shuffledSubarray(names), fc.shuffledSubarray(names), (history, present) => {
        expect(inHistoryOrder(historyOf(...history), present).toSorted()).toEqual(present.toSorted());
      }),
    );
  });
});
