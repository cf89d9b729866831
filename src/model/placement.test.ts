/* oxlint-disable vitest/no-conditional-expect -- what a property says of arbitrary facts holds under its condition */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { changesSeen, recordCopy, reportCopy } from './copies.ts';
import { currentHost } from './holder.ts';
import {
  abort,
  claim,
  commit,
  confirmRemoval,
  isGone,
  isOver,
  markBlocked,
  markReady,
  reclaim,
  refuseRemoval,
  release,
  remove,
} from './placement.ts';
import { SupercargoError } from './errors.ts';
import { newVolume } from './new-volume.ts';
import type { Move, Volume } from './records.ts';

const now = '2026-01-01T00:00:00.000Z';
const [a, b, c] = ['hst_a', 'hst_b', 'hst_c'] as const;
const opening = (moveId: string) => ({ moveId, reason: 'mount' as const, now });
const failure = { code: 'move-failed', message: 'it failed', hint: null };

function freshVolume(): Volume {
  return newVolume({ id: 'vol_1', name: 'data', createdAt: now });
}

function held(host = a): Volume {
  return claim(freshVolume(), host, opening('mov_0')).volume;
}

function moving(): { volume: Volume; move: Move } {
  const { volume, move } = claim(held(), b, opening('mov_1'));
  return { volume, move: move! };
}

const code = (expected: string) => expect.objectContaining({ code: expected });

describe('a claim', () => {
  it('is granted for a free volume, under epoch 1', () => {
    expect(held()).toMatchObject({ epoch: 1, placement: { state: 'held', host: a, base: null } });
  });

  it('changes nothing for the holder', () => {
    const volume = held();
    expect(claim(volume, a, opening('mov_1'))).toEqual({ volume, move: null });
  });

  it('opens a move for another host, which may not write yet', () => {
    const { volume, move } = moving();
    expect(move).toMatchObject({ from: a, to: b, phase: 'copying', epoch: 1 });
    expect(volume.epoch).toBe(1);
    expect(currentHost(volume.placement)).toBe(a);
  });

  it('joins the move that leads there, and is refused to a third host and to the source', () => {
    const { volume } = moving();
    expect(claim(volume, b, opening('mov_2'))).toEqual({ volume, move: null });
    for (const host of [a, c]) expect(() => claim(volume, host, opening('mov_2'))).toThrow(code('move-in-progress'));
  });

  it('is refused for a volume that is being removed', () => {
    expect(() => claim(remove(held())!, a, opening('mov_1'))).toThrow(code('not-found'));
  });
});

describe('a move', () => {
  it('is committed only after its release', () => {
    const opened = moving();
    expect(() => commit(opened.volume, opened.move, now)).toThrow(code('wrong-state'));
    const ready = markReady(opened.volume, opened.move);
    expect(() => commit(ready.volume, ready.move, now)).toThrow(code('wrong-state'));
    const released = release(ready.volume, ready.move, 'snp_1', now);
    const committed = commit(released.volume, released.move, now);
    expect(committed.volume).toMatchObject({ epoch: 2, placement: { state: 'held', host: b, base: 'snp_1' } });
    expect(committed.move).toMatchObject({ phase: 'committed', endedAt: now });
  });

  it('turns the copy of the source into a replica', () => {
    const { volume, move } = moving();
    const withCopy = recordCopy(volume, a, { host: a, kind: 'live', snapshots: ['snp_1'] });
    const released = release(withCopy, move, 'snp_1', now);
    expect(commit(released.volume, released.move, now).volume.copies).toContainEqual({ host: a, kind: 'replica', snapshots: ['snp_1'] });
  });

  it('lists its destination from the start, so that a removal waits until nothing is left there', () => {
    expect(moving().volume.copies).toEqual([{ host: b, kind: 'replica', snapshots: [] }]);
  });

  it('keeps its epoch when it ends before the release, and gets a new one when it ends after', () => {
    const opened = moving();
    const { copies, copyChanges } = opened.volume;
    expect(abort(opened.volume, opened.move, failure, now).volume).toEqual({ ...held(), copies, copyChanges });
    const released = release(opened.volume, opened.move, 'snp_1', now);
    const lineage = [{ snapshot: 'snp_1', epoch: 1, takenAt: now, bytes: 0 }];
    expect(abort(released.volume, released.move, failure, now).volume).toEqual({ ...held(), copies, copyChanges, lineage, epoch: 2 });
  });

  it('cannot be ended, released, blocked or made ready once it is committed', () => {
    const released = release(moving().volume, moving().move, 'snp_1', now);
    const { volume, move } = commit(released.volume, released.move, now);
    expect(() => abort(volume, move, failure, now)).toThrow(code('wrong-state'));
    expect(() => release(volume, move, 'snp_1', now)).toThrow(code('wrong-state'));
    expect(() => markReady(volume, move)).toThrow(code('wrong-state'));
    expect(() => markBlocked(volume, move, [])).toThrow(code('wrong-state'));
  });

  it('does not take a second release with another snapshot', () => {
    const { volume, move } = release(moving().volume, moving().move, 'snp_1', now);
    expect(() => release(volume, move, 'snp_2', now)).toThrow(code('wrong-state'));
  });

  it('does not act on a volume that another move has', () => {
    const first = moving();
    const aborted = abort(first.volume, first.move, failure, now);
    const second = claim(aborted.volume, c, opening('mov_2'));
    expect(() => release(second.volume, first.move, 'snp_1', now)).toThrow(code('wrong-state'));
    expect(() => abort(second.volume, first.move, failure, now)).toThrow(code('wrong-state'));
  });
});

