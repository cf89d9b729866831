import { z } from 'zod';
import { accessMode } from '../model/access.ts';
import { identifier } from '../model/records.ts';
import type { Store, StoreEntry, StoreOperation } from '../ports/store.ts';

const admission = z.object({
  application: identifier,
  pass: identifier,
  volumes: z.array(z.object({ name: z.string(), mode: accessMode })).describe('By name, because one may be made only with its container.'),
});
/** What a container of this host was allowed to have when it was made. */
export type Admission = z.infer<typeof admission>;

/** One whose container is being made: the engine has not said yet what it is called. */
interface Opening {
  request: string;
  admission: Admission;
  spends: boolean;
  /** On the monotonic clock. */
  since: number;
}

/** A pass that counted once, and when it would have expired anyway: milliseconds since 1970, by the clock of the name server. */
export interface SpentPass {
  pass: string;
  expires: number;
}

/**
 * The containers that were admitted on this host, and the passes that were spent for it; on disk, so that neither is forgotten by a crash. A change is durable
 * when its promise resolves.
 */
export class Admissions {
  readonly #store: Store;
  readonly #admitted = new Map<string, Admission>();
  readonly #spent = new Map<string, number>();
  readonly #openings = new Set<Opening>();
  #engineAsks: boolean | null = null;

  /** @param entries all that is in the store */
  constructor(store: Store, entries: readonly StoreEntry[]) {
    this.#store = store;
    for (const { key, value } of entries) {
      const [kind, id = ''] = key.split('/');
      if (kind === 'admissions') this.#admitted.set(id, admission.parse(value));
      if (kind === 'spent') this.#spent.set(id, z.int().parse(value));
      if (kind === 'engine-asks') this.#engineAsks = z.boolean().parse(value);
    }
  }

  /** Whether the engine asked about every request when it was last looked at; null if it never was. */
  get engineAsks(): boolean | null {
    return this.#engineAsks;
  }

  async noteEngine(asks: boolean): Promise<void> {
    if (asks === this.#engineAsks) return;
    this.#engineAsks = asks;
    await this.#store.transact([], [{ put: 'engine-asks', value: asks }]);
  }

  of(container: string): Admission | undefined {
    return this.#admitted.get(container);
  }

  all(): { container: string; admission: Admission }[] {
    return [...this.#admitted].map(([container, each]) => ({ container, admission: each }));
  }

  /** Whether a container is being made at this moment. */
  get opening(): boolean {
    return this.#openings.size > 0;
  }

  /** All that counts for a volume now, also of containers that are being made: their volumes are mounted before they have a name. */
  forVolume(name: string): Admission[] {
    const all = [...this.#admitted.values(), ...[...this.#openings].map((each) => each.admission)];
    return all.filter(({ volumes }) => volumes.some((each) => each.name === name));
  }

  isSpent(pass: string): boolean {
    return this.#spent.has(pass);
  }

  /**
   * A container is being made. From the first moment the pass counts as spent, so that of two requests at the same time one is refused by `isSpent`.
   * @param spends the pass, if it counts once
   * @param since now, on the monotonic clock
   */
  async open(request: string, admitted: Admission, spends: SpentPass | null, since: number): Promise<void> {
    const entry: Opening = { request, admission: admitted, spends: spends !== null, since };
    if (spends !== null) {
      this.#spent.set(spends.pass, spends.expires);
      await this.#store.transact([], [{ put: `spent/${spends.pass}`, value: spends.expires }]);
    }
    this.#openings.add(entry);
  }

  /** It was made, or, with null, it was not: then its pass may be used again. */
  async settle(request: string, container: string | null): Promise<void> {
    const entry = [...this.#openings].find((each) => each.request === request);
    if (entry === undefined) return;
    if (container !== null) {
      await this.#store.transact([], [{ put: `admissions/${container}`, value: entry.admission }]);
      this.#admitted.set(container, entry.admission);
    } else if (entry.spends) {
      await this.#store.transact([], [{ delete: `spent/${entry.admission.pass}` }]);
      this.#spent.delete(entry.admission.pass);
    }
    this.#openings.delete(entry);
  }

  /** Gives up waiting for the engine's word on what was begun before this time: an engine that has died will never say it. */
  giveUpOpenings(before: number): void {
    for (const entry of this.#openings) if (entry.since < before) this.#openings.delete(entry);
  }

  /** Drops the admissions of containers that are gone, and forgets passes that have expired anyway. */
  async forget(containers: readonly string[], now: number): Promise<void> {
    const gone = containers.filter((container) => this.#admitted.has(container));
    const expired = [...this.#spent].filter(([, expires]) => expires <= now).map(([pass]) => pass);
    const operations: StoreOperation[] = [
      ...gone.map((each) => ({ delete: `admissions/${each}` })),
      ...expired.map((each) => ({ delete: `spent/${each}` })),
    ];
    if (operations.length === 0) return;
    await this.#store.transact([], operations);
    for (const container of gone) this.#admitted.delete(container);
    for (const pass of expired) this.#spent.delete(pass);
  }
}
