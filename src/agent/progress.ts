import type { MoveProgress } from '../model/records.ts';
import type { AgentContext } from './context.ts';

const reportMilliseconds = 500;

/** Tells the name server how far a move is, at most twice a second, never holding the transfer up. */
export class ProgressReporter {
  readonly #context: AgentContext;
  readonly #move: string;
  #progress: MoveProgress = { round: 0, transferredBytes: 0, totalBytes: 0, bytesPerSecond: 0, totalTransferredBytes: 0 };
  #roundBegan = 0;
  #reportedAt = 0;
  #sending = false;
  #stopped = false;

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
    if (now - this.#reportedAt < reportMilliseconds || this.#sending || this.#stopped) return;
    progress.bytesPerSecond = progress.transferredBytes / Math.max(0.001, (now - this.#roundBegan) / 1000);
    this.#reportedAt = now;
    this.#sending = true;
    this.#context.nameServer
      .reportProgress({ parameters: { move: this.#move }, body: { ...progress } })
      // Progress is for people; the next report makes up for a lost one.
      .catch(() => undefined)
      .finally(() => {
        this.#sending = false;
      });
  }

  /** A receiver that starts its snapshot again counts it anew. */
  restartRound(): void {
    this.#progress.transferredBytes = 0;
  }

  stop(): void {
    this.#stopped = true;
  }
}
