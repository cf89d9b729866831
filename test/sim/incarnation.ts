/** Never settles: what a dead process waits for. */
const never = new Promise<never>(() => undefined);

/** What a dead process sees of itself: thrown where its code is not waiting for anything. */
export class KilledError extends Error {
  override readonly name = 'KilledError';
}

/**
 * One run of a process, from its start to its death. All that it does to the world goes through ports that are wrapped here, so that it can die before or
 * after any single effect; from then on nothing that it still tries has an effect, and nothing that it waits for arrives.
 */
export class Incarnation {
  /** Rejects when the process dies: what others that wait for its answer see. */
  readonly died: Promise<never>;
  /** Effects begun and ended so far. */
  steps = 0;
  #alive = true;
  #diesAtStep = Infinity;
  #die: () => void = () => undefined;
  readonly #onDeath = new Set<() => void>();
  readonly #onEffect: () => void;

  /** @param onEffect called after every effect; throws if an invariant is broken */
  constructor(onEffect: () => void = () => undefined) {
    this.#onEffect = onEffect;
    this.died = new Promise<never>((_, reject) => {
      this.#die = () => reject(new KilledError('the process died'));
    });
    this.died.catch(() => undefined);
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** Lets the process die that many effects from now; each counts twice, once before and once after it happens. */
  dieAfter(steps: number): void {
    this.#diesAtStep = this.steps + steps;
  }

  kill(): void {
    if (!this.#alive) return;
    this.#alive = false;
    this.#die();
    for (const each of this.#onDeath) each();
    this.#onDeath.clear();
  }

  /** Calls back when the process dies. @returns how to be no longer called */
  onDeath(callback: () => void): () => void {
    if (this.#alive) this.#onDeath.add(callback);
    else callback();
    return () => this.#onDeath.delete(callback);
  }

  /**
   * The same object as the process sees it.
   * @param immediate methods that answer without a promise and have no effect: a dead process may call them
   */
  wrap<Port extends object>(port: Port, ...immediate: (keyof Port)[]): Port {
    return new Proxy(port, {
      get: (target, key) => {
        const member: unknown = Reflect.get(target, key, target);
        if (typeof member !== 'function') return member;
        if (immediate.includes(key as keyof Port)) return member.bind(target) as unknown;
        return (...parameters: unknown[]): unknown =>
          this.#step() ? this.#deliver(Reflect.apply(member, target, parameters) as Promise<unknown>) : never;
      },
    });
  }

  async #deliver(result: Promise<unknown>): Promise<unknown> {
    try {
      const value: unknown = await result;
      this.#onEffect();
      return this.#step() ? value : await never;
    } catch (error) {
      if (!this.#alive) return never;
      throw error;
    }
  }

  /** False if the process is dead. */
  #step(): boolean {
    if (!this.#alive) return false;
    this.steps += 1;
    if (this.steps >= this.#diesAtStep) this.kill();
    return this.#alive;
  }
}
