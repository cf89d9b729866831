import { isSupercargoError } from '../model/errors.ts';
import { planFailover } from '../planner/failover-plan.ts';
import type { FailoverAction, KnownHost } from '../planner/failover-plan.ts';
import { buildsOf, planReplicas } from '../planner/replica-plan.ts';
import { hostRecord, volumeRecord } from '../model/records.ts';
import type { Volume } from '../model/records.ts';
import { ClusterMirror } from './cluster-mirror.ts';
import { drainHosts } from './drain.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import { endLostMove, takeOver } from './takeover.ts';

/** Time passes for plans as well: a lease runs out without any record changing. Milliseconds. */
const tickMilliseconds = 500;
/** Many changes at once are looked at together. Milliseconds. */
const restMilliseconds = 250;
/** A pause that lasts so much longer than it should shows that this process stood still. Milliseconds. */
const standstillMilliseconds = 1000;
/** What has failed is tried again after this. Milliseconds. */
const pauseMilliseconds = 5000;
const maximumBuilds = 2;
/** Replicas are planned this long after the last time if anything has changed, and after the other one if only time has passed. Milliseconds. */
const replicaIntervalMilliseconds = 1000;
const replicaIdleMilliseconds = 5000;
/** A replica that is not there after this long does not keep others from being built. Milliseconds. */
const stallMilliseconds = 600_000;

/** Looks at the whole cluster whenever something changed, plans, and does what is to be done, each as one compare-and-swap. Ends by the signal. */
export async function runControllers(context: NameServerContext, signal: AbortSignal): Promise<void> {
  const round = new Round(context);
  const ended = new AbortController();
  let changed = new AbortController();
  const following = round.mirror.follow(AbortSignal.any([signal, ended.signal]), () => changed.abort());
  following.catch(() => ended.abort());
  const { clock } = context;
  try {
    while (!signal.aborted && !ended.signal.aborted) {
      const before = clock.monotonicMilliseconds();
      await clock.sleep(tickMilliseconds, AbortSignal.any([signal, changed.signal, ended.signal])).catch(() => undefined);
      const isNews = changed.signal.aborted;
      if (isNews) await clock.sleep(restMilliseconds, signal).catch(() => undefined);
      changed = new AbortController();
      // While it stood still it heard nobody: that time is no sign of anybody's absence.
      if (clock.monotonicMilliseconds() - before > tickMilliseconds + restMilliseconds + standstillMilliseconds) round.mirror.countAnew();
      if (!signal.aborted) await round.run(isNews);
    }
  } finally {
    ended.abort();
    await following;
  }
}

/** What the rounds of one process remember: only what may be forgotten. */
class Round {
  readonly mirror: ClusterMirror;
  readonly #context: NameServerContext;
  /** Why each volume waits, as it was told last. */
  readonly #told = new Map<string, string>();
  /** Until when what has failed is left alone, on the monotonic clock. */
  readonly #pauses = new Map<string, number>();
  /** Since when each replica is being built, and when moves away from drained hosts were last begun, on the monotonic clock. */
  readonly #builds = new Map<string, number>();
  readonly #drained = new Map<string, number>();
  /** When replicas were planned last, and whether any record has changed since. */
  #lookedAt = -Infinity;
  #isStale = true;

  constructor(context: NameServerContext) {
    this.#context = context;
    this.mirror = new ClusterMirror(context);
  }

