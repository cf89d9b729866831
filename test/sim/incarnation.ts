/** Never settles: what a dead process waits for. A new one each time, because a promise keeps all that waits for it. */
function never(): Promise<never> {
  return new Promise(() => undefined);
}

/** What a dead process sees of itself: thrown where its code is not waiting for anything. */
export class KilledError extends Error {
  override readonly name = 'KilledError';
}

/**
 * One run of a process, from its start to its death. All that it does to the world goes through ports that are wrapped here, so that it can die before or
 * after any single effect; from then on nothing that it still tries has an effect, and nothing that it waits for arrives. It can also be stopped (SIGSTOP):
 * then all this waits until it is continued.
 */
export class Incarnation {
  /** Rejects when the process dies: what others that wait for its answer see. */
  readonly died: Promise<never>;
  /** Effects begun and ended so far. */
  steps = 0;
  #alive = true;
  #stopped: PromiseWithResolvers<void> | null = null;
  #stops = 0;
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

  /** Neither dead nor stopped. */
  get running(): boolean {
    return this.#alive && this.#stopped === null;
  }

  /** null while the process runs; else resolves when it goes on, which for a dead one is never. */
  get gate(): Promise<void> | null {
    if (!this.#alive) return never();
    return this.#stopped?.promise ?? null;
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

  /** May be done several times over; then as many `continue` are needed. */
  stop(): void {
    this.#stops += 1;
    this.#stopped ??= Promise.withResolvers<void>();
  }

  continue(): void {
    if (this.#stops === 0) return;
    this.#stops -= 1;
    if (this.#stops > 0) return;
    this.#stopped?.resolve();
    this.#stopped = null;
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
    const seen = new Map<PropertyKey, unknown>();
    return new Proxy(port, {
      get: (target, key) => {
        const member: unknown = Reflect.get(target, key, target);
        if (typeof member !== 'function') return member;
        let bound = seen.get(key);
        if (bound === undefined) {
          bound = immediate.includes(key as keyof Port) ? member.bind(target) : (...parameters: unknown[]) => this.#call(target, member, parameters);
          seen.set(key, bound);
        }
        return bound;
      },
    });
  }

  // oxlint-disable-next-line typescript/no-unsafe-function-type -- any method of any port
  async #call(target: object, member: Function, parameters: unknown[]): Promise<unknown> {
    if (this.#stopped !== null) await this.#running();
    if (!this.#step()) return never();
    try {
      const value: unknown = await Reflect.apply(member, target, parameters);
      this.#onEffect();
      if (this.#stopped !== null) await this.#running();
      return this.#step() ? value : await never();
    } catch (error) {
      if (this.#stopped !== null) await this.#running();
      if (!this.#alive) return never();
      throw error;
    }
  }

  /** Resolves when the process is not stopped; it may be stopped again at once. */
  async #running(): Promise<void> {
    for (let stopped = this.#stopped; stopped !== null; stopped = this.#stopped) await stopped.promise;
  }

  /** False if the process is dead. */
  #step(): boolean {
    if (!this.#alive) return false;
    this.steps += 1;
    if (this.steps >= this.#diesAtStep) this.kill();
    return this.#alive;
  }
}
