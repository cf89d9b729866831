/* oxlint-disable vitest/no-conditional-expect -- what a property says of arbitrary facts holds under its condition */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Grant } from '../model/grant.ts';
import type { Copy, Placement, Volume } from '../model/records.ts';
import { factsArbitrary, moveOf, other, self, snapshotOf, third, volumeOf } from './facts.contract.ts';
import { describeSteps, isHousekeeping, planVolume, waitsForReplicas } from './volume-plan.ts';
import type { Step, VolumeFacts } from './volume-plan.ts';

const held = (host: string = self, base: string | null = null): Placement => ({ state: 'held', host, base });
const leaving: Placement = { state: 'moving', from: self, to: other, move: 'mov_1', base: null };
const coming: Placement = { state: 'moving', from: other, to: self, move: 'mov_1', base: null };
const grantOf = (state: Grant['state'], epoch = 3, move: string | null = null): Grant => ({
  epoch,
  state,
  move,
  snapshot: state === 'released' ? 's2' : null,
});
const liveHere: Copy = { host: self, kind: 'live', snapshots: [] };
const firstHere: Copy = { ...liveHere, snapshots: ['s1'] };
const allHere: Copy = { ...liveHere, snapshots: ['s1', 's2', 's3'] };
const entryOf = (snapshot: string) => ({ snapshot, epoch: 3, takenAt: '2026-01-01T00:00:00.000Z', bytes: 1 });
const settled: Partial<VolumeFacts> = { grant: grantOf('held'), live: 'writable', snapshots: ['s1', 's2', 's3'], mounted: true, references: 1 };
const rekeyed: Volume = { ...volumeOf(held(), 3, [liveHere]), encryption: { engine: 'luks', key: 2, keyInUse: 1 } };

const goingBack: Volume = {
  ...volumeOf(held(), 3, [firstHere]),
  snapshots: [{ ...snapshotOf('s1'), bytes: 1 }],
  reverting: { id: 'rev_1', snapshot: 's1', requestedAt: '', problem: null },
};
const goneBack: Volume = { ...volumeOf(held(self, 's1'), 3, [{ ...allHere, kind: 'replica' }]), lineage: [entryOf('s1')] };

function planOf(facts: Partial<VolumeFacts>): string {
  return describeSteps(
    planVolume({
      self,
      volume: null,
      move: null,
      grant: null,
      live: 'absent',
      snapshots: [],
      mounted: false,
      references: 0,
      mayWrite: true,
      leaving: false,
      ...facts,
    }),
  );
}