describe('a removal', () => {
  it('is over at once for a volume that nobody ever held', () => {
    expect(remove(freshVolume())).toBeNull();
  });

  it('waits for the holder and can be called off until it is confirmed', () => {
    const removing = remove(held())!;
    expect(remove(removing)).toBe(removing);
    expect(refuseRemoval(removing)).toEqual(held());
    const confirmed = confirmRemoval(removing, a);
    expect(confirmRemoval(confirmed, a)).toBe(confirmed);
    expect(() => refuseRemoval(confirmed)).toThrow(code('wrong-state'));
    expect(() => confirmRemoval(removing, b)).toThrow(code('wrong-state'));
    expect(() => refuseRemoval(held())).toThrow(code('wrong-state'));
  });

  it('is refused while the volume moves', () => {
    expect(() => remove(moving().volume)).toThrow(code('move-in-progress'));
  });

  it('is over when the last copy is gone', () => {
    const copied = recordCopy(held(), a, { host: a, kind: 'live', snapshots: [] });
    const confirmed = confirmRemoval(remove(copied)!, a);
    expect(isGone(confirmed)).toBe(false);
    expect(isGone(recordCopy(confirmed, a, null))).toBe(true);
    expect(isGone(recordCopy(held(), a, null))).toBe(false);
  });
});

describe('a reclaim', () => {
  it('raises the epoch that was released, once', () => {
    const again = reclaim(held(), a, 1);
    expect(again.epoch).toBe(2);
    expect(reclaim(again, a, 1)).toBe(again);
  });

  it('is for the holder only, and not for an epoch that was never given', () => {
    expect(() => reclaim(held(), b, 1)).toThrow(code('stale-epoch'));
    expect(() => reclaim(held(), a, 2)).toThrow(code('stale-epoch'));
    expect(() => reclaim(moving().volume, a, 1)).toThrow(code('stale-epoch'));
  });
});

/** The one host that may write by the record, under which epoch; null while nobody may. */
function entitled(volume: Volume, moves: ReadonlyMap<string, Move>): { host: string; epoch: number } | null {
  const { placement, epoch } = volume;
  if (placement.state === 'held') return { host: placement.host, epoch };
  if (placement.state !== 'moving') return null;
  return moves.get(placement.move)?.phase === 'released' ? null : { host: placement.from, epoch };
}

const actions = ['claim', 'ready', 'block', 'release', 'commit', 'abort', 'reclaim', 'remove', 'confirm', 'refuse', 'copy', 'dropCopy'] as const;
interface Action {
  what: (typeof actions)[number];
  host: string;
  /** Which of the moves so far; wraps around. */
  move: number;
  snapshot: string;
}
const actionArbitrary: fc.Arbitrary<Action> = fc.record({
  what: fc.constantFrom(...actions),
  host: fc.constantFrom<string>(a, b, c),
  move: fc.nat(4),
  snapshot: fc.constantFrom('snp_1', 'snp_2'),
});

/** Records as the name server keeps them, changed by whoever calls, as the handlers let them. */
class World {
  volume: Volume | null = freshVolume();
  readonly moves = new Map<string, Move>();
  readonly released = new Map<number, string>();

  act(action: Action): void {
    const { volume } = this;
    if (volume === null) return;
    const move = [...this.moves.values()].at(-1 - action.move);
    const change = this.#decide(volume, move, action);
    if (change === undefined) return;
    if (change.move !== null) this.moves.set(change.move.id, change.move);
    if (action.what === 'release' && change.move?.phase === 'released') this.released.set(volume.epoch, change.move.from);
    this.volume = change.volume;
  }

