import type { CreateOptions, KnownVolume, VolumeVerbs } from '../ports/volume-verbs.ts';
import type { AuthorizationOptions } from './authorization.ts';
import type { PluginLog } from './server.ts';

/** For tests: records what it is asked; what a test needs otherwise it overrides. */
export class FakeVerbs implements VolumeVerbs {
  readonly calls: unknown[][] = [];
  readonly known = new Map<string, KnownVolume>();
  #watchers: (() => void)[] = [];

  #record(...call: unknown[]): void {
    this.calls.push(call);
    for (const wake of this.#watchers.splice(0)) wake();
  }
  /** Resolves when the verb has been called. */
  async called(verb: string): Promise<void> {
    while (!this.calls.some(([name]) => name === verb)) await new Promise<void>((resolve) => this.#watchers.push(resolve));
  }
  async create(options: CreateOptions): Promise<void> {
    this.#record('create', options);
  }
  async find(name: string): Promise<KnownVolume | undefined> {
    return this.known.get(name);
  }
  list(): KnownVolume[] {
    return [...this.known.values()];
  }
  onMount = async (name: string, _signal: AbortSignal): Promise<string> => `/mounts/${name}`;
  async mount(name: string, session: string, signal: AbortSignal): Promise<string> {
    this.#record('mount', name, session);
    return this.onMount(name, signal);
  }
  async unmount(name: string, session: string): Promise<void> {
    this.#record('unmount', name, session);
  }
  async remove(name: string): Promise<void> {
    this.#record('remove', name);
  }
  engineStarted(): void {
    this.#record('engineStarted');
  }
}

export const silentLog: PluginLog = { debug: () => {}, warn: () => {}, error: () => {} };
const unasked = (): never => {
  throw new Error('nothing is to be decided');
};
/** A cluster in which no project requires grants. */
export const openToAll: AuthorizationOptions = {
  gate: { guarding: false, create: unasked, created: unasked, start: unasked, use: unasked, isProtected: unasked },
  engine: { inspectContainer: unasked, inspectVolume: unasked },
  driver: 'supercargo',
};
