/* oxlint-disable vitest/no-conditional-expect -- what a property says of arbitrary facts holds under its condition */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { recordCopy } from '../model/copies.ts';
import { abort, commit, confirmRemoval, isGone, reclaim, release } from '../model/placement.ts';
import { recordDiverged } from '../model/failover.ts';
import { commitRevert } from '../model/revert.ts';
import { hostsWith, pinnedSnapshots, recordBytes, recordTaken, wantedSnapshots } from '../model/snapshots.ts';
import { SupercargoError } from '../model/errors.ts';
import { factsArbitrary, self } from './facts.contract.ts';
import { describeSteps, isReplicaOf, planVolume } from './volume-plan.ts';
import type { Step, VolumeFacts } from './volume-plan.ts';

const now = '2026-01-01T00:00:00.000Z';

/** What a step does to the facts, when all goes well: the agent and the name server in a few lines. */
function perform(facts: VolumeFacts, step: Step): VolumeFacts {
  const { volume, move, grant } = facts;
  switch (step.do) {
    case 'create-live':
    case 'resume-live':
      return { ...facts, live: 'writable' };
    case 'activate':
      if (facts.live !== 'absent') throw new SupercargoError('wrong-state', 'There is a live copy already.');
      return {
        ...facts,
        live: 'writable',
        snapshots: facts.snapshots.includes(step.snapshot) ? facts.snapshots : [...facts.snapshots, step.snapshot],
      };
    case 'delete-live':
      return { ...facts, live: 'absent', mounted: false };
    case 'protect-live':
      return { ...facts, live: 'readonly' };
    case 'report-copy': {
      const nothing = facts.live === 'absent' && facts.snapshots.length === 0;
      return { ...facts, volume: volume && recordCopy(volume, self, nothing ? null : { host: self, kind: step.kind, snapshots: facts.snapshots }) };
    }
    case 'take-grant':
      return { ...facts, grant: { epoch: step.epoch, state: 'held', move: null, snapshot: null } };
    case 'take-snapshot': {
      const snapshot = `taken for ${step.id}`;
      const entry = { snapshot, epoch: volume?.epoch ?? 0, takenAt: now, bytes: 0 };
      const after = volume?.lineage.at(-1)?.snapshot ?? null;
      return { ...facts, snapshots: [...facts.snapshots, snapshot], volume: volume && recordTaken(volume, self, { id: step.id, entry, after }) };
    }
    case 'revert':
      return {
        ...facts,
        live: 'readonly',
        mounted: false,
        grant: { epoch: step.epoch, state: 'released', move: null, snapshot: 's6' },
        snapshots: [...facts.snapshots, 's6'],
      };
    case 'report-revert': {
      const last = { snapshot: grant?.snapshot ?? '', epoch: step.epoch, takenAt: now, bytes: 0 };
      const safety = { id: 'safety', name: 'safety', description: '' };
      return { ...facts, volume: volume && commitRevert(volume, self, { epoch: step.epoch, last, safety }) };
    }
    case 'measure-snapshot':
      return { ...facts, volume: volume && recordBytes(volume, step.snapshot, 1) };
    case 'undo-release':
      return { ...facts, live: 'writable', grant: grant && { epoch: grant.epoch, state: 'held', move: null, snapshot: null } };
    case 'reclaim':
      return { ...facts, volume: volume && reclaim(volume, self, step.epoch) };
    case 'unmount':
      return { ...facts, mounted: false };
    case 'release':
      return {
        ...facts,
        live: 'readonly',
        mounted: false,
        grant: { epoch: step.epoch, state: 'released', move: step.move, snapshot: 's4' },
        snapshots: [...facts.snapshots, 's4'],
      };
    case 'rededicate-release':
      return { ...facts, grant: grant && { ...grant, move: step.move } };
    case 'report-release':
      if (volume === null || move === null || grant === null || grant.snapshot === null) return facts;
      return { ...facts, ...release(volume, move, grant.snapshot, now) };
    case 'drop-snapshots':
      return { ...facts, snapshots: facts.snapshots.filter((snapshot) => !step.snapshots.includes(snapshot)) };
    case 'rekey':
      return { ...facts, volume: volume?.encryption ? { ...volume, encryption: { ...volume.encryption, keyInUse: step.number } } : volume };
    case 'confirm-removal':
      return { ...facts, live: facts.live === 'absent' ? 'absent' : 'readonly', mounted: false, volume: volume && confirmRemoval(volume, self) };
    case 'delete-copy': {
      const changed = volume && recordCopy(volume, self, null);
      return { ...facts, live: 'absent', snapshots: [], grant: null, mounted: false, volume: changed !== null && isGone(changed) ? null : changed };
    }
    case 'receive-replica':
    case 'import-snapshot':
      return { ...facts, snapshots: [...facts.snapshots, step.snapshot] };
    case 'fence-live':
      return { ...facts, mounted: false, references: 0 };
    case 'keep-diverged': {
      const kept = volume && recordDiverged(volume, { host: self, snapshot: 's5', epoch: step.epoch, keptAt: now });
      return {
        ...facts,
        volume: kept,
        snapshots: [...facts.snapshots, 's5'],
        grant: { epoch: step.epoch, state: 'released', move: null, snapshot: 's5' },
      };
    }
    case 'report-diverged':
      return { ...facts, volume: volume && recordDiverged(volume, { host: self, snapshot: step.snapshot, epoch: step.epoch, keptAt: now }) };
    case 'receive-move':
    case 'complain':
      return facts;
  }
}