describe('the holder', () => {
  it.each<[string, Partial<VolumeFacts>, string]>([
    ['makes an empty live copy', { volume: volumeOf(held()) }, 'create-live, then report-copy live, then take-grant 3'],
    [
      'makes it of the snapshot that was moved',
      { volume: volumeOf(held(self, 's1')), snapshots: ['s1'] },
      'activate s1, then report-copy live, then take-grant 3',
    ],
    [
      'makes one anew that it had not been granted',
      { volume: volumeOf(held(self, 's1')), live: 'writable', snapshots: ['s1'] },
      'delete-live left over from before this epoch, then activate s1, then report-copy live, then take-grant 3',
    ],
    [
      'takes the grant of one that it had reported',
      { volume: volumeOf(held(), 3, [liveHere]), live: 'writable' },
      'resume-live, then report-copy live, then take-grant 3',
    ],
    ['is content', { volume: volumeOf(held(), 3, [liveHere]), grant: grantOf('held'), live: 'writable', mounted: true, references: 1 }, ''],
    ['gives the live copy its newest key', { volume: rekeyed, grant: grantOf('held'), live: 'writable', mounted: true, references: 1 }, 'rekey 2'],
    ['does so only while it may write', { volume: rekeyed, grant: grantOf('held'), live: 'writable', mayWrite: false }, ''],
    [
      'keeps the last snapshot, which the record may not have heard of, and drops one before it that never became part of the history',
      { volume: { ...volumeOf(held(), 3, [allHere]), lineage: [entryOf('s1')], replicas: [other] }, ...settled },
      'drop-snapshots s2',
    ],
    [
      'keeps no snapshot of the history for itself alone',
      { volume: { ...volumeOf(held(), 3, [allHere]), lineage: ['s1', 's2', 's3'].map(entryOf) }, ...settled },
      'drop-snapshots s1,s2,s3',
    ],
    [
      'keeps what has a name',
      {
        volume: { ...volumeOf(held(), 3, [allHere]), lineage: ['s1', 's2', 's3'].map(entryOf), snapshots: [{ ...snapshotOf('s2'), bytes: 1 }] },
        ...settled,
      },
      'drop-snapshots s1,s3',
    ],
    [
      'takes the snapshots that are wanted before it tidies up, but not one again that it could not take',
      {
        volume: {
          ...volumeOf(held(), 3, [liveHere]),
          snapshots: [snapshotOf('s1'), snapshotOf(null, 'a'), { ...snapshotOf(null, 'b'), problem: 'full' }, snapshotOf(null, 'c')],
        },
        ...settled,
      },
      'take-snapshot a, then take-snapshot c',
    ],
    ['closes for a snapshot that the volume is to go back to', { volume: goingBack, ...settled, snapshots: ['s1'] }, 'revert 3'],
    [
      'does not once it has said why not',
      {
        volume: { ...goingBack, reverting: { ...goingBack.reverting!, problem: { code: 'x', message: 'y', hint: null } } },
        ...settled,
        snapshots: ['s1'],
      },
      '',
    ],
    [
      'says again that it has closed',
      { volume: goingBack, grant: grantOf('released'), live: 'readonly', snapshots: ['s1', 's2'] },
      'report-revert 3',
    ],
    [
      'makes the live copy anew when the volume has gone back',
      { volume: goneBack, grant: grantOf('released', 2), live: 'readonly', snapshots: ['s1', 's2'] },
      'delete-live left over from before this epoch, then activate s1, then report-copy live, then take-grant 3',
    ],
    [
      'goes on with the one that it has made and reported',
      { volume: { ...goneBack, copies: [liveHere] }, grant: grantOf('released', 2), live: 'writable', snapshots: ['s1', 's2'] },
      'resume-live, then report-copy live, then take-grant 3',
    ],
    [
      'takes none of a copy that is closed',
      {
        volume: { ...volumeOf(held(), 3, [liveHere]), snapshots: [snapshotOf(null, 'a')] },
        grant: grantOf('held'),
        live: 'readonly',
        mayWrite: false,
      },
      '',
    ],
    ['unmounts what nobody uses', { volume: volumeOf(held(), 3, [liveHere]), grant: grantOf('held'), live: 'writable', mounted: true }, 'unmount'],
    [
      'makes a read-only copy of its own writable again',
      { volume: volumeOf(held(), 3, [liveHere]), grant: grantOf('held'), live: 'readonly' },
      'resume-live',
    ],
    [
      'calls off a release that it told nobody of',
      { volume: volumeOf(held(), 3, [liveHere]), grant: grantOf('releasing', 3, 'mov_1'), live: 'readonly' },
      'undo-release',
    ],
    [
      'asks for a new epoch after a release',
      { volume: volumeOf(held(), 3, [liveHere]), grant: grantOf('released', 3, 'mov_1'), live: 'readonly' },
      'reclaim 3',
    ],
    [
      'goes on under the new epoch',
      { volume: volumeOf(held(), 3, [liveHere]), grant: grantOf('released', 2, 'mov_1'), live: 'readonly' },
      'resume-live, then report-copy live, then take-grant 3',
    ],
    [
      'complains of a copy that is gone',
      { volume: volumeOf(held(), 3, [liveHere]), grant: grantOf('held') },
      'complain The live copy of this volume is missing from the pool.',
    ],
    [
      'complains of a copy that is gone with the grant',
      { volume: volumeOf(held(), 3, [liveHere]) },
      'complain The live copy of this volume is missing from the pool.',
    ],
  ])('%s', (_, facts, plan) => {
    expect(planOf(facts)).toBe(plan);
  });
});

