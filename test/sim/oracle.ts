import type { Content } from './fake-disk.ts';

/** What applications were told is safe. Every read is compared with it: whoever sees less, or more, has found a second writer or lost data. */
export class Oracle {
  readonly #acknowledged = new Map<string, string[]>();
  #next = 1;

  read(volume: string, seen: Content, where: string): void {
    const expected = this.#acknowledged.get(volume) ?? [];
    if (expected.join() === seen.join()) return;
    throw new Error(`${where} sees [${seen.join()}] in volume ${volume}, but [${expected.join()}] was acknowledged`);
  }

  /** @returns what to write */
  acknowledge(volume: string): string {
    const token = `w${this.#next}`;
    this.#next += 1;
    const list = this.#acknowledged.get(volume) ?? [];
    this.#acknowledged.set(volume, [...list, token]);
    return token;
  }

  forget(volume: string): void {
    this.#acknowledged.delete(volume);
  }
}
