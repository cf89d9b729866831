/** Runs tasks one after the other, each whether or not the one before failed. */
export class SerialQueue {
  #tail: Promise<unknown> = Promise.resolve();

  run<Result>(task: () => Promise<Result>): Promise<Result> {
    const result = this.#tail.then(task, task);
    this.#tail = result.catch(() => undefined);
    return result;
  }

  /** Resolves when everything that was asked for until now is done. */
  async drain(): Promise<void> {
    await this.#tail;
  }
}
