import { isSupercargoError, SupercargoError } from '../model/errors.ts';
import type { Move } from '../model/records.ts';
import type { AgentContext } from './context.ts';
import type { ProgressReporter } from './progress.ts';

/** A ticket is used again for this long; it lives longer. Milliseconds. */
const ticketUseMilliseconds = 240_000;
/** A source that cannot be reached for this long ends the move; it goes on being the holder. Milliseconds. */
const patienceMilliseconds = 120_000;
const reconnectMilliseconds = { first: 100, most: 3000 };

/** What is pulled: for a move, or for a replica, which has no identifier but its volume's. */
export type PullSubject = Pick<Move, 'id' | 'volume' | 'volumeName' | 'from'>;

export type PullProgress = Pick<ProgressReporter, 'beginRound' | 'add' | 'restartRound' | 'endRound'>;

/** What all snapshots that are pulled for one purpose have in common. */
export class PullSession {
  readonly context: AgentContext;
  readonly move: PullSubject;
  readonly progress: PullProgress;
  /** Fires when the purpose is gone. */
  readonly signal: AbortSignal;
  readonly #requestTicket: () => Promise<{ ticket: string }>;
  /** The snapshot that arrived last: the source keeps it until a newer one has arrived. */
  lastPulled: string | null = null;
  #ticket: { text: string; at: number } | null = null;

  constructor(
    context: AgentContext,
    move: PullSubject,
    progress: PullProgress,
    signal: AbortSignal,
    requestTicket: () => Promise<{ ticket: string }>,
  ) {
    this.context = context;
    this.move = move;
    this.progress = progress;
    this.signal = signal;
    this.#requestTicket = requestTicket;
  }

  /** The connection to the source's agent. @throws host-unreachable */
  get source(): ReturnType<AgentContext['connectToPeer']> {
    const { view, state } = this.context;
    const host = view.host(this.move.from) ?? state.host(this.move.from);
    if (host === undefined) throw new SupercargoError('host-unreachable', `Host ${this.move.from} is not known.`);
    return this.context.connectToPeer(host);
  }

  /** The right to pull these snapshots, from the name server. */
  async ticket(): Promise<string> {
    const { clock } = this.context;
    const now = clock.monotonicMilliseconds();
    if (this.#ticket === null || now - this.#ticket.at > ticketUseMilliseconds) {
      const { ticket } = await this.#requestTicket();
      this.#ticket = { text: ticket, at: now };
    }
    return this.#ticket.text;
  }

  /**
   * Repeats what failed only because somebody could not be reached, for as long as it is worth waiting.
   * @param position how far the task is; while that grows, the time without an answer begins anew
   */
  async patiently<Result>(task: () => Promise<Result>, position: () => number = () => 0): Promise<Result> {
    const { clock, log } = this.context;
    let reached = position();
    let renewed = false;
    let since = clock.monotonicMilliseconds();
    for (let pause = reconnectMilliseconds.first; ; pause = Math.min(pause * 2, reconnectMilliseconds.most)) {
      try {
        return await task();
      } catch (error) {
        this.signal.throwIfAborted();
        if (position() > reached) {
          reached = position();
          since = clock.monotonicMilliseconds();
          pause = reconnectMilliseconds.first;
          renewed = false;
        }
        if (isSupercargoError(error, 'forbidden') && this.#ticket !== null && !renewed) {
          // Worn out before its time, by a host that slept, say.
          this.#ticket = null;
          renewed = true;
          continue;
        }
        const temporary = isSupercargoError(error, 'host-unreachable', 'name-server-unreachable');
        if (!temporary || clock.monotonicMilliseconds() - since > patienceMilliseconds) throw error;
        log.warn({ volume: this.move.volumeName, error: String(error) }, 'a transfer was interrupted; trying again');
      }
      await clock.sleep(pause, this.signal);
    }
  }
}
