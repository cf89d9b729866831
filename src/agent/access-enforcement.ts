import { judgeUse } from '../model/judge-use.ts';
import { SupercargoError } from '../model/errors.ts';
import type { Volume } from '../model/records.ts';
import { endOf } from '../planner/admission-plan.ts';
import type { ListedContainer } from '../ports/container-engine.ts';
import type { FenceTarget } from '../ports/fence.ts';
import type { Admission } from './admissions.ts';
import { describeApplication } from './container-gate.ts';
import { mountPointOf } from './context.ts';
import type { AgentContext } from './context.ts';

/** How often the engine is looked at while grants are required: for containers that are gone, and for one that does not ask us. Milliseconds. */
const lookMilliseconds = 2000;
/** While nothing is required nothing changes without being told. Milliseconds. */
const idleMilliseconds = 60_000;
/** What could not be ended, or could not be told, is tried again after this. Milliseconds. */
const retryMilliseconds = 500;
/** So long after a right was taken away its users are looked for again: a container that was just starting shows itself late. Milliseconds. */
const lateMilliseconds = 5000;
/** An engine that has not made a container by then, mounts and all, has died over it. Milliseconds. */
const openingMilliseconds = 600_000;
/** Podman gives one and the same session to all its containers. It asks nobody before it makes them. */
const podmanSession = '2f73349cfc4630255319c6c8dfc1b46a8996ace9d14d8e07563b165915918ec2';

type EnforcementContext = Omit<AgentContext, 'enforcement' | 'view' | 'leases'>;

/** Puts into effect on this host what the records say about the use of volumes: at each mount, and when a right is taken away. */
export class AccessEnforcement {
  readonly #context: EnforcementContext;
  /** Containers of the engine as of the last look. */
  #listed: readonly ListedContainer[] = [];
  /** Since when each use is to be ended, on the monotonic clock; by container and volume. */
  readonly #ending = new Map<string, number>();
  #revision: number | null = null;
  #changed = new AbortController();

  constructor(context: EnforcementContext) {
    this.#context = context;
  }

  /** The records have changed, up to this revision. */
  noteChange(revision: number): void {
    this.#revision = revision;
    this.#changed.abort();
  }

  /**
   * The second line of defence, after the engine's own question: whoever asked the engine, a volume is mounted only for a container that was admitted. Decided
   * from what is known here, without the engine, which is waiting for this answer.
   * @throws forbidden
   */
  checkMount(volume: Volume, session: string): void {
    const { access, admissions } = this.#context.state;
    if (!access.projectOf(volume).requireGrants) return;
    if (session === podmanSession) throw this.#refused(volume, 'Podman does not ask who may use it', 'Use it with Docker.');
    if (admissions.engineAsks !== true) {
      const hint = 'Start dockerd with --authorization-plugin=supercargo: see docs/docker.md, "Requiring grants".';
      throw this.#refused(volume, 'the container engine of this host does not ask who may use it', hint);
    }
    const reasons = admissions.forVolume(volume.name).map((each) => this.#whyNot(volume, each));
    if (!reasons.includes(null)) {
      throw this.#refused(
        volume,
        reasons[0] ?? 'no container with a pass was made for it, and tasks of Swarm services show none',
        'Make the container anew, with a pass: by docker run or Compose, in the place of a service (docs/docker.md, "Compose, Swarm, Podman").',
      );
    }
    const stranger = this.#listed.find(({ id, volumes }) => volumes.includes(volume.name) && admissions.of(id) === undefined);
    if (stranger !== undefined) {
      throw this.#refused(volume, `container ${stranger.name} names it and was never admitted`, `Remove that first: docker rm ${stranger.name}`);
    }
  }

  /** Until the signal fires. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#context;
    let lookAt = -Infinity;
    while (!signal.aborted) {
      this.#changed = new AbortController();
      const done = await this.#attempt('could not put a change of access into effect', () => this.#putIntoEffect());
      if (clock.monotonicMilliseconds() >= lookAt && this.#context.state.access.guarding) {
        await this.#attempt('could not look at the container engine', () => this.#look());
        lookAt = clock.monotonicMilliseconds() + lookMilliseconds;
      }
      await clock.sleep(this.#pause(done), AbortSignal.any([signal, this.#changed.signal])).catch(() => undefined);
    }
  }

  #pause(done: boolean): number {
    const now = this.#context.clock.monotonicMilliseconds();
    if (!done || [...this.#ending.values()].some((since) => now - since <= lateMilliseconds)) return retryMilliseconds;
    return this.#context.state.access.guarding ? lookMilliseconds : idleMilliseconds;
  }

  async #attempt(message: string, task: () => Promise<void>): Promise<boolean> {
    try {
      await task();
      return true;
    } catch (error) {
      this.#context.log.debug({ error: String(error) }, message);
      return false;
    }
  }

  /** Ends what has no right any more, and then says so to the name server. */
  async #putIntoEffect(): Promise<void> {
    const revision = this.#revision;
    await this.#endUses();
    if (revision === null) return;
    await this.#context.nameServer.acknowledgeAccess({ body: { revision } });
    if (this.#revision === revision) this.#revision = null;
  }

