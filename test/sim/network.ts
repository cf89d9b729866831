import type { Luck } from './random.ts';

interface Link {
  cuts: number;
  opened: PromiseWithResolvers<void>;
}

/**
 * Who can reach whom. What is sent into a cut link waits there, as in the buffers of a connection, until the link is back or the sender gives up.
 * Either direction is cut for itself.
 */
export class Network {
  /** While it is slow, this share of requests and of answers takes up to this long, so that later ones overtake them. Milliseconds. */
  slowness = { share: 0, most: 0 };
  readonly #luck: Luck;
  readonly #links = new Map<string, Link>();

  constructor(luck: Luck) {
    this.#luck = luck;
  }

  cut(from: string, to: string): void {
    const key = `${from}>${to}`;
    const link = this.#links.get(key) ?? { cuts: 0, opened: Promise.withResolvers<void>() };
    link.cuts += 1;
    this.#links.set(key, link);
  }

  mend(from: string, to: string): void {
    const key = `${from}>${to}`;
    const link = this.#links.get(key);
    if (link === undefined) return;
    link.cuts -= 1;
    if (link.cuts > 0) return;
    this.#links.delete(key);
    link.opened.resolve();
  }

  mendAll(): void {
    for (const { opened } of this.#links.values()) opened.resolve();
    this.#links.clear();
    this.slowness = { share: 0, most: 0 };
  }

  /** null if what is sent arrives; else resolves when the link is back. */
  gate(from: string, to: string): Promise<void> | null {
    return this.#links.get(`${from}>${to}`)?.opened.promise ?? null;
  }

  /** How long a message that is sent now takes. Milliseconds. */
  delay(message: string): number {
    const { share, most } = this.slowness;
    if (share === 0) return 0;
    const random = this.#luck.at(message);
    return random.chance(share) ? random.integer(most) : 0;
  }
}
