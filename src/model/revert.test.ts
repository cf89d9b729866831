import { describe, expect, it } from 'vitest';
import { failOver } from './failover.ts';
import { newVolume } from './new-volume.ts';
import { claim, remove } from './placement.ts';
import type { Volume } from './records.ts';
import { callOffRevert, commitRevert, isReverted, refuseRevert, requestRevert } from './revert.ts';
import { deleteSnapshot, pinnedSnapshots } from './snapshots.ts';

const now = '2026-01-01T00:00:00.000Z';
const named = (snapshot: string): Volume['snapshots'][number] => {
  const wish = { id: `id of ${snapshot}`, name: snapshot, kind: 'manual' as const, description: '', labels: {}, requestedAt: now };
  return { ...wish, snapshot, takenAt: now, epoch: 2, bytes: null, problem: null };
};
const held = newVolume({
  id: 'vol_1',
  name: 'data',
  createdAt: now,
  epoch: 2,
  placement: { state: 'held', host: 'h1', base: null },
  copies: [
    { host: 'h1', kind: 'live', snapshots: ['s1', 's2'] },
    { host: 'h2', kind: 'replica', snapshots: ['s2', 's3'] },
  ],
  snapshots: [named('s1'), named('s3')],
  lineage: ['s1', 's2'].map((snapshot) => ({ snapshot, epoch: 2, takenAt: now, bytes: 1 })),
});
const asked = (word = 's1') => requestRevert(held, { id: 'rev', word, now });
const reverting = {
  epoch: 2,
  last: { snapshot: 'last', epoch: 2, takenAt: now, bytes: 0 },
  safety: { id: 'safety', name: 'before', description: '' },
};
const done = commitRevert(asked(), 'h1', reverting);
const refused = (code: string) => expect.objectContaining({ code }) as Error;

describe('a volume that is to go back to a snapshot', () => {
  it('is asked for so once', () => {
    expect(requestRevert(asked(), { id: 'another', word: 's1', now })).toMatchObject({ reverting: { id: 'rev', snapshot: 's1', problem: null } });
    const other = { ...asked(), snapshots: [...held.snapshots, named('s2')] };
    expect(() => requestRevert(other, { id: 'another', word: 's2', now })).toThrow(refused('wrong-state'));
  });

  it('is refused where it cannot be', () => {
    expect(() => asked('none')).toThrow(refused('not-found'));
    expect(() => asked('s3')).toThrow(refused('wrong-state'));
    const { volume: moving } = claim(held, 'h2', { moveId: 'mov', reason: 'operator', now });
    expect(() => requestRevert(moving, { id: 'rev', word: 's1', now })).toThrow(refused('move-in-progress'));
    expect(() => requestRevert({ ...held, placement: { state: 'free' } }, { id: 'rev', word: 's1', now })).toThrow(refused('wrong-state'));
  });

  it('keeps the snapshot until it is done, and is called off by whatever takes the volume elsewhere', () => {
    expect(() => deleteSnapshot(asked(), 's1')).toThrow(refused('wrong-state'));
    expect(claim(asked(), 'h2', { moveId: 'mov', reason: 'operator', now }).volume.reverting).toBeNull();
    expect(remove(asked())?.reverting).toBeNull();
    expect(failOver(asked(), { to: 'h2', actor: 'operator', reason: '', now }).reverting).toBeNull();
    expect(callOffRevert(asked(), 'another').reverting).not.toBeNull();
    expect(callOffRevert(asked(), 'rev')).toEqual(held);
  });

  it('stays as it is if its holder says so, until it is asked for again', () => {
    const problem = { code: 'volume-in-use', message: 'In use.', hint: null };
    expect(() => refuseRevert(asked(), 'h2', 2, problem)).toThrow(refused('stale-epoch'));
    const inUse = refuseRevert(asked(), 'h1', 2, problem);
    expect(() => commitRevert(inUse, 'h1', reverting)).toThrow(refused('wrong-state'));
    expect(requestRevert(inUse, { id: 'again', word: 's1', now })).toMatchObject({ reverting: { id: 'again', problem: null } });
  });

  it('goes back in one swap, from its holder alone', () => {
    expect(() => commitRevert(held, 'h1', reverting)).toThrow(refused('wrong-state'));
    expect(() => commitRevert(asked(), 'h2', reverting)).toThrow(refused('stale-epoch'));
    expect(() => commitRevert(asked(), 'h1', { ...reverting, epoch: 1 })).toThrow(refused('stale-epoch'));
    expect(done).toMatchObject({ epoch: 3, reverting: null, placement: { state: 'held', host: 'h1', base: 's1' } });
    expect(done.copies.find(({ host }) => host === 'h1')).toEqual({ host: 'h1', kind: 'replica', snapshots: ['s1', 's2', 'last'] });
    expect(pinnedSnapshots(done)).toEqual(['s1', 's3', 'last']);
    expect(done.lineage.map(({ snapshot, epoch }) => `${snapshot} ${epoch}`)).toEqual(['s1 2', 's2 2', 'last 2', 's1 3']);
    expect(isReverted(done)).toBe(true);
    expect(isReverted(held)).toBe(false);
    expect(commitRevert(done, 'h1', reverting)).toBe(done);
  });
});

describe('a failover after that', () => {
  it('is to the snapshot that the volume went back to, where a replica has it', () => {
    const copied = { ...done, copies: [...done.copies, { host: 'h3', kind: 'replica' as const, snapshots: ['s1'] }] };
    expect(failOver(copied, { to: 'h3', actor: 'operator', reason: '', now })).toMatchObject({
      placement: { host: 'h3', base: 's1' },
      lineage: done.lineage,
      diverged: [],
    });
  });

  it('is to what was before, where not, and takes no copy of the snapshot for something that a host had written alone', () => {
    const after = failOver(done, { to: 'h2', actor: 'operator', reason: '', now });
    expect(after).toMatchObject({ placement: { host: 'h2', base: 's2' }, lastFailover: { snapshot: 's2' } });
    expect(after.diverged).toMatchObject([{ host: 'h1', snapshot: 'last' }]);
    expect(pinnedSnapshots(after)).toEqual(['s1', 's3', 'last']);
  });
});