  /** @throws command-failed if something is still there */
  async #endUses(): Promise<void> {
    const { clock, fence } = this.#context;
    const due = this.#usesToEnd();
    const now = clock.monotonicMilliseconds();
    for (const key of this.#ending.keys()) if (!due.has(key)) this.#ending.delete(key);
    const fresh = [...due].filter(([key]) => now - (this.#ending.get(key) ?? now) <= lateMilliseconds);
    if (fresh.length === 0) return;
    for (const [key] of fresh) if (!this.#ending.has(key)) this.#ending.set(key, now);
    const outcomes = await fence.kill(fresh.map(([, { target }]) => target));
    for (const [index, [, { container, admission, volume }]] of fresh.entries()) {
      const users = outcomes[index]?.users ?? [];
      if (users.length > 0) this.#record('container.end', volume, `container ${container.slice(0, 12)}`, admission, 'its right was taken away');
    }
    const left = outcomes.find(({ problem }) => problem !== null);
    if (left !== undefined) throw new SupercargoError('command-failed', `What has no right any more is still there: ${left.problem}`);
  }

  #usesToEnd(): Map<string, { container: string; admission: Admission; volume: Volume; target: FenceTarget }> {
    const { state, driver } = this.#context;
    const uses = state.admissions.all().flatMap(({ container, admission }) =>
      admission.volumes.flatMap(({ name, mode }) => {
        const volume = state.volumeByName(name);
        if (volume === undefined) return [];
        const use = { volume, project: state.access.projectOf(volume), mode };
        const application = state.access.application(admission.application) ?? null;
        if (endOf(use, application, state.access.grantsOf(admission.application), this.#now()) !== 'now') return [];
        const target = { path: driver.livePath(volume.id), mountPoint: mountPointOf(this.#context, volume.id), containers: new Set([container]) };
        return [[`${container} ${volume.id}`, { container, admission, volume, target }] as const];
      }),
    );
    return new Map(uses);
  }

  /** Whether the engine asks us, which containers it has, and so which admissions are over. */
  async #look(): Promise<void> {
    const { engine, state, pluginName, guardedPlaces, clock } = this.#context;
    const { admissions } = state;
    if ((await engine.instance()) === null) return;
    const settings = await engine.settings();
    await admissions.noteEngine(settings.authorizationPlugins.includes(pluginName));
    await guardedPlaces.noteEngineDirectory(settings.dataDirectory);
    admissions.giveUpOpenings(clock.monotonicMilliseconds() - openingMilliseconds);
    // One that is being made would show itself as a stranger.
    if (admissions.opening) return;
    const before = admissions.all().map(({ container }) => container);
    const listed = await engine.containers();
    this.#listed = listed;
    const present = new Set(listed.map(({ id }) => id));
    await admissions.forget(
      before.filter((container) => !present.has(container)),
      this.#now(),
    );
  }

  /** Why an admitted container may not use the volume any more; null if it may. */
  #whyNot(volume: Volume, { application, volumes }: Admission): string | null {
    const { access } = this.#context.state;
    const mode = volumes.find(({ name }) => name === volume.name)?.mode ?? 'read-write';
    const verdict = judgeUse({
      volume,
      project: access.projectOf(volume),
      application: access.application(application) ?? null,
      grants: access.grantsOf(application),
      mode,
      now: this.#now(),
    });
    return verdict.allowed ? null : verdict.reason;
  }

  #refused(volume: Volume, reason: string, hint: string): SupercargoError {
    this.#record('volume.mount', volume, 'a mount', null, reason);
    return new SupercargoError('forbidden', `Volume "${volume.name}" is of a project that requires grants: ${reason}.`, { hint });
  }

  #record(action: 'volume.mount' | 'container.end', volume: Volume, who: string, admission: Admission | null, reason: string): void {
    const { audit, state, nameServerTime } = this.#context;
    audit.record({
      time: nameServerTime.now(),
      actor: `${describeApplication(state, admission?.application ?? null)}, ${who}`,
      action,
      subject: `volume ${volume.name}`,
      verdict: 'deny',
      reason,
      revision: state.heardRevision,
    });
  }

  #now(): number {
    return Date.parse(this.#context.nameServerTime.now());
  }
}
