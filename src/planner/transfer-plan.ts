/** What the next round of a move has to carry. */
export interface RoundPlan {
  snapshot: string;
  /** Newest snapshot that both sides have; null sends everything. */
  base: string | null;
}

/** The newest snapshot of the source (oldest first) that the destination has too. */
export function chooseBase(sourceSnapshots: readonly string[], destinationSnapshots: readonly string[], target: string): string | null {
  const candidates = sourceSnapshots.filter((snapshot) => snapshot !== target && destinationSnapshots.includes(snapshot));
  return candidates.at(-1) ?? null;
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