describe('a holder whose replicas are slower than the interval', () => {
  const lineage = ['snp_1', 'snp_2', 'snp_3'].map((snapshot) => ({ snapshot, epoch: 3, takenAt: '2026-01-01T00:00:00.000Z', bytes: 1 }));
  const having = (...snapshots: string[]): Volume => ({
    ...volumeOf(held(), 3, [liveHere, { host: other, kind: 'replica', snapshots }]),
    lineage,
    replicas: [other],
  });

  it.each([
    { has: [], waits: true },
    { has: ['snp_1'], waits: true },
    { has: ['snp_2'], waits: false },
    { has: ['snp_3'], waits: false },
  ])('keeps the two newest snapshots for them, and adds no third before one has arrived: replica with $has', ({ has, waits }) => {
    const snapshots = ['snp_1', 'snp_2', 'snp_3'];
    expect(waitsForReplicas(having(...has), snapshots)).toBe(waits);
    expect(planOf({ volume: having(...has), grant: grantOf('held'), live: 'writable', snapshots })).not.toMatch(/drop-snapshots.*snp_[23]/);
  });

  it('waits for nothing that it cannot give them', () => {
    expect(waitsForReplicas(having(), ['snp_1', 'snp_3'])).toBe(false);
  });
});

describe('a holder whose own grant and the record are of different times', () => {
  it.each<[string, Partial<VolumeFacts>]>([
    ['never released', { volume: volumeOf(held(), 1), grant: grantOf('held', 3), live: 'writable' }],
    ['was about to release', { volume: volumeOf(held(), 1), grant: grantOf('releasing', 3), live: 'readonly' }],
    ['released later than the record knows of', { volume: volumeOf(held(), 1), grant: grantOf('released', 3), live: 'readonly', snapshots: ['s2'] }],
  ])('touches nothing of what it %s', (_, facts) => {
    expect(planOf(facts)).toMatch(/^complain [^,]*epoch 3/);
  });
});

describe('the source of a move', () => {
  const granted = { grant: grantOf('held'), live: 'writable', move: moveOf('ready'), volume: volumeOf(leaving, 3, [liveHere]) } as const;

  it.each<[string, Partial<VolumeFacts>, string]>([
    ['goes on while the data is copied', { ...granted, move: moveOf('copying') }, ''],
    [
      'takes what snapshot is wanted before it releases',
      { ...granted, volume: { ...granted.volume, snapshots: [snapshotOf(null, 'a')] } },
      'take-snapshot a',
    ],
    [
      'takes none any more once it has begun to release',
      { ...granted, grant: grantOf('releasing', 3, 'mov_1'), live: 'readonly', volume: { ...granted.volume, snapshots: [snapshotOf(null, 'a')] } },
      'release mov_1 3 true',
    ],
    ['releases when the destination is ready', granted, 'release mov_1 3 true'],
    ['waits for users if an operator asked', { ...granted, move: moveOf('ready', self, other, 'operator') }, 'release mov_1 3 false'],
    [
      'goes on with a release that a crash broke off',
      { ...granted, grant: grantOf('releasing', 3, 'mov_1'), live: 'readonly' },
      'release mov_1 3 true',
    ],
    ['calls off the release of an earlier move', { ...granted, grant: grantOf('releasing', 3, 'mov_0') }, 'undo-release'],
    ['says again that it released', { ...granted, grant: grantOf('released', 3, 'mov_1'), live: 'readonly' }, 'report-release mov_1 3'],
    [
      'lets a release that nobody heard of hold for the next move',
      { ...granted, grant: grantOf('released', 3, 'mov_0'), live: 'readonly' },
      'rededicate-release mov_1, then report-release mov_1 3',
    ],
    ['has nothing to do once that is known', { ...granted, grant: grantOf('released', 3, 'mov_1'), move: moveOf('released'), live: 'readonly' }, ''],
    [
      'makes its live copy first if it never had one',
      { ...granted, grant: null, live: 'absent', volume: volumeOf(leaving) },
      'create-live, then report-copy live, then take-grant 3',
    ],
    [
      'makes its live copy anew of what the volume has gone back to, although a move was opened since',
      {
        ...granted,
        grant: grantOf('released', 2),
        live: 'readonly',
        snapshots: ['s1', 's2'],
        volume: { ...goneBack, placement: { ...leaving, base: 's1' } as Placement },
      },
      'delete-live left over from before this epoch, then activate s1, then report-copy live, then take-grant 3',
    ],
    ['waits for the record of the move', { ...granted, move: null }, ''],
  ])('%s', (_, facts, plan) => {
    expect(planOf(facts)).toBe(plan);
  });
});

