import { isSupercargoError, SupercargoError, toSupercargoError } from '../model/errors.ts';
import type { Volume } from '../model/records.ts';
import { describeSteps, isHousekeeping, isReplicaOf, planVolume } from '../planner/volume-plan.ts';
import type { VolumeFacts } from '../planner/volume-plan.ts';
import { mountPointOf } from './context.ts';
import type { AgentContext } from './context.ts';
import { receiveMove } from './receive-move.ts';
import { receiveReplica } from './receive-replica.ts';
import { SerialQueue } from '../model/serial-queue.ts';
import { performStep } from './steps.ts';
import { currentUses } from './uses.ts';

/** A volume is tidied up when nothing was done with it for this long: what follows a move or a mount at once would only be in its way. Milliseconds. */
const tidyDelayMilliseconds = 1000;
const retryMilliseconds = { first: 200, most: 10_000 };
/** A transfer that failed here, and a move that could not be ended either, is begun again after this pause, which grows. Milliseconds. */
const receiveRetryMilliseconds = { first: 1000, most: 30_000 };
/** A source whose volume is waited for looks this often whether its users are gone, besides being told. Milliseconds. */
const blockedPollMilliseconds = 1000;

const replicaTask = 'replica';

/**
 * The loop of one volume on this host: observe, plan, act, until nothing is left to do. All that touches the volume's state here runs in one queue,
 * so a mount and a release can never interleave: one of them wins.
 */
export class VolumeActor {
  readonly id: string;
  readonly #context: AgentContext;
  readonly #queue = new SerialQueue();
  readonly #waiters = new Set<() => void>();
  #receivePause = receiveRetryMilliseconds.first;
  #scheduled = false;
  #stopped = false;
  #receiving: { task: string; controller: AbortController; done: Promise<void> } | null = null;
  #retry: AbortController | null = null;
  #failures = 0;
  #mountsWaiting = 0;
  /** On the monotonic clock. */
  #lastActivity = -Infinity;
  /** What keeps the volume from where it should be; null while all is well. */
  problem: SupercargoError | null = null;

  constructor(context: AgentContext, id: string) {
    this.#context = context;
    this.id = id;
  }