  #decide(volume: Volume, move: Move | undefined, action: Action): { volume: Volume | null; move: Move | null } | undefined {
    const { host, snapshot } = action;
    switch (action.what) {
      case 'claim':
        return claim(volume, host, opening(`mov_${this.moves.size + 1}`));
      case 'ready':
        return move?.to === host ? markReady(volume, move) : undefined;
      case 'block':
        return move?.from === host ? markBlocked(volume, move, [{ kind: 'process', name: 'vim' }]) : undefined;
      case 'release':
        return move?.from === host ? release(volume, move, snapshot, now) : undefined;
      case 'commit':
        return move?.to === host ? commit(volume, move, now) : undefined;
      case 'abort':
        return move === undefined ? undefined : abort(volume, move, failure, now);
      case 'reclaim':
        return { volume: reclaim(volume, host, volume.epoch), move: null };
      case 'remove':
        return { volume: remove(volume), move: null };
      case 'confirm':
        return { volume: confirmRemoval(volume, host), move: null };
      case 'refuse':
        return { volume: refuseRemoval(volume), move: null };
      case 'copy':
        return { volume: reportCopy(volume, host, { host, kind: 'replica', snapshots: [snapshot] }, changesSeen(volume, host)), move: null };
      case 'dropCopy': {
        const changed = reportCopy(volume, host, null, changesSeen(volume, host));
        return { volume: isGone(changed) ? null : changed, move: null };
      }
    }
  }
}

/** Runs the action; a refusal is an answer, anything else a defect. */
function attempt(world: World, action: Action): boolean {
  try {
    world.act(action);
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(SupercargoError);
    expect(error).not.toMatchObject({ code: 'internal' });
    return false;
  }
}

const snapshotOf = (world: World): string => JSON.stringify([world.volume, [...world.moves]]);

describe('any order of calls by any host', () => {
  const histories = fc.array(actionArbitrary, { maxLength: 60 });

  it('has at most one writer, whose epoch is new whenever it is another or wrote no more', () => {
    fc.assert(
      fc.property(histories, (history) => {
        const world = new World();
        let epoch = 0;
        let writer: { host: string; epoch: number } | null = null;
        for (const action of history) {
          attempt(world, action);
          if (world.volume === null) return;
          expect(world.volume.epoch).toBeGreaterThanOrEqual(epoch);
          epoch = world.volume.epoch;
          const next = entitled(world.volume, world.moves);
          if (next === null) continue;
          // A new holder has a new epoch; an epoch that was released never comes back.
          if (writer !== null && writer.host !== next.host) expect(next.epoch).toBeGreaterThan(writer.epoch);
          expect(world.released.get(next.epoch)).toBeUndefined();
          writer = next;
        }
      }),
      { numRuns: 500 },
    );
  });

  it('changes nothing when a call that succeeded is repeated', () => {
    fc.assert(
      fc.property(histories, (history) => {
        const world = new World();
        for (const action of history) {
          const repeatable = action.what !== 'reclaim' && action.what !== 'refuse' && action.what !== 'claim' && action.what !== 'remove';
          if (!attempt(world, action) || !repeatable) continue;
          const after = snapshotOf(world);
          attempt(world, action);
          expect(snapshotOf(world)).toBe(after);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('leaves an open move exactly where the volume says that it moves', () => {
    fc.assert(
      fc.property(histories, (history) => {
        const world = new World();
        for (const action of history) {
          attempt(world, action);
          if (world.volume === null) return;
          const open = [...world.moves.values()].filter((move) => !isOver(move)).map((move) => move.id);
          const { placement } = world.volume;
          expect(open).toEqual(placement.state === 'moving' ? [placement.move] : []);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('is never stuck: the parties can always bring the volume to any host, or remove it', () => {
    fc.assert(
      fc.property(histories, fc.constantFrom<string>(a, b, c), fc.boolean(), (history, target, removing) => {
        const world = new World();
        for (const action of history) attempt(world, action);
        if (world.volume === null) return;
        if (world.volume.placement.state === 'removing' && !world.volume.placement.confirmed) world.volume = refuseRemoval(world.volume);
        if (world.volume.placement.state === 'removing') return expectRemovable(world);
        if (removing) {
          settle(world);
          world.volume = remove(world.volume);
          return expectRemovable(world);
        }
        settle(world);
        const opened = claim(world.volume, target, opening('mov_last'));
        if (opened.move !== null) {
          const released = release(opened.volume, opened.move, 'snp_1', now);
          world.volume = commit(released.volume, released.move, now).volume;
        } else world.volume = opened.volume;
        expect(world.volume.placement).toMatchObject({ state: 'held', host: target });
      }),
      { numRuns: 300 },
    );
  });
});

/** Ends an open move. */
function settle(world: World): void {
  const { volume } = world;
  if (volume?.placement.state !== 'moving') return;
  world.volume = abort(volume, world.moves.get(volume.placement.move)!, failure, now).volume;
}

function expectRemovable(world: World): void {
  let { volume } = world;
  if (volume === null) return;
  if (volume.placement.state === 'removing' && volume.placement.host !== null) volume = confirmRemoval(volume, volume.placement.host);
  for (const { host } of volume.copies) volume = recordCopy(volume, host, null);
  expect(isGone(volume)).toBe(true);
}