  /** @param isNews whether any record has changed since the last round */
  async run(isNews: boolean): Promise<void> {
    const { mirror } = this;
    const context = this.#context;
    const volumes = [...mirror.volumes.values()];
    const { hosts } = mirror;
    for (const id of this.#told.keys()) if (!mirror.volumes.has(id)) this.#told.delete(id);
    for (const volume of volumes) if (volume.protection.failover === 'auto') await this.#failOver(volume, hosts);
    if (hosts.some(({ state }) => state === 'draining')) await this.#attempt('drain', () => drainHosts(context, mirror, this.#drained));
    this.#isStale ||= isNews;
    const now = context.clock.monotonicMilliseconds();
    if (now < this.#lookedAt + (this.#isStale ? replicaIntervalMilliseconds : replicaIdleMilliseconds)) return;
    this.#lookedAt = now;
    this.#isStale = false;
    await this.#keepReplicas(volumes, hosts);
  }

  async #keepReplicas(volumes: readonly Volume[], hosts: readonly KnownHost[]): Promise<void> {
    const { mirror } = this;
    const context = this.#context;
    const replicated = volumes.filter((volume) => volume.protection.replicas > 0 || volume.replicas.length > 0);
    const plan = planReplicas({
      volumes: replicated,
      hosts,
      graceMilliseconds: context.replicaGraceMilliseconds,
      maximumBuilds,
      stalled: this.#stalledBuilds(replicated, hosts),
    });
    for (const { volume, replicas } of plan) await this.#attempt(`replicas ${volume}`, () => assignReplicas(context, volume, replicas, mirror));
  }

  async #failOver(volume: Volume, hosts: readonly KnownHost[]): Promise<void> {
    const { placement } = volume;
    const move = placement.state === 'moving' ? (this.mirror.moves.get(placement.move) ?? null) : null;
    const facts = { hosts, move, marginMilliseconds: this.#context.takeoverMarginMilliseconds };
    const first = planFailover({ ...facts, volume });
    if (first?.do !== 'wait') this.#told.delete(volume.id);
    if (first === null) return;
    const plan = (now: Volume): FailoverAction | null => planFailover({ ...facts, volume: now, wanting: this.#destinationOfLastMove(volume) });
    const action = plan(volume) ?? first;
    const stillRight = (now: Volume): boolean => JSON.stringify(plan(now)) === JSON.stringify(action);
    await this.#attempt(`failover ${volume.id}`, () => this.#perform(action, stillRight));
  }

  #destinationOfLastMove({ id, epoch }: Volume): string | null {
    const ended = [...this.mirror.moves.values()].filter((move) => move.volume === id && move.phase === 'aborted' && move.epoch >= epoch - 1);
    return ended.sort((a, b) => a.epoch - b.epoch).at(-1)?.to ?? null;
  }

  async #perform(action: FailoverAction, stillRight: (volume: Volume) => boolean): Promise<void> {
    const context = this.#context;
    switch (action.do) {
      case 'abort-move':
        return endLostMove(context, action.move, 'name server', 'A replica takes over.');
      case 'fail-over': {
        const { volume, epoch, from, to } = action;
        await takeOver(context, { volume, epoch, from, to, actor: 'name server', reason: 'The lease of its holder ended.', stillRight });
        return;
      }
      case 'wait': {
        if (this.#told.get(action.volume) === action.reason) return;
        this.#told.set(action.volume, action.reason);
        await context.repository.transact(async (transaction) => {
          const volume = await transaction.get(keys.volume(action.volume), volumeRecord);
          if (volume !== undefined)
            transaction.record('volume.waits', volume.name, 'name server', `Volume "${volume.name}" waits: ${action.reason}.`);
        });
      }
    }
  }

  /** Replicas that have been in the making for very long: as `replica-plan.ts` names them. */
  #stalledBuilds(volumes: readonly Volume[], hosts: readonly KnownHost[]): Set<string> {
    const now = this.#context.clock.monotonicMilliseconds();
    const present = new Set(volumes.flatMap((volume) => buildsOf(volume, volume.replicas, hosts)));
    for (const build of this.#builds.keys()) if (!present.has(build)) this.#builds.delete(build);
    for (const build of present) if (!this.#builds.has(build)) this.#builds.set(build, now);
    return new Set([...this.#builds].filter(([, since]) => now - since > stallMilliseconds).map(([build]) => build));
  }

  /** What it rested on may have changed meanwhile: then the next round plans anew. Any other failure is told, and tried again after a pause. */
  async #attempt(subject: string, act: () => Promise<void>): Promise<void> {
    const now = this.#context.clock.monotonicMilliseconds();
    if ((this.#pauses.get(subject) ?? now) > now) return;
    this.#pauses.delete(subject);
    try {
      await act();
    } catch (error) {
      if (isSupercargoError(error, 'wrong-state', 'data-missing', 'conflict')) return;
      this.#pauses.set(subject, now + pauseMilliseconds);
      this.#context.onDefect(error);
    }
  }
}

async function assignReplicas(context: NameServerContext, id: string, replicas: string[], mirror: ClusterMirror): Promise<void> {
  const seen = mirror.volumes.get(id);
  await context.repository.transact(async (transaction) => {
    const volume = await transaction.get(keys.volume(id), volumeRecord);
    // The plan rests on what was seen: if that has changed, there will be another.
    if (volume === undefined || seen === undefined || volume.replicas.join() !== seen.replicas.join()) return;
    if (JSON.stringify(volume.placement) !== JSON.stringify(seen.placement)) return;
    const records = await Promise.all(replicas.map((host) => transaction.get(keys.host(host), hostRecord)));
    if (records.some((host, index) => host === undefined || (host.state === 'draining' && !volume.replicas.includes(replicas[index] ?? '')))) return;
    transaction.put(keys.volume(id), { ...volume, replicas });
    const names = records.map((host) => host?.name ?? '');
    transaction.record(
      'replica.assigned',
      volume.name,
      'name server',
      `Volume "${volume.name}" is to have replicas on ${names.join(', ') || 'no host'}.`,
    );
  });
}
