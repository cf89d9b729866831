/** Randomness from a seed: the same seed gives the same history, so that a failure can be replayed. */
export class SeededRandom {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** At least 0, below 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** An integer at least 0 and below the limit. */
  integer(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<Item>(items: readonly Item[]): Item {
    const item = items[this.integer(items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }

  readonly bytes = (length: number): Uint8Array => Uint8Array.from({ length }, () => this.integer(256));
}

/**
 * Randomness that depends on when and where it is asked for, and on nothing that was asked elsewhere: what is left of a history that was shortened meets the same
 * luck as in the whole.
 */
export class Luck {
  readonly #seed: number;
  readonly #now: () => number;
  /** How often each place has asked at this moment. */
  readonly #asked = new Map<string, number>();
  #at = 0;

  constructor(seed: number, now: () => number) {
    this.#seed = seed;
    this.#now = now;
  }

  at(place: string): SeededRandom {
    const now = this.#now();
    if (now !== this.#at) this.#asked.clear();
    this.#at = now;
    // Identifiers are numbered through, so they differ.
    const text = place.replaceAll(/_[0-9a-f]{24}/g, '');
    const times = this.#asked.get(text) ?? 0;
    this.#asked.set(text, times + 1);
    let hash = Math.imul(this.#seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(Math.round(now * 8) + times, 0xc2b2ae35);
    for (let index = 0; index < text.length; index += 1) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
    return new SeededRandom(hash);
  }
}
