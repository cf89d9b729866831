import type { MoveProgress } from '../model/records.ts';
import type { AgentContext } from './context.ts';

const reportMilliseconds = 500;

/** Tells the name server how far a move is, at most twice a second and once at the end, never holding the transfer up. */
export class ProgressReporter {
  readonly #context: AgentContext;
  readonly #move: string;
  #progress: MoveProgress = { round: 0, transferredBytes: 0, totalBytes: 0, bytesPerSecond: 0, totalTransferredBytes: 0 };
  #roundBegan = 0;
  #reportedAt = 0;
  #reportedBytes = 0;
  #sending: Promise<void> | null = null;

  constructor(context: AgentContext, move: string) {
    this.#context = context;
    this.#move = move;
  }

  beginRound(totalBytes: number): void {
    this.#roundBegan = this.#context.clock.monotonicMilliseconds();
    this.#progress = { ...this.#progress, round: this.#progress.round + 1, transferredBytes: 0, totalBytes, bytesPerSecond: 0 };
  }

  add(bytes: number): void {
    const progress = this.#progress;
    progress.transferredBytes += bytes;
    progress.totalTransferredBytes += bytes;
    progress.totalBytes = Math.max(progress.totalBytes, progress.transferredBytes);
    const now = this.#context.clock.monotonicMilliseconds();
    if (this.#sending === null && now - this.#reportedAt >= reportMilliseconds) void this.#report(now);
  }

  /** A receiver that starts its snapshot again counts it anew. */
  restartRound(): void {
    this.#progress.transferredBytes = 0;
  }

  /** Tells how much the round took in the end: a move may wait for long after it. */
  endRound(): void {
    void this.finish();
  }

  /** Tells the final figures, which may arrive after the end of the move. Never fails; nothing needs to wait for it. */
  async finish(): Promise<void> {
    await this.#sending;
    if (this.#progress.totalTransferredBytes !== this.#reportedBytes) await this.#report(this.#context.clock.monotonicMilliseconds());
  }

  #report(now: number): Promise<void> {
    const progress = this.#progress;
    progress.bytesPerSecond = progress.transferredBytes / Math.max(0.001, (now - this.#roundBegan) / 1000);
    this.#reportedAt = now;
    this.#reportedBytes = progress.totalTransferredBytes;
    this.#sending = this.#context.nameServer
      .reportProgress({ parameters: { move: this.#move }, body: { ...progress } })
      .then(
        () => undefined,
        // Progress is for people; the next report makes up for a lost one.
        () => undefined,
      )
      .finally(() => {
        this.#sending = null;
      });
    return this.#sending;
  }
}
