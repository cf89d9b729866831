import type { Volume } from '../model/records.ts';
import { hostsWith, pinnedSnapshots } from '../model/snapshots.ts';

/** What the next round of a move has to carry. */
export interface RoundPlan {
  snapshot: string;
  /** Newest snapshot that both sides have; null sends everything. */
  base: string | null;
}

/** The newest snapshot of the source (oldest first) before the target that the destination has too; if there is none, the first one after it. */
export function chooseBase(sourceSnapshots: readonly string[], destinationSnapshots: readonly string[], target: string): string | null {
  const place = sourceSnapshots.indexOf(target);
  const isCommon = (snapshot: string): boolean => snapshot !== target && destinationSnapshots.includes(snapshot);
  const before = place === -1 ? sourceSnapshots : sourceSnapshots.slice(0, place);
  return before.findLast(isCommon) ?? sourceSnapshots.find(isCommon) ?? null;
}

/** Of a volume's pinned snapshots those that the source can give and the destination lacks, the oldest first. */
export function missingPinned(volume: Pick<Volume, 'snapshots' | 'copies'>, source: string, have: readonly string[]): string[] {
  return pinnedSnapshots(volume).filter((snapshot) => !have.includes(snapshot) && hostsWith(volume, snapshot).includes(source));
}

export interface FinishedRound {
  bytes: number;
  milliseconds: number;
}

/** Rounds after which the hand-over begins even if the data keeps changing faster than it can be copied. */
const maximumRounds = 5;
/** A delta that takes no longer than this is not worth another round. Milliseconds. */
const shortRoundMilliseconds = 400;

/** After a round of pre-copy: is what is left small enough to be sent while nobody writes? */
export function isReadyForHandOver(rounds: readonly FinishedRound[]): boolean {
  const last = rounds.at(-1);
  if (last === undefined) return false;
  return rounds.length >= maximumRounds || last.milliseconds <= shortRoundMilliseconds;
}
