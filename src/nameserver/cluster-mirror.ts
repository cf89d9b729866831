import { hostRecord, moveRecord, volumeRecord } from '../model/records.ts';
import type { Host, Move, Volume } from '../model/records.ts';
import type { KnownHost } from '../planner/failover-plan.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';

/** All records in memory, as of a moment ago, for plans that look at the whole cluster: what they decide is checked again when it is written. */
export class ClusterMirror {
  readonly volumes = new Map<string, Volume>();
  readonly moves = new Map<string, Move>();
  readonly #hosts = new Map<string, Host>();
  readonly #sessions = new Set<string>();
  /** Since when each host without a session is known to have none, on the monotonic clock: what was before this process began does not count. */
  readonly #downSince = new Map<string, number>();
  readonly #context: NameServerContext;

  constructor(context: NameServerContext) {
    this.#context = context;
  }

  get hosts(): KnownHost[] {
    const now = this.#context.clock.monotonicMilliseconds();
    return [...this.#hosts.values()].map((host) => {
      const since = this.#downSince.get(host.id);
      return { ...host, downMilliseconds: this.#sessions.has(host.id) ? null : since === undefined ? 0 : now - since };
    });
  }

  /** Follows the store until the signal fires. @param onChange called after each change that it took in */
  async follow(signal: AbortSignal, onChange: () => void): Promise<void> {
    const { store } = this.#context;
    const { entries, revision } = await store.list(keys.state);
    for (const each of [this.volumes, this.moves, this.#hosts, this.#sessions]) each.clear();
    for (const { key, value } of entries) this.#take(key, value);
    this.#noteDown();
    onChange();
    for await (const changes of store.watch(keys.state, revision, signal)) {
      for (const { key, value } of changes) this.#take(key, value);
      this.#noteDown();
      onChange();
    }
  }

  /** Whoever has no session now is counted from now on. */
  countAnew(): void {
    this.#downSince.clear();
    this.#noteDown();
  }

  #take(key: string, value: unknown): void {
    const id = key.slice(key.lastIndexOf('/') + 1);
    if (key.startsWith(keys.volumes)) setOrDelete(this.volumes, id, value === undefined ? undefined : volumeRecord.parse(value));
    else if (key.startsWith(keys.moves)) setOrDelete(this.moves, id, value === undefined ? undefined : moveRecord.parse(value));
    else if (key.startsWith(keys.hosts)) setOrDelete(this.#hosts, id, value === undefined ? undefined : hostRecord.parse(value));
    else if (key.startsWith(keys.sessions)) {
      if (value === undefined) this.#sessions.delete(id);
      else this.#sessions.add(id);
      // Also one that ends again before anybody has looked: the count begins anew.
      this.#downSince.delete(id);
    }
  }

  #noteDown(): void {
    const now = this.#context.clock.monotonicMilliseconds();
    for (const id of this.#hosts.keys()) {
      if (this.#sessions.has(id)) this.#downSince.delete(id);
      else if (!this.#downSince.has(id)) this.#downSince.set(id, now);
    }
  }
}

function setOrDelete<Item>(map: Map<string, Item>, id: string, item: Item | undefined): void {
  if (item === undefined) map.delete(id);
  else map.set(id, item);
}