  /** Asks for a look at the volume, soon. */
  wake(): void {
    this.#notify();
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    void this.#queue.run(async () => {
      this.#scheduled = false;
      if (!this.#stopped) await this.#converge();
      this.#notify();
    });
  }

  /** Runs a task in the volume's queue. */
  exclusively<Result>(task: () => Promise<Result>): Promise<Result> {
    return this.#queue.run(task);
  }

  /** Resolves when something about the volume may have changed, or rejects with the signal's reason. */
  nextChange(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const finish = (): void => {
        this.#waiters.delete(finish);
        signal.removeEventListener('abort', finish);
        if (signal.aborted) reject(signal.reason as Error);
        else resolve();
      };
      this.#waiters.add(finish);
      signal.addEventListener('abort', finish);
      if (signal.aborted) finish();
    });
  }

  /** As `nextChange`, but no longer than this. @returns whether something changed before the time was over */
  async nextChangeWithin(milliseconds: number, signal: AbortSignal): Promise<boolean> {
    const either = new AbortController();
    const both = AbortSignal.any([signal, either.signal]);
    try {
      return await Promise.race([this.nextChange(both).then(() => true), this.#context.clock.sleep(milliseconds, both).then(() => false)]);
    } finally {
      either.abort();
    }
  }

  /** Mounts if this host holds the volume. In the queue, so that a release either sees the session or has refused it. */
  async mountIfHeld(session: string, signal: AbortSignal): Promise<string | null> {
    const { state, driver, system, engine, crashPoint, leases } = this.#context;
    const instance = await engine.instance();
    const before = state.grant(this.id);
    const volume = state.volume(this.id);
    if (before?.state === 'held' && volume !== undefined) await leases.awaitRight(volume, before.epoch, signal);
    return this.exclusively(async () => {
      signal.throwIfAborted();
      this.#noteActivity();
      const grant = state.grant(this.id);
      if (grant?.state !== 'held' || !leases.mayWrite(this.id, grant.epoch)) return null;
      const mountPoint = mountPointOf(this.#context, this.id);
      await state.addReference(this.id, session, instance);
      crashPoint('reference-added');
      try {
        if (await driver.openLive(this.id)) await system.unmountVolume(mountPoint);
        // To open it may have taken longer than the lease lasts.
        if (!leases.mayWrite(this.id, grant.epoch)) {
          await state.dropReference(this.id, session);
          return null;
        }
        await system.mountVolume(driver.livePath(this.id), mountPoint);
      } catch (error) {
        await state.dropReference(this.id, session);
        throw error;
      }
      crashPoint('mounted');
      await state.confirmReference(this.id, session);
      return mountPoint;
    });
  }

  /** Runs what waits for this host to hold the volume; tidying up steps back meanwhile. */
  async whileMounting<Result>(task: () => Promise<Result>): Promise<Result> {
    this.#mountsWaiting += 1;
    try {
      return await task();
    } finally {
      this.#mountsWaiting -= 1;
    }
  }

  /** Forgets sessions that nothing stands behind any more: an engine that was killed never gives its own back. */
  async forgetStaleSessions(): Promise<void> {
    const { state, log } = this.#context;
    const volume = state.volume(this.id);
    if (volume === undefined || state.references(this.id).length === 0) return;
    await this.exclusively(() => currentUses(this.#context, volume)).catch((error: unknown) =>
      log.debug({ volume: volume.name, error: String(error) }, 'could not look for stale sessions'),
    );
    this.wake();
  }

  /** Gives one use of a session back. */
  async giveBack(session: string): Promise<void> {
    this.#noteActivity();
    await this.exclusively(() => this.#context.state.dropReference(this.id, session));
    this.wake();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#retry?.abort();
    this.#receiving?.controller.abort(new Error('the agent stops'));
    await this.#receiving?.done;
    await this.#queue.drain();
  }

  async #converge(): Promise<void> {
    this.#retry?.abort();
    try {
      this.problem = await this.#actUntilSettled();
      this.#failures = 0;
    } catch (error) {
      this.problem = toSupercargoError(error);
      const wait = Math.min(retryMilliseconds.first * 2 ** this.#failures, retryMilliseconds.most);
      this.#failures += 1;
      const level = isSupercargoError(error, 'wrong-state', 'name-server-unreachable', 'stale-epoch') ? 'debug' : 'warn';
      this.#context.log[level]({ volume: this.id, error: String(error), retryMilliseconds: wait }, 'a step failed');
      this.#wakeIn(wait);
    }
  }

  /** @returns what the last plan complained of */
  async #actUntilSettled(): Promise<SupercargoError | null> {
    let complaint: SupercargoError | null = null;
    let before = '';
    while (this.#context.view.synced && !this.#stopped) {
      const volume = this.#context.view.volume(this.id);
      const facts = await this.#observe(volume);
      this.#endReceivingUnless(facts);
      const steps = planVolume(facts);
      const plan = describeSteps(steps);
      // The same plan again means that the name server's answer has not come round yet: its change will wake us.
      if (steps.length === 0 || plan === before) break;
      if (isHousekeeping(steps)) {
        const quiet = this.#mountsWaiting > 0 ? 0 : this.#context.clock.monotonicMilliseconds() - this.#lastActivity;
        if (quiet < tidyDelayMilliseconds) {
          this.#wakeIn(tidyDelayMilliseconds - quiet);
          break;
        }
      } else this.#noteActivity();
      before = plan;
      this.#context.log.debug({ volume: volume?.name ?? this.id, plan }, 'plan');
      const subject = {
        id: this.id,
        volume,
        startReceiving: (move: string) => this.#startReceiving(move, (signal) => receiveMove(this.#context, this, move, signal)),
        startReplica: (replicated: Volume) => this.#startReceiving(replicaTask, (signal) => receiveReplica(this.#context, replicated, signal)),
        complain: (problem: string) => {
          complaint = new SupercargoError('data-missing', problem, { hint: 'supercargo doctor shows what is wrong with this host.' });
        },
      };
      for (const step of steps) await performStep(this.#context, subject, step);
      if (steps.some((step) => step.do === 'release') && this.#context.state.grant(this.id)?.state !== 'released') {
        this.#wakeIn(blockedPollMilliseconds);
        break;
      }
    }
    return complaint;
  }

  async #observe(volume: Volume | null): Promise<VolumeFacts> {
    const { driver, system, state, view, self, leases } = this.#context;
    const copy = await driver.inspect(this.id);
    const mounted = copy.live !== 'absent' && (await system.isMounted(driver.livePath(this.id), mountPointOf(this.#context, this.id)));
    return {
      self: self.id,
      volume,
      move: view.openMoveOf(volume),
      grant: state.grant(this.id),
      live: copy.live,
      snapshots: copy.snapshots,
      mounted,
      references: state.references(this.id).length,
      mayWrite: leases.mayWrite(this.id, state.grant(this.id)?.epoch ?? -1),
      leaving: view.host(self.id)?.state === 'draining',
    };
  }

  /** @param task the move, or `replicaTask`: of each there is one at a time */
  #startReceiving(task: string, receive: (signal: AbortSignal) => Promise<void>): void {
    if (this.#receiving?.task === task) return;
    const controller = new AbortController();
    let failed = false;
    const done = receive(controller.signal)
      .catch((error: unknown) => {
        failed = !controller.signal.aborted;
        if (failed) this.#context.log.warn({ volume: this.id, task, error: String(error) }, 'a transfer stopped here');
      })
      .finally(() => {
        if (this.#receiving?.task === task) this.#receiving = null;
        if (this.#stopped) return;
        // If it could not even be called off, what is in its way is still there: at once would be for ever and without a pause.
        if (failed) this.#wakeIn(this.#receivePause);
        else this.wake();
        this.#receivePause = failed ? Math.min(this.#receivePause * 2, receiveRetryMilliseconds.most) : receiveRetryMilliseconds.first;
      });
    this.#receiving = { task, controller, done };
  }

  /** A move that has ended, by whomever, cancels what is being received for it; so does a replica that is not wanted any more. */
  #endReceivingUnless(facts: VolumeFacts): void {
    const task = this.#receiving?.task;
    const wanted = task === replicaTask ? isReplicaOf(facts) : task === facts.move?.id;
    if (!wanted) this.#receiving?.controller.abort(new Error('what was being received is not wanted any more'));
  }

  #noteActivity(): void {
    this.#lastActivity = this.#context.clock.monotonicMilliseconds();
  }

  #wakeIn(milliseconds: number): void {
    this.#retry?.abort();
    const controller = new AbortController();
    this.#retry = controller;
    this.#context.clock.sleep(milliseconds, controller.signal).then(
      () => this.wake(),
      () => undefined,
    );
  }

  #notify(): void {
    for (const waiter of this.#waiters) waiter();
  }
}
