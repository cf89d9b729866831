import type { Clock } from '../../src/ports/clock.ts';

interface Sleeper {
  deadline: number;
  /** Sleepers of the same moment wake in the order in which they went to sleep. */
  order: number;
  /** null once it was woken or called off: it then only waits to be taken out. */
  wake: (() => void) | null;
  /** Takes the ear off its signal. */
  forget: () => void;
}

/** The one true time of a simulation, which no part of the product sees: it moves only when told, from sleeper to sleeper. */
export class SimulatedClock implements Clock {
  #monotonic = 0;
  readonly #wallAtStart: number;
  readonly #sleepers: Sleeper[] = [];
  #order = 0;

  constructor(wallMilliseconds: number = Date.UTC(2026, 0, 1)) {
    this.#wallAtStart = wallMilliseconds;
  }

  /** Whole, as on every machine. */
  wallMilliseconds(): number {
    return Math.floor(this.#wallAtStart + this.#monotonic);
  }

  monotonicMilliseconds(): number {
    return this.#monotonic;
  }

  sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error);
      this.#order += 1;
      const sleeper: Sleeper = { deadline: this.#monotonic + Math.max(0, milliseconds), order: this.#order, wake: null, forget: () => undefined };
      const abort = (): void => {
        sleeper.wake = null;
        reject(signal?.reason as Error);
      };
      sleeper.forget = () => signal?.removeEventListener('abort', abort);
      sleeper.wake = () => {
        sleeper.forget();
        resolve();
      };
      signal?.addEventListener('abort', abort, { once: true });
      push(this.#sleepers, sleeper);
    });
  }

  /** Lets time pass, and all that happens meanwhile happen. */
  async advance(milliseconds: number): Promise<void> {
    const end = this.#monotonic + milliseconds;
    for (;;) {
      await settled();
      const next = this.#next();
      if (next === undefined || next.deadline > end) break;
      pop(this.#sleepers);
      this.#monotonic = Math.max(next.deadline, this.#monotonic);
      next.wake?.();
    }
    this.#monotonic = end;
  }

  /** Nobody wakes any more: lets go of all that waits, which is otherwise kept for ever by the signals it listens to. */
  end(): void {
    for (const sleeper of this.#sleepers.splice(0)) sleeper.forget();
  }

  #next(): Sleeper | undefined {
    while (this.#sleepers[0]?.wake === null) pop(this.#sleepers);
    return this.#sleepers[0];
  }
}

/** Resolves when all that is ready to run has run. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function isBefore(a: Sleeper, b: Sleeper): boolean {
  return a.deadline < b.deadline || (a.deadline === b.deadline && a.order < b.order);
}

/** A binary heap: there are hundreds of sleepers, and a history wakes millions. */
function push(heap: Sleeper[], sleeper: Sleeper): void {
  let index = heap.length;
  heap.push(sleeper);
  while (index > 0) {
    const above = (index - 1) >> 1;
    const parent = heap[above] as Sleeper;
    if (!isBefore(sleeper, parent)) break;
    heap[index] = parent;
    index = above;
  }
  heap[index] = sleeper;
}

function pop(heap: Sleeper[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  let index = 0;
  for (;;) {
    let child = 2 * index + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1] as Sleeper, heap[child] as Sleeper)) child += 1;
    if (!isBefore(heap[child] as Sleeper, last)) break;
    heap[index] = heap[child] as Sleeper;
    index = child;
  }
  heap[index] = last;
}

/** A sleep that ends a little too early for its machine's clock goes on for at least this long. Milliseconds. */
const shortestSleepMilliseconds = 0.001;

/**
 * The clock of one machine: its wall clock may be set; its monotonic clock runs a little too fast or too slow, stands still while the machine is suspended, and begins
 * anew when the machine does.
 */
export class MachineClock implements Clock {
  readonly #true: SimulatedClock;
  readonly #rate: number;
  #wallOffset = 0;
  /** The true time at which this machine's monotonic clock would have been zero. */
  #origin = 0;
  #suspendedAt: number | null = null;

  /** @param rate of its monotonic clock, against true time */
  constructor(trueClock: SimulatedClock, rate: number) {
    this.#true = trueClock;
    this.#rate = rate;
  }

  wallMilliseconds(): number {
    return Math.floor(this.#true.wallMilliseconds() + this.#wallOffset);
  }

  monotonicMilliseconds(): number {
    return ((this.#suspendedAt ?? this.#true.monotonicMilliseconds()) - this.#origin) * this.#rate;
  }

  async sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
    const end = this.monotonicMilliseconds() + milliseconds;
    let left = milliseconds;
    do {
      await this.#true.sleep(Math.max(left / this.#rate, shortestSleepMilliseconds), signal);
      left = end - this.monotonicMilliseconds();
    } while (left > 0);
  }

  jumpWall(milliseconds: number): void {
    this.#wallOffset += milliseconds;
  }

  /** The true time at which this machine's wall clock, as it is set now, showed or will show this. */
  trueTimeOf(wallMilliseconds: number): number {
    return wallMilliseconds - this.wallMilliseconds() + this.#true.monotonicMilliseconds();
  }

  suspend(): void {
    this.#suspendedAt ??= this.#true.monotonicMilliseconds();
  }

  resume(): void {
    if (this.#suspendedAt === null) return;
    this.#origin += this.#true.monotonicMilliseconds() - this.#suspendedAt;
    this.#suspendedAt = null;
  }

  restart(): void {
    this.resume();
    this.#origin = this.#true.monotonicMilliseconds();
  }
}
