import { newVolume } from '../model/new-volume.ts';
import type { Move, Volume } from '../model/records.ts';
import type { HostView } from '../protocol/routes.ts';

/** For tests: records of a small cluster. h1 is up, the others are down. */
export const time = '2026-11-23T09:00:00Z';
export const hostId = (digit: number): string => `hst_${String(digit).repeat(24)}`;
export const snapshotId = (digit: number): string => `snp_${String(digit).repeat(24)}`;
export const moveId = `mov_${'a'.repeat(24)}`;
export const volumeId = `vol_${'0'.repeat(24)}`;

export const host = (digit: number, changes: Partial<HostView> = {}): HostView => ({
  id: hostId(digit),
  name: `h${digit}`,
  address: `10.0.0.${digit}:7471`,
  version: '1.2.3',
  joinedAt: time,
  state: 'active',
  labels: {},
  status: digit === 1 ? 'up' : 'down',
  pool: digit === 1 ? { driver: 'btrfs', location: '/dev/vdb', capacityBytes: 10 * 1024 ** 3, usedBytes: 1024 ** 3 } : null,
  ...changes,
});
export const hosts = [host(1), host(2)];
/** What the whole state has of access in a cluster that uses none of it. */
export const noAccess = { projects: [], applications: [], grants: [], denials: [] };

/** Held by h1, with what h2 has left of an earlier move. */
export const volume = (name: string, changes: Partial<Volume> = {}): Volume =>
  newVolume({
    id: volumeId,
    name,
    createdAt: time,
    epoch: 3,
    placement: { state: 'held', host: hostId(1), base: null },
    copies: [
      { host: hostId(1), kind: 'live', snapshots: [] },
      { host: hostId(2), kind: 'replica', snapshots: [] },
    ],
    ...changes,
  });

export const move = (changes: Partial<Move> = {}): Move => ({
  id: moveId,
  volume: volumeId,
  volumeName: 'pgdata',
  from: hostId(1),
  to: hostId(2),
  epoch: 3,
  reason: 'operator',
  phase: 'copying',
  blockedBy: [],
  finalSnapshot: null,
  progress: null,
  error: null,
  startedAt: time,
  endedAt: null,
  ...changes,
});

/** The cells of a table that was printed. */
export function cellsOf(stdout: string): string[][] {
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.split(/ {2,}/));
}
