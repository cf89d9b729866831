import type { Clock } from '../ports/clock.ts';

/**
 * The time of day at the name server, as far as its last answer tells: for what people read, such as what a failover may have lost. It errs to the early
 * side by the time the answer took, so that no loss is told too small.
 */
export class NameServerTime {
  readonly #clock: Pick<Clock, 'monotonicMilliseconds' | 'wallMilliseconds'>;
  #heard: { time: number; at: number } | null = null;

  constructor(clock: Pick<Clock, 'monotonicMilliseconds' | 'wallMilliseconds'>) {
    this.#clock = clock;
  }

  /** The answer that has just arrived says this time. */
  note(time: string): void {
    this.#heard = { time: Date.parse(time), at: this.#clock.monotonicMilliseconds() };
  }

  /** RFC 3339. Before the first answer, this host's own time. */
  now(): string {
    const { time, at } = this.#heard ?? { time: this.#clock.wallMilliseconds(), at: this.#clock.monotonicMilliseconds() };
    return new Date(time + this.#clock.monotonicMilliseconds() - at).toISOString();
  }
}