describe('the destination of a move', () => {
  it('receives', () => {
    expect(planOf({ volume: volumeOf(coming), move: moveOf('copying', other, self) })).toBe('receive-move mov_1');
  });

  it('sees to it first that nothing can write to what it has from before', () => {
    const facts = {
      volume: volumeOf(coming),
      move: moveOf('released', other, self),
      grant: grantOf('released', 1),
      live: 'writable',
      snapshots: ['s2'],
    } as const;
    expect(planOf({ ...facts, snapshots: ['s2'] })).toBe('protect-live, then receive-move mov_1');
  });
});

describe('a bystander', () => {
  it.each<[string, Partial<VolumeFacts>, string]>([
    ['has nothing to do', { volume: volumeOf(held(other)) }, ''],
    ['has nothing to do for a volume that nobody held yet', { volume: volumeOf({ state: 'free' }, 0) }, ''],
    [
      'throws the released live copy away, whose snapshot it keeps',
      { volume: volumeOf(held(other)), grant: grantOf('released', 2), live: 'readonly', snapshots: ['s2'] },
      'delete-live another host holds the volume; the final snapshot is kept',
    ],
    [
      'keeps and shows what it never released',
      { volume: volumeOf(held(other)), grant: grantOf('held', 2), live: 'writable' },
      'protect-live, then complain Another host holds this volume, but a live copy that was never released is here. It is kept, read-only.',
    ],
    [
      'keeps it too if the snapshot is missing',
      { volume: volumeOf(held(other)), grant: grantOf('released', 2), live: 'readonly', snapshots: ['s1'] },
      'protect-live, then complain Another host holds this volume, but a live copy that was never released is here. It is kept, read-only.',
    ],
    ['says what it has', { volume: volumeOf(held(other)), snapshots: ['s1'] }, 'report-copy replica'],
    [
      'says that it has nothing any more',
      { volume: volumeOf(held(other), 3, [{ host: self, kind: 'replica', snapshots: ['s1'] }]) },
      'report-copy replica',
    ],
    [
      'keeps the newest snapshot, and the newest in common with each host',
      {
        volume: volumeOf(held(other), 3, [
          { host: other, kind: 'live', snapshots: ['s1', 's2'] },
          { host: third, kind: 'replica', snapshots: ['s1'] },
          { host: self, kind: 'replica', snapshots: ['s0', 's1', 's2', 's3'] },
        ]),
        snapshots: ['s0', 's1', 's2', 's3'],
      },
      'drop-snapshots s0',
    ],
  ])('%s', (_, facts, plan) => {
    expect(planOf(facts)).toBe(plan);
  });

  const named = (snapshots: string[], elsewhere: Copy[] = [], replicas: string[] = [self]): Partial<VolumeFacts> => ({
    snapshots,
    volume: {
      ...volumeOf(held(other), 3, [
        { host: other, kind: 'live', snapshots: ['s2', 's3', 's4'] },
        { host: self, kind: 'replica', snapshots },
        ...elsewhere,
      ]),
      snapshots: [{ ...snapshotOf('s1'), bytes: 1 }, snapshotOf('s2')],
      lineage: ['s1', 's2', 's3', 's4'].map(entryOf),
      replicas,
    },
  });

  it('that is a replica brings the newest first: with a named one alone it would count as a copy of old', () => {
    expect(planOf(named([]))).toBe('report-copy replica, then receive-replica s4');
    expect(planOf(named(['s4']))).toBe('receive-replica s2');
  });

  it('goes on tidying up while a named one cannot be had', () => {
    expect(planOf(named(['s0', 's4']))).toBe('drop-snapshots s0, then receive-replica s2');
  });

  it('that is being emptied keeps a named one that the holder lacks, also if another host has it', () => {
    expect(planOf({ ...named(['s2'], [], []), leaving: true })).toBe('delete-copy');
    expect(planOf({ ...named(['s1'], [{ host: third, kind: 'replica', snapshots: ['s1'] }], []), leaving: true })).toBe('');
  });
});

