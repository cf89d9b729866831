import { currentHost } from '../model/holder.ts';
import type { AgentStatus, SnapshotDifference } from '../protocol/local-routes.ts';
import type { ContainerGate } from '../ports/container-gate.ts';
import type { VolumeVerbs } from '../ports/volume-verbs.ts';
import { AccessEnforcement } from './access-enforcement.ts';
import { ClusterView } from './cluster-view.ts';
import { createContainerGate } from './container-gate.ts';
import { mountPointOf } from './context.ts';
import { differenceHere } from './difference.ts';
import type { DifferenceWish } from './difference.ts';
import { Leases } from './leases.ts';
import { NameServerTime } from './name-server-time.ts';
import { keepReplicated } from './replication.ts';
import type { AgentContext, AgentOptions } from './context.ts';
import { keepSession, poolReport } from './session.ts';
import { TransferServer } from './transfer-server.ts';
import { showUses } from './uses.ts';
import { createVerbs } from './verbs.ts';
import { VolumeActor } from './volume-actor.ts';

/** How often every volume is looked at again even if nothing was heard, in milliseconds: for what changes without anybody telling. */
const patrolMilliseconds = 30_000;

/** The agent of one host: an actor a volume, woken by the name server's stream, by engines' calls, and now and then by itself. */
export class Agent {
  readonly verbs: VolumeVerbs;
  readonly gate: ContainerGate;
  readonly transfers: TransferServer;
  /** What has changed from one snapshot of a volume to another. */
  readonly difference: (wanted: { query: DifferenceWish }) => Promise<SnapshotDifference>;
  readonly #context: AgentContext;
  readonly #actors = new Map<string, VolumeActor>();
  readonly #stop = new AbortController();
  #running: Promise<unknown> = Promise.resolve();

  constructor(options: AgentOptions) {
    const { nameServer: client, state, clock, log } = options;
    const nameServerTime = new NameServerTime(clock);
    const enforcement = new AccessEnforcement({ ...options, nameServerTime });
    this.#context = {
      ...options,
      view: new ClusterView({ client, state, clock, log, onAccessChange: (revision) => enforcement.noteChange(revision) }),
      nameServerTime,
      enforcement,
      leases: new Leases(options, (volume) => this.#actorOf(volume).wake()),
    };
    const actorOf = (volume: string): VolumeActor => this.#actorOf(volume);
    this.gate = createContainerGate(this.#context);
    this.difference = ({ query }) => differenceHere(this.#context, query);
    this.verbs = createVerbs(this.#context, actorOf, () => this.#reconsiderAll());
    this.transfers = new TransferServer(this.#context, actorOf);
  }

  /** Opens the pool and finds again what is here. Mounts can be answered from then on, name server or not. */
  async start(): Promise<void> {
    await this.#context.driver.open();
    const onDisk = await this.#context.driver.list();
    for (const id of [...this.#context.state.localVolumes(), ...onDisk.map((copy) => copy.volume)]) this.#actorOf(id);
    this.#context.view.onChange((volume) => {
      if (volume === null) this.#wakeAll();
      else if (this.#concerns(volume)) this.#actorOf(volume).wake();
    });
    const { signal } = this.#stop;
    const actorOf = (volume: string): VolumeActor => this.#actorOf(volume);
    this.#running = Promise.all([
      this.#context.view.run(signal),
      this.#context.enforcement.run(signal),
      keepSession(this.#context, signal),
      keepReplicated(this.#context, actorOf, signal),
      this.#context.audit.keepTold(this.#context, signal),
      this.#patrol(signal),
    ]);
  }

  /** Ends what is under way at a safe place. Volumes stay mounted: their containers go on. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error('the agent stops'));
    await Promise.all([...this.#actors.values()].map((actor) => actor.stop()));
    await this.#running;
    await this.#context.state.close();
  }

  get connected(): boolean {
    return this.#context.view.synced;
  }

  /** Why the name server is not believed; null while all is well. */
  get problem(): string | null {
    return this.#context.view.problem?.toText() ?? null;
  }

  /** What root sees of this host. */
  async status(): Promise<Pick<AgentStatus, 'pool' | 'volumes'>> {
    const { driver, state, system, view } = this.#context;
    const copies = await driver.list();
    const volumes = copies.map(async ({ volume: id, live }): Promise<AgentStatus['volumes'][number]> => {
      const volume = view.volume(id) ?? state.volume(id);
      const grant = state.grant(id);
      const present = live !== 'absent';
      return {
        id,
        name: volume?.name ?? id,
        live,
        mounted: present && (await system.isMounted(driver.livePath(id), mountPointOf(this.#context, id))),
        references: state.references(id).length,
        grant: grant === null ? null : `${grant.state} ${grant.epoch}`,
        uses: volume === undefined || !present ? [] : await showUses(this.#context, volume),
        problem: this.#actors.get(id)?.problem?.toText() ?? null,
      };
    });
    return { pool: await poolReport(this.#context), volumes: await Promise.all(volumes) };
  }

  #actorOf(volume: string): VolumeActor {
    let actor = this.#actors.get(volume);
    if (actor === undefined) {
      actor = new VolumeActor(this.#context, volume);
      this.#actors.set(volume, actor);
    }
    return actor;
  }

  #wakeAll(): void {
    for (const id of this.#context.view.volumeIds()) if (this.#concerns(id)) this.#actorOf(id);
    for (const actor of this.#actors.values()) actor.wake();
  }

  /** As `wakeAll`, and looks for sessions of engines that will never be given back. */
  #reconsiderAll(): void {
    this.#wakeAll();
    for (const actor of this.#actors.values()) void actor.forgetStaleSessions();
  }

  /** Whether a volume has to do with this host at all; of thousands, few do. */
  #concerns(id: string): boolean {
    const { view, state, self } = this.#context;
    const volume = view.volume(id);
    if (this.#actors.has(id) || state.grant(id) !== null) return true;
    if (volume === null) return false;
    const parties = volume.placement.state === 'moving' ? [volume.placement.from, volume.placement.to] : [currentHost(volume.placement)];
    return parties.includes(self.id) || volume.replicas.includes(self.id) || volume.copies.some((copy) => copy.host === self.id);
  }

  async #patrol(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#context.clock.sleep(patrolMilliseconds, signal).catch(() => undefined);
      if (!signal.aborted) this.#reconsiderAll();
    }
  }
}
