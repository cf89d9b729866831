import { SupercargoError } from '../model/errors.ts';
import { isOver } from '../model/placement.ts';
import type { Move, Volume } from '../model/records.ts';
import type { Client } from '../protocol/client.ts';
import type { HostView, Routes, WatchMessage } from '../protocol/routes.ts';
import type { Clock } from '../ports/clock.ts';
import type { LocalState } from './local-state.ts';
import type { Log } from './context.ts';

/** The name server gives a sign of life every three seconds; after this silence the connection counts as dead. Milliseconds. */
const silenceMilliseconds = 10_000;
const reconnectMilliseconds = { first: 100, most: 2000 };

export interface ClusterViewOptions {
  client: Client<Routes>;
  state: LocalState;
  clock: Clock;
  log: Log;
  /** Called once a change of who may use what, up to this revision, is on the disk. */
  onAccessChange: (revision: number) => void;
}

/**
 * What the name server says now, by its watch stream. `synced` is false while it cannot be heard: decisions then wait, and only the local
 * state answers. Everything heard is also written to the local state.
 */
export class ClusterView {
  readonly #client: Client<Routes>;
  readonly #state: LocalState;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #onAccessChange: (revision: number) => void;
  readonly #volumes = new Map<string, Volume>();
  readonly #moves = new Map<string, Move>();
  readonly #hosts = new Map<string, HostView>();
  readonly #listeners = new Set<(volume: string | null) => void>();
  #synced = false;
  #problem: SupercargoError | null = null;

  constructor(options: ClusterViewOptions) {
    this.#onAccessChange = options.onAccessChange;
    this.#client = options.client;
    this.#state = options.state;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  get synced(): boolean {
    return this.#synced;
  }

  /** Why the name server is not believed, though it answers; null while all is well. */
  get problem(): SupercargoError | null {
    return this.#problem;
  }

  volume(id: string): Volume | null {
    return this.#volumes.get(id) ?? null;
  }

  volumeIds(): string[] {
    return [...this.#volumes.keys()];
  }

  move(id: string): Move | null {
    return this.#moves.get(id) ?? null;
  }

  openMoveOf(volume: Volume | null): Move | null {
    if (volume?.placement.state !== 'moving') return null;
    const move = this.move(volume.placement.move);
    return move === null || isOver(move) ? null : move;
  }

  host(id: string): HostView | null {
    return this.#hosts.get(id) ?? null;
  }

  /** Called with the volume that changed, or null when anything may have. @returns how to stop listening */
  onChange(listener: (volume: string | null) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Follows the name server until the signal fires, connecting again as often as needed. */
  async run(signal: AbortSignal): Promise<void> {
    let pause = reconnectMilliseconds.first;
    while (!signal.aborted) {
      try {
        for await (const message of this.#messages(signal)) {
          await this.#apply(message);
          pause = reconnectMilliseconds.first;
        }
      } catch (error) {
        if (!signal.aborted && (this.#synced || this.#problem !== null))
          this.#log.warn({ error: String(error) }, 'lost the name server; connecting again');
      }
      this.#setSynced(false);
      await this.#clock.sleep(pause, signal).catch(() => undefined);
      pause = Math.min(pause * 2, reconnectMilliseconds.most);
    }
  }

  async *#messages(signal: AbortSignal): AsyncGenerator<WatchMessage> {
    const silence = new AbortController();
    let heard = this.#clock.monotonicMilliseconds();
    const done = new AbortController();
    const watchdog = async (): Promise<void> => {
      while (!done.signal.aborted) {
        await this.#clock.sleep(1000, done.signal);
        if (this.#clock.monotonicMilliseconds() - heard > silenceMilliseconds) silence.abort(new Error('the name server has gone silent'));
      }
    };
    watchdog().catch(() => undefined);
    try {
      for await (const message of this.#client.watch({}, { signal: AbortSignal.any([signal, silence.signal]) })) {
        heard = this.#clock.monotonicMilliseconds();
        yield message;
      }
    } finally {
      done.abort();
    }
  }

  async #apply(message: WatchMessage): Promise<void> {
    switch (message.type) {
      case 'reset':
        await this.#reset(message);
        return;
      case 'volume':
        await this.#applyVolume(message.id, message.volume);
        await this.#state.noteRevision(message.revision);
        this.#notify(message.id);
        return;
      case 'move': {
        const subject = message.move?.volume ?? this.#moves.get(message.id)?.volume ?? null;
        if (message.move === null) this.#moves.delete(message.id);
        else this.#moves.set(message.id, message.move);
        if (subject !== null) this.#notify(subject);
        return;
      }
      case 'host':
        if (message.host === null) this.#hosts.delete(message.id);
        else this.#hosts.set(message.id, message.host);
        if (message.host !== null) await this.#state.rememberHosts([message.host]);
        return;
      case 'project':
      case 'application':
      case 'grant':
      case 'denial':
        await this.#state.access.apply(message);
        await this.#state.noteRevision(message.revision);
        this.#onAccessChange(message.revision);
        return;
      case 'alive':
        return;
    }
  }

  async #applyVolume(id: string, volume: Volume | null): Promise<void> {
    if (volume === null) {
      this.#volumes.delete(id);
      await this.#state.forgetVolume(id);
    } else {
      this.#volumes.set(id, volume);
      await this.#state.rememberVolumes([volume]);
    }
  }

  async #reset(message: WatchMessage & { type: 'reset' }): Promise<void> {
    this.#refuseOlder(message.revision);
    // Before anything else can be asked for.
    await this.#state.access.replace(message);
    replace(this.#volumes, message.volumes);
    replace(this.#moves, message.moves);
    replace(this.#hosts, message.hosts);
    await this.#state.replaceCatalogue(message.volumes, message.hosts);
    await this.#state.noteRevision(message.revision);
    this.#problem = null;
    this.#onAccessChange(message.revision);
    this.#setSynced(true);
  }

  /**
   * A name server that was set back to an old backup has forgotten who holds what: believing it could make a second writer or an empty volume. What runs
   * here goes on; nothing is decided until an operator has looked.
   */
  #refuseOlder(revision: number): void {
    if (revision >= this.#state.heardRevision) return;
    this.#problem = new SupercargoError(
      'wrong-state',
      `The name server is at revision ${revision}, but this host has heard revision ${this.#state.heardRevision}: it was set back to an older state.`,
      {
        hint: 'Bring its newer state back, or, if the older one is right, restart each host with SUPERCARGO_ACCEPT_OLDER_NAME_SERVER=1 in the environment, once.',
      },
    );
    throw this.#problem;
  }

  #setSynced(synced: boolean): void {
    const changed = this.#synced !== synced || synced;
    this.#synced = synced;
    if (changed) this.#notify(null);
  }

  #notify(volume: string | null): void {
    for (const listener of this.#listeners) listener(volume);
  }
}

function replace<Item extends { id: string }>(map: Map<string, Item>, items: readonly Item[]): void {
  map.clear();
  for (const item of items) map.set(item.id, item);
}