describe('a removal', () => {
  const removing = (confirmed: boolean, host: string = self): Volume => volumeOf({ state: 'removing', host, base: null, confirmed }, 3, [liveHere]);

  it.each<[string, Partial<VolumeFacts>, string]>([
    ['is confirmed by the holder', { volume: removing(false), grant: grantOf('held'), live: 'writable' }, 'confirm-removal'],
    ['is not for others to confirm', { volume: removing(false, other), snapshots: ['s1'] }, ''],
    ['deletes only after that', { volume: removing(true), grant: grantOf('releasing'), live: 'readonly' }, 'delete-copy'],
    ['reaches replicas too', { volume: removing(true, other), snapshots: ['s1'] }, 'delete-copy'],
    ['tells of what is gone already', { volume: removing(true) }, 'delete-copy'],
    ['is over for a host that never had any', { volume: volumeOf({ state: 'removing', host: other, base: null, confirmed: true }) }, ''],
  ])('%s', (_, facts, plan) => {
    expect(planOf(facts)).toBe(plan);
  });
});

describe('a volume that the name server does not know', () => {
  it('keeps its data, and is complained of', () => {
    expect(planOf({ live: 'writable', grant: grantOf('held') })).toMatch(/^complain .* It is kept\.$/);
    expect(planOf({ snapshots: ['s1'] })).toMatch(/^complain /);
  });

  it('is forgotten if it has no data here', () => {
    expect(planOf({ grant: grantOf('releasing') })).toBe('delete-copy');
    expect(planOf({})).toBe('');
  });
});

/** By the record, this host has the right to write: it holds the volume, or is the source of a move that was not released. */
function entitled({ volume, move }: VolumeFacts): boolean {
  if (volume?.placement.state === 'held') return volume.placement.host === self;
  return volume?.placement.state === 'moving' && volume.placement.from === self && move !== null && move.phase !== 'released';
}

const enablesWriting = new Set<Step['do']>(['create-live', 'activate', 'resume-live', 'take-grant', 'undo-release']);

/** A leftover on a host that is being emptied, while the holder has the data. */
function isSurplus({ volume, leaving, live }: VolumeFacts): boolean {
  if (volume?.placement.state !== 'held') return false;
  const { host } = volume.placement;
  const held = host !== self && volume.copies.some((copy) => copy.host === host && copy.kind === 'live');
  return leaving && live === 'absent' && held && !volume.replicas.includes(self) && !volume.diverged.some((each) => each.host === self);
}

