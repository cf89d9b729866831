import type { Clock } from './clock.ts';

interface Sleeper {
  deadline: number;
  wake: () => void;
}

/** A clock that a test moves by hand; wall and monotonic time may be moved apart, as on a machine whose clock is set. */
export class ManualClock implements Clock {
  #monotonic = 0;
  #wall: number;
  readonly #sleepers = new Set<Sleeper>();

  constructor(wallMilliseconds: number = Date.UTC(2026, 0, 1)) {
    this.#wall = wallMilliseconds;
  }

  wallMilliseconds(): number {
    return this.#wall;
  }

  monotonicMilliseconds(): number {
    return this.#monotonic;
  }

  setWall(milliseconds: number): void {
    this.#wall = milliseconds;
  }

  sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error);
      const sleeper = { deadline: this.#monotonic + milliseconds, wake: () => settle(resolve) };
      const abort = () => settle(() => reject(signal?.reason as Error));
      const settle = (finish: () => void) => {
        this.#sleepers.delete(sleeper);
        signal?.removeEventListener('abort', abort);
        finish();
      };
      this.#sleepers.add(sleeper);
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  /** Moves both times on, waking sleepers in order of their deadlines, and lets what they started run. */
  async advance(milliseconds: number): Promise<void> {
    const end = this.#monotonic + milliseconds;
    for (;;) {
      await settled();
      const [next] = [...this.#sleepers].filter(({ deadline }) => deadline <= end).sort((a, b) => a.deadline - b.deadline);
      if (next === undefined) break;
      this.#moveTo(Math.max(next.deadline, this.#monotonic));
      next.wake();
    }
    this.#moveTo(end);
  }

  /** Lets time pass while the process stands still: nothing wakes before the end of it. */
  async standStill(milliseconds: number): Promise<void> {
    this.#moveTo(this.#monotonic + milliseconds);
    await this.advance(0);
  }

  #moveTo(monotonic: number): void {
    this.#wall += monotonic - this.#monotonic;
    this.#monotonic = monotonic;
  }
}

/** Resolves when all that is ready to run has run. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