/** Plans and acts until nothing changes. @returns the plans, the last of which is final */
function converge(facts: VolumeFacts): { facts: VolumeFacts; plans: string[] } {
  let current = facts;
  const plans: string[] = [];
  for (let round = 0; round < 12; round += 1) {
    const steps = planVolume(current);
    plans.push(describeSteps(steps));
    const before = JSON.stringify(current);
    for (const step of steps) current = perform(current, step);
    if (JSON.stringify(current) === before) return { facts: current, plans };
  }
  throw new Error(`does not come to rest: ${plans.join(' | ')}`);
}

/** What a replica is to have in the end: the newest, and what has a name where the holder has it. */
function fetchable(volume: VolumeFacts['volume']): string[] {
  if (volume?.placement.state !== 'held') return [];
  const { host } = volume.placement;
  return [
    ...volume.lineage.slice(-1).map(({ snapshot }) => snapshot),
    ...pinnedSnapshots(volume).filter((each) => hostsWith(volume, each).includes(host)),
  ];
}

describe('plan and act', () => {
  it('come to rest from whatever facts', () => {
    fc.assert(
      fc.property(factsArbitrary, (facts) => {
        const { plans } = converge(facts);
        expect(plans.at(-1)).toMatch(/^$|receive-move|complain/);
      }),
      { numRuns: 1000 },
    );
  });

  it('end, for a holder, with a writable copy and a grant of the present epoch, or with a complaint', () => {
    fc.assert(
      fc.property(
        factsArbitrary.filter(({ volume }) => volume?.placement.state === 'held' && volume.placement.host === self),
        (start) => {
          const { facts, plans } = converge(start);
          if (plans.at(-1)?.includes('complain')) return;
          // One whose lease is not confirmed leaves a copy that was closed for that as it is.
          const live = facts.mayWrite ? 'writable' : (expect.stringMatching(/writable|readonly/) as string);
          expect(facts).toMatchObject({ live, grant: { state: 'held', epoch: facts.volume?.epoch } });
          if (facts.references === 0) expect(facts.mounted).toBe(false);
          if (facts.live === 'writable') expect(facts.volume && wantedSnapshots(facts.volume)).toEqual([]);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('drop nothing that has a name, unless the volume goes or another host has it as well', () => {
    fc.assert(
      fc.property(
        factsArbitrary.filter(({ volume }) => volume !== null && volume.placement.state !== 'removing'),
        (start) => {
          const named = start.volume === null ? [] : pinnedSnapshots(start.volume);
          const elsewhere = start.volume?.copies.flatMap(({ host, snapshots }) => (host === self ? [] : snapshots)) ?? [];
          const { facts } = converge(start);
          const gone = named.filter((snapshot) => start.snapshots.includes(snapshot) && !facts.snapshots.includes(snapshot));
          expect(gone.filter((snapshot) => !start.leaving || !elsewhere.includes(snapshot))).toEqual([]);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('end, for everybody else, without a copy that can be written to', () => {
    fc.assert(
      fc.property(
        factsArbitrary.filter(({ volume }) => volume?.placement.state === 'held' && volume.placement.host !== self),
        (start) => {
          const { facts, plans } = converge(start);
          expect(facts.live).not.toBe('writable');
          if (!plans.at(-1)?.includes('complain')) expect(facts.live).toBe('absent');
          if (isReplicaOf(facts) && !plans.at(-1)?.includes('complain'))
            expect(facts.snapshots).toEqual(expect.arrayContaining(fetchable(facts.volume)));
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('release when the destination is ready, and go on under a new epoch when the move ends all the same', () => {
    fc.assert(
      fc.property(
        factsArbitrary.filter(({ volume, move, grant, live }) => {
          // A copy is read-only before its release is recorded.
          const impossible = grant?.state === 'released' && grant.epoch === volume?.epoch && live === 'writable';
          return volume?.placement.state === 'moving' && volume.placement.from === self && move?.phase === 'ready' && !impossible;
        }),
        fc.boolean(),
        (start, committed) => {
          const { facts, plans } = converge(start);
          if (plans.at(-1)?.includes('complain')) return;
          expect(facts).toMatchObject({
            move: { phase: 'released' },
            live: expect.not.stringMatching('writable') as string,
            grant: { state: 'released' },
          });
          const { volume, move } = facts;
          if (volume === null || move === null) throw new Error('the records are gone');
          const ended = committed ? commit(volume, move, '') : abort(volume, move, null, '');
          const after = converge({ ...facts, volume: ended.volume, move: null });
          if (after.plans.at(-1)?.includes('complain')) return;
          if (committed) expect(after.facts.live).toBe('absent');
          else expect(after.facts).toMatchObject({ live: 'writable', grant: { state: 'held', epoch: volume.epoch + 1 } });
        },
      ),
      { numRuns: 500 },
    );
  });
});