describe('whatever the facts', () => {
  const check = (property: (facts: VolumeFacts, steps: Step[]) => void): void =>
    fc.assert(
      fc.property(factsArbitrary, (facts) => property(facts, planVolume(facts))),
      { numRuns: 1000 },
    );

  it('nothing makes a live copy writable unless the record says that this host may write', () => {
    check((facts, steps) => {
      if (!entitled(facts)) expect(steps.filter((step) => enablesWriting.has(step.do))).toEqual([]);
    });
  });

  it('a grant is taken for the epoch of the record only, never for one that was released, and as the last step', () => {
    check((facts, steps) => {
      for (const [index, step] of steps.entries()) {
        if (step.do !== 'take-grant') continue;
        expect(step.epoch).toBe(facts.volume?.epoch);
        expect(index).toBe(steps.length - 1);
        if (facts.grant?.state === 'released') expect(step.epoch).not.toBe(facts.grant.epoch);
      }
      const released = facts.grant?.state === 'released' && facts.grant.epoch === facts.volume?.epoch;
      if (released) expect(steps.filter((step) => enablesWriting.has(step.do))).toEqual([]);
    });
  });

  it('all data of a volume is deleted only when its holder confirmed the removal, or when there is none, or when a host is emptied of what its holder has', () => {
    check((facts, steps) => {
      if (!steps.some((step) => step.do === 'delete-copy')) return;
      const { volume, live, snapshots } = facts;
      const confirmed = volume?.placement.state === 'removing' && volume.placement.confirmed;
      const nothing = volume === null && live === 'absent' && snapshots.length === 0;
      expect(confirmed || nothing || isSurplus(facts)).toBe(true);
    });
  });

  it('a live copy is deleted only if this host gave it up in favour of a snapshot, or was never allowed to mount it', () => {
    check((facts, steps) => {
      if (!steps.some((step) => step.do === 'delete-live')) return;
      const { grant, volume } = facts;
      const comesBack = volume?.placement.state === 'moving' && volume.placement.to === self;
      expect(volume?.placement.state === 'held' || entitled(facts) || comesBack).toBe(true);
      if (comesBack && grant !== null) expect(facts.snapshots).toContain(grant.snapshot);
      expect(grant === null || grant.state === 'released').toBe(true);
      if (grant === null) expect(volume?.copies).not.toContainEqual(expect.objectContaining({ host: self, kind: 'live' }));
    });
  });

  it('a snapshot is dropped only by a host that holds the volume or keeps a replica, and never the newest, nor what the live copy starts from', () => {
    check((facts, steps) => {
      for (const step of steps) {
        if (step.do !== 'drop-snapshots') continue;
        expect(facts.volume?.placement.state).toBe('held');
        const { lineage, diverged } = facts.volume ?? { lineage: [], diverged: [] };
        const inHistory = lineage.map((entry) => entry.snapshot).filter((each) => facts.snapshots.includes(each));
        expect(step.snapshots).not.toContain(inHistory.at(-1) ?? facts.snapshots.at(-1));
        for (const each of diverged) if (each.host === self) expect(step.snapshots).not.toContain(each.snapshot);
        if (facts.volume?.placement.state === 'held') expect(step.snapshots).not.toContain(facts.volume.placement.base);
      }
    });
  });

  it('a release is asked of an entitled source only, under the epoch of the record', () => {
    check((facts, steps) => {
      for (const step of steps) {
        if (step.do !== 'release') continue;
        expect(entitled(facts)).toBe(true);
        expect(step.epoch).toBe(facts.volume?.epoch);
        expect(facts.move?.phase).toBe('ready');
      }
    });
  });

  it('the plan can be read', () => {
    check((_, steps) => {
      expect(describeSteps(steps).split(', then ')).toHaveLength(Math.max(1, steps.length));
    });
  });
});

describe('housekeeping', () => {
  it('is what nobody waits for', () => {
    expect(isHousekeeping([{ do: 'unmount' }, { do: 'drop-snapshots', snapshots: ['s1'] }])).toBe(true);
    expect(
      isHousekeeping([
        { do: 'report-copy', kind: 'live' },
        { do: 'take-grant', epoch: 1 },
      ]),
    ).toBe(false);
  });
});
