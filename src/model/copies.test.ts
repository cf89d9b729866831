import { describe, expect, it } from 'vitest';
import { changesSeen, recordCopy, reportCopy } from './copies.ts';
import { failOver } from './failover.ts';
import { newVolume } from './new-volume.ts';
import type { Copy } from './records.ts';

const volume = newVolume({ id: 'vol_1', name: 'data', createdAt: '2026-01-01T00:00:00.000Z' });
const copyOf = (kind: Copy['kind'], ...snapshots: string[]): Copy => ({ host: 'a', kind, snapshots });
const refused = expect.objectContaining({ code: 'wrong-state' }) as Error;

describe('a report of a copy', () => {
  it('is recorded, and counted for its host alone', () => {
    const reported = reportCopy(volume, 'a', copyOf('live', 'snp_1'), 0);
    expect(reported).toMatchObject({ copies: [copyOf('live', 'snp_1')], copyChanges: { a: 1 } });
    expect(changesSeen(reported, 'b')).toBe(0);
  });

  it('that says what is known already changes nothing, however old it is', () => {
    const reported = reportCopy(volume, 'a', copyOf('live', 'snp_1'), 0);
    expect(reportCopy(reported, 'a', copyOf('live', 'snp_1'), 0)).toBe(reported);
    expect(reportCopy(volume, 'a', null, 0)).toBe(volume);
  });

  it('that comes after a newer one is refused, also if that says that nothing is there any more', () => {
    const newer = reportCopy(reportCopy(volume, 'a', copyOf('replica', 'snp_1'), 0), 'a', copyOf('replica', 'snp_1', 'snp_2'), 1);
    expect(() => reportCopy(newer, 'a', copyOf('replica', 'snp_1'), 0)).toThrow(refused);
    expect(() => reportCopy(newer, 'a', null, 1)).toThrow(refused);
    const gone = reportCopy(newer, 'a', null, 2);
    expect(gone.copies).toEqual([]);
    expect(() => reportCopy(gone, 'a', copyOf('replica', 'snp_1'), 1)).toThrow(refused);
  });

  it('of a live copy that was on its way when another holder was replaced does not become the new holder’s', () => {
    const entry = { snapshot: 'snp_1', epoch: 1, takenAt: '2026-01-01T00:00:00.000Z', bytes: 1 };
    const held = {
      ...reportCopy(volume, 'a', copyOf('replica', 'snp_1'), 0),
      placement: { state: 'held' as const, host: 'b', base: null },
      lineage: [entry],
    };
    const after = failOver(held, { to: 'a', actor: 'operator', reason: 'off', now: '2026-01-01T00:00:00.000Z' });
    expect(after.copies).toEqual([copyOf('replica', 'snp_1')]);
    expect(() => reportCopy(after, 'a', copyOf('live', 'snp_1'), 1)).toThrow(refused);
  });

  it('that was on its way when the record itself was changed is refused, even if that changed nothing', () => {
    const recorded = recordCopy(reportCopy(volume, 'a', copyOf('replica', 'snp_1'), 0), 'a', copyOf('replica', 'snp_1'));
    expect(() => reportCopy(recorded, 'a', copyOf('live', 'snp_1'), 1)).toThrow(refused);
  });
});
