import { createSeal } from '../../src/compose/seal.ts';
import { Guard } from '../../src/guard/guard.ts';
import { SupercargoError } from '../../src/model/errors.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { Fence } from '../../src/ports/fence.ts';
import type { GuardedUntil, GuardedVolume, Guardian } from '../../src/ports/guardian.ts';
import type { Log } from '../../src/agent/context.ts';
import { createFakeDriver } from './fake-disk.ts';
import type { FakeMachine } from './fake-machine.ts';
import type { Incarnation } from './incarnation.ts';

/** How long an agent waits for a guard that does not answer. Milliseconds. */
const patienceMilliseconds = 1000;
const startMilliseconds = 100;

export interface GuardSurroundings {
  machine: FakeMachine;
  clock: Clock;
  random: { integer(limit: number): number };
  log: Log;
}

/** The fence of one process of a machine: its effects end with that process, and wait while it is stopped. */
export function fenceIn(incarnation: Incarnation, { machine, clock, random }: GuardSurroundings): Fence {
  return incarnation.wrap(machine.fenceOf(incarnation.wrap(clock, 'monotonicMilliseconds', 'wallMilliseconds'), random));
}

/** The real guard in a process. @param readArrived see GuardOptions */
export function startGuard(
  incarnation: Incarnation,
  surroundings: GuardSurroundings,
  who: 'agent' | 'guard',
  readArrived: () => Promise<void> = async () => undefined,
): Guard {
  const { machine, clock, log } = surroundings;
  const guard = new Guard({
    clock: incarnation.wrap(clock, 'monotonicMilliseconds', 'wallMilliseconds'),
    fence: fenceIn(incarnation, surroundings),
    seal: createSeal(incarnation.wrap(createFakeDriver(machine.disk), 'livePath', 'send'), who),
    log,
    readArrived,
  });
  guard.run(new AbortController().signal).catch((error: unknown) => log.error({ error: String(error) }, 'a guard has failed'));
  return guard;
}

/** A guard in a process of its own: what it is told waits while it is stopped, and is read before it judges a deadline. */
export class GuardProcess {
  readonly incarnation: Incarnation;
  readonly #guard: Guard;
  readonly #inbox: (() => void)[] = [];

  constructor(incarnation: Incarnation, surroundings: GuardSurroundings) {
    this.incarnation = incarnation;
    this.#guard = startGuard(incarnation, surroundings, 'guard', async () => this.#read());
  }

  /** @throws not-found if it is dead, deadline-exceeded if it does not answer */
  async call<Answer>(clock: Clock, message: (guard: Guard) => Promise<Answer>): Promise<Answer> {
    const { incarnation } = this;
    if (!incarnation.alive) throw new SupercargoError('not-found', 'No guard runs on this host.');
    const answered = Promise.withResolvers<Answer>();
    this.#inbox.push(() => void message(this.#guard).then(answered.resolve));
    const { gate } = incarnation;
    if (gate === null) this.#read();
    else void gate.then(() => this.#read());
    const done = new AbortController();
    const tooLate = clock.sleep(patienceMilliseconds, done.signal).then((): never => {
      throw new SupercargoError('deadline-exceeded', 'The guard does not answer.');
    });
    tooLate.catch(() => undefined);
    const died = incarnation.died.catch(() => Promise.reject(new SupercargoError('not-found', 'No guard runs on this host.')));
    try {
      return await Promise.race([answered.promise, died, tooLate]);
    } finally {
      done.abort();
    }
  }

  #read(): void {
    for (const each of this.#inbox.splice(0)) each();
  }
}

/** Where the guard of a host is, if it has one; it outlives agents. */
export interface GuardPlace {
  current: GuardProcess | null;
  start: () => GuardProcess;
}

/** The agent's end of the guard of its host, as `GuardBeside`: found again after a restart of the agent, started when it is needed and there is none. */
export class GuardConnection implements Guardian {
  readonly #place: GuardPlace;
  readonly #clock: Clock;
  #connected: GuardProcess | null = null;
  #connecting: Promise<GuardProcess> | null = null;

  constructor(place: GuardPlace, clock: Clock) {
    this.#place = place;
    this.#clock = clock;
  }

  async hold(volumes: readonly GuardedVolume[], until: number): Promise<void> {
    await (await this.#connect()).call(this.#clock, (guard) => guard.hold(volumes, until));
  }

  async drop(volume: string): Promise<void> {
    if (this.#connected?.incarnation.alive === true) await this.#connected.call(this.#clock, (guard) => guard.drop(volume));
  }

  async states(): Promise<readonly GuardedUntil[]> {
    return (await this.#connect()).call(this.#clock, async (guard) => guard.states());
  }

  async #connect(): Promise<GuardProcess> {
    if (this.#connected?.incarnation.alive === true) return this.#connected;
    this.#connecting ??= this.#open().finally(() => {
      this.#connecting = null;
    });
    return this.#connecting;
  }

  /** @throws deadline-exceeded if there is one that is stopped */
  async #open(): Promise<GuardProcess> {
    let { current } = this.#place;
    if (current?.incarnation.alive === true) await current.call(this.#clock, async () => undefined);
    else {
      await this.#clock.sleep(startMilliseconds);
      current = this.#place.start();
      this.#place.current = current;
    }
    this.#connected = current;
    return current;
  }
}
