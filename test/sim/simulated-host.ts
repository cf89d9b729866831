import { Agent } from '../../src/agent/agent.ts';
import { AuditSpool } from '../../src/agent/audit-spool.ts';
import type { CrashPoint, Log, TransferTicket } from '../../src/agent/context.ts';
import { LocalState } from '../../src/agent/local-state.ts';
import { SupercargoError } from '../../src/model/errors.ts';
import type { Grant } from '../../src/model/grant.ts';
import type { Store, StoreOperation } from '../../src/ports/store.ts';
import { createClient } from '../../src/protocol/client.ts';
import { peerRoutes } from '../../src/protocol/peer-routes.ts';
import { routes } from '../../src/protocol/routes.ts';
import { ticketHeader } from '../../src/protocol/peer-routes.ts';
import type { Transport, TransportRequest } from '../../src/protocol/transport.ts';
import type { Content } from './content.ts';
import type { Served } from './direct-transport.ts';
import { createFakeDriver, volumeAt } from './fake-disk.ts';
import { FakeMachine } from './fake-machine.ts';
import type { FakeContainer, MachineObserver } from './fake-machine.ts';
import { Incarnation, KilledError } from './incarnation.ts';
import { MemoryStore } from './memory-store.ts';
import type { Oracle, Writer } from './oracle.ts';
import type { Luck } from './random.ts';
import type { MachineClock, SimulatedClock } from './simulated-clock.ts';
import { fenceIn, GuardConnection, GuardProcess, startGuard } from './simulated-guard.ts';
import type { GuardPlace, GuardSurroundings } from './simulated-guard.ts';

export interface HostSurroundings {
  id: string;
  name: string;
  trueClock: SimulatedClock;
  clock: MachineClock;
  random: (length: number) => Uint8Array;
  luck: Luck;
  log: Log;
  oracle: Oracle;
  /** @param gate of the process that asks */
  toNameServer: (host: string, gate: () => Promise<void> | null) => Transport;
  toPeer: (from: string, to: string, gate: () => Promise<void> | null) => Transport;
  /** After every effect of a process of this host; throws if an invariant is broken. */
  onEffect: () => void;
}

const mountDirectory = '/mounts';
/** A machine that stood still may write for so long after it goes on; its guards act within that. Milliseconds. */
const graceMilliseconds = { stoodStill: 20_000, unguarded: 3000 };

/** A host of the simulation: a machine that lasts, and on it one run of the agent after another, and one of the guard. */
export class SimulatedHost {
  readonly machine: FakeMachine;
  readonly id: string;
  readonly name: string;
  readonly clock: MachineClock;
  /** Switched off: nothing may be started. */
  off = false;
  /** Containers that were to start on a mount that a fence had taken away again. */
  startedOnNothing = 0;
  readonly #surroundings: HostSurroundings;
  readonly #store: Store;
  readonly #grants = new Map<string, Grant>();
  readonly #guard: GuardPlace;
  readonly #onMachine: GuardSurroundings;
  #agent: { agent: Agent; incarnation: Incarnation } | null = null;
  readonly #dead: Agent[] = [];
  readonly #ended = new AbortController();
  #crashAt: CrashPoint | null = null;
  #sessions = 0;
  #boots = 1;
  #stoodStill = 0;
  #excusedUntil = 0;
  #unguarded = false;

  constructor(surroundings: HostSurroundings) {
    const { id, name, clock, oracle, log, luck } = surroundings;
    this.#surroundings = surroundings;
    this.id = id;
    this.name = name;
    this.clock = clock;
    this.#store = new MemoryStore(clock);
    this.machine = new FakeMachine(this.#observer(oracle));
    const random = { integer: (limit: number) => luck.at(name).integer(limit) };
    this.#onMachine = { machine: this.machine, clock, random, log };
    const start = (): GuardProcess => new GuardProcess(this.#incarnate(), this.#onMachine);
    this.#guard = { current: null, start };
  }

  get running(): boolean {
    return this.#agent?.incarnation.alive === true;
  }

  get agent(): Agent {
    if (this.#agent === null) throw new Error(`the agent of ${this.name} was never started`);
    return this.#agent.agent;
  }

  get incarnation(): Incarnation {
    if (this.#agent === null) throw new Error(`the agent of ${this.name} was never started`);
    return this.#agent.incarnation;
  }

  get guardIncarnation(): Incarnation | null {
    return this.#guard.current?.incarnation ?? null;
  }

  /** What the agent answers to other agents. */
  get served(): Served | undefined {
    if (this.#agent === null || !this.running) return undefined;
    const { agent, incarnation } = this.#agent;
    return {
      incarnation,
      table: peerRoutes,
      handlers: agent.transfers.handlers(),
      raw: async ({ path, headers }: TransportRequest, caller, response) => {
        const { pathname, searchParams } = new URL(path, 'http://localhost');
        const snapshot = pathname.slice(pathname.lastIndexOf('/') + 1);
        const ticket = headers?.[ticketHeader] ?? '';
        await agent.transfers.stream(
          {
            ticket,
            caller: { host: caller, certificate: null },
            snapshot,
            base: searchParams.get('base'),
            offset: Number(searchParams.get('offset')),
          },
          response,
        );
      },
    };
  }

  /** Volumes that this host may write by its own durable word, whatever a running agent remembers, and under which epoch. */
  get entitled(): { volume: string; epoch: number }[] {
    return [...this.#grants].filter(([, { state }]) => state !== 'released').map(([volume, { epoch }]) => ({ volume, epoch }));
  }

  /** Containers that run, as the oracle sees them. */
  get writers(): Writer[] {
    const writers: Writer[] = [];
    for (const container of this.machine.containers.values()) if (container.state === 'running') writers.push(this.#writer(container));
    return writers;
  }

  /** Neither agent nor guard can stop a writer now, or could until a moment ago. */
  get excused(): boolean {
    return this.#unguarded || this.machine.standsStill || this.#surroundings.trueClock.monotonicMilliseconds() < this.#excusedUntil;
  }

  /** Lets the next run, or the present one, die at this place, once. */
  crashAt(place: CrashPoint | null): void {
    this.#crashAt = place;
  }

  async start(): Promise<void> {
    if (this.running || this.off) return;
    const { clock, log, random, toNameServer, toPeer, id, name } = this.#surroundings;
    const incarnation = this.#incarnate();
    const gate = (): Promise<void> | null => incarnation.gate;
    const gatedClock = incarnation.wrap(clock, 'monotonicMilliseconds', 'wallMilliseconds');
    const disk = incarnation.wrap(this.#disk(), 'watch');
    const state = await LocalState.open(disk, gatedClock);
    const own = startGuard(incarnation, this.#onMachine, 'agent');
    const connection = new GuardConnection(this.#guard, gatedClock);
    const agent = new Agent({
      self: { id, name },
      address: `${name}:1`,
      version: 'test',
      boot: `boot ${this.#boots}`,
      clock: gatedClock,
      random,
      log,
      driver: incarnation.wrap(createFakeDriver(this.machine.disk), 'livePath', 'send'),
      rekeyLive: async () => undefined,
      system: incarnation.wrap(this.machine.system),
      engine: incarnation.wrap(this.machine.engine),
      state,
      audit: await AuditSpool.open(disk, random, () => undefined),
      nameServer: createClient(routes, incarnation.wrap(toNameServer(id, gate), 'close', 'unreachable')),
      connectToPeer: (host) => {
        const transport = incarnation.wrap(toPeer(id, host.id, gate), 'close', 'unreachable');
        return { transport, client: createClient(peerRoutes, transport) };
      },
      verifyTicket: async (ticket, destination) => {
        const claims = JSON.parse(ticket) as TransferTicket;
        if (claims.source !== id || claims.destination !== destination) throw new SupercargoError('forbidden', 'The ticket is for other hosts.');
        return claims;
      },
      trust: { report: () => ({ authorities: [], issuer: null }), follow: async () => undefined },
      verifyPass: async () => {
        throw new SupercargoError('forbidden', 'Nobody has a pass here.');
      },
      guardedPlaces: { all: () => [], noteEngineDirectory: async () => undefined },
      pluginName: 'supercargo',
      mountDirectory,
      mountDeadlineMilliseconds: 100_000,
      fence: fenceIn(incarnation, this.#onMachine),
      guardians: [own, incarnation.wrap(connection)],
      crashPoint: (place) => this.#passCrashPoint(incarnation, place),
    });
    this.#agent = { agent, incarnation };
    incarnation.onDeath(() => this.#dead.push(agent));
    this.#noteGuarding();
    await Promise.race([agent.start(), incarnation.died.catch(() => undefined)]);
  }

  /** The agent dies; all else goes on. */
  kill(): void {
    this.#agent?.incarnation.kill();
  }

  killGuard(): void {
    this.#guard.current?.incarnation.kill();
  }

  powerCut(): void {
    this.kill();
    this.killGuard();
    this.machine.restart();
    this.clock.restart();
    this.#boots += 1;
  }

  /** The simulation is over: nothing may go on to wait, because what waits is kept for ever by the signals it listens to. */
  end(): void {
    this.powerCut();
    this.#ended.abort();
    for (const agent of this.#dead) agent.stop().catch(() => undefined);
  }

  /** Stops (SIGSTOP) one of the two processes. @returns how to continue it; nothing if it was not there */
  stopProcess(which: 'agent' | 'guard'): () => void {
    const incarnation = which === 'agent' ? this.#agent?.incarnation : this.#guard.current?.incarnation;
    incarnation?.stop();
    this.#noteGuarding();
    return () => {
      incarnation?.continue();
      this.#noteGuarding();
    };
  }

  /** Everything on the machine stands still. @param suspended its monotonic clock does so too @returns how it goes on */
  freeze(suspended: boolean): () => void {
    const processes = [this.stopProcess('agent'), this.stopProcess('guard')];
    this.#stoodStill += 1;
    this.machine.standsStill = true;
    if (suspended) this.clock.suspend();
    return () => {
      this.#excuse(graceMilliseconds.stoodStill);
      this.#stoodStill -= 1;
      this.machine.standsStill = this.#stoodStill > 0;
      this.machine.changes += 1;
      this.clock.resume();
      for (const goOn of processes) goOn();
    };
  }

  /**
   * What the engine does for `run -v volume:/data`: asks for the mount, binds it into the container, starts it.
   * @throws what the mount answered
   */
  async startContainer(name: string, volume: string, signal: AbortSignal = new AbortController().signal): Promise<FakeContainer> {
    this.#sessions += 1;
    const session = `${this.name}-${this.#sessions}`.padEnd(16, '0');
    const container: FakeContainer = { name, volume, session, state: 'created', frozen: false, processNumber: 0, path: null, epoch: 0 };
    this.machine.containers.set(name, container);
    const { engineRun } = this.machine;
    try {
      if (!this.running) throw new SupercargoError('host-unreachable', 'The agent does not run.');
      const { agent, incarnation } = this.#agent as { agent: Agent; incarnation: Incarnation };
      if (incarnation.gate !== null) await Promise.race([incarnation.gate, incarnation.died]);
      const mountPoint = await Promise.race([agent.verbs.mount(volume, session, AbortSignal.any([signal, this.#ended.signal])), incarnation.died]);
      if (incarnation.gate !== null) await Promise.race([incarnation.gate, incarnation.died]);
      if (this.machine.engineRun !== engineRun) throw new KilledError('the engine died meanwhile');
      this.#begin(container, mountPoint);
    } catch (error) {
      container.state = 'exited';
      throw error;
    }
    this.read(container);
    return container;
  }

  /** Ends the container; then the engine gives the mount back, if the agent is there to take it. */
  async stopContainer(container: FakeContainer): Promise<void> {
    this.machine.end(container);
    await this.#giveBack(container);
  }

  read(container: FakeContainer): void {
    this.#surroundings.oracle.read(this.#writer(container), this.#live(container).content);
  }

  /** Reads what is there, appends to it, and tells the application that it is safe; nothing if it cannot run now. */
  write(container: FakeContainer): void {
    if (!this.machine.canWrite(container)) return;
    const live = this.#live(container);
    live.content = this.#surroundings.oracle.acknowledge(this.#writer(container), live.content);
  }

  /** What a snapshot of a volume holds here; undefined if there is none such. */
  snapshotContent(volume: string, snapshot: string): Content | undefined {
    return this.machine.disk.volume(volume).snapshots.get(snapshot);
  }

  #begin(container: FakeContainer, mountPoint: string): void {
    const { oracle } = this.#surroundings;
    const id = mountPoint.slice(mountDirectory.length + 1);
    if (!this.machine.run(container, mountPoint)) {
      const mayBeFenced = oracle.volume(id)?.protection.failover === 'auto';
      this.startedOnNothing += 1;
      if (mayBeFenced) throw new SupercargoError('wrong-state', 'The mount was taken away before the container began.');
      throw new Error(`${container.name} on ${this.name} would start on an empty directory in place of volume ${container.volume}`);
    }
    container.epoch = this.#grants.get(id)?.epoch ?? 0;
    this.#surroundings.onEffect();
  }

  async #giveBack(container: FakeContainer): Promise<void> {
    if (!this.running) return;
    const { incarnation } = this;
    const giveBack = async (): Promise<void> => {
      await incarnation.gate;
      await this.agent.verbs.unmount(container.volume, container.session);
    };
    await Promise.race([giveBack(), incarnation.died]).catch(() => undefined);
  }

  #observer(oracle: Oracle): MachineObserver {
    return {
      find: (token) => oracle.find(token),
      snapshotAppeared: (snapshot, content) => oracle.snapshotAppeared(snapshot, content),
      fenced: (container, how) => oracle.fenced(this.#writer(container), how),
      exited: (container) => void this.#giveBack(container),
    };
  }

  #writer(container: FakeContainer): Writer {
    const { name, path, epoch } = container;
    const volume = (path === null ? null : volumeAt(path)) ?? '';
    return { name, host: this.name, volume, epoch, able: this.machine.canWrite(container), excused: this.excused };
  }

  #incarnate(): Incarnation {
    const incarnation = new Incarnation(this.#surroundings.onEffect);
    incarnation.onDeath(() => this.#noteGuarding());
    return incarnation;
  }

  /** After agent or guard came, went, was stopped or continued. */
  #noteGuarding(): void {
    const unguarded = this.#agent?.incarnation.running !== true && this.#guard.current?.incarnation.running !== true;
    if (this.#unguarded && !unguarded) this.#excuse(graceMilliseconds.unguarded);
    this.#unguarded = unguarded;
  }

  #excuse(milliseconds: number): void {
    this.#excusedUntil = Math.max(this.#excusedUntil, this.#surroundings.trueClock.monotonicMilliseconds() + milliseconds);
  }

  #passCrashPoint(incarnation: Incarnation, place: CrashPoint): void {
    if (!incarnation.alive) throw new KilledError(place);
    if (this.#crashAt !== place) return;
    this.#crashAt = null;
    incarnation.kill();
    throw new KilledError(place);
  }

  /** The local store as a run of the agent sees it: it cannot close what the next run needs. */
  #disk(): Store {
    const store = this.#store;
    return {
      get: (key) => store.get(key),
      list: (prefix) => store.list(prefix),
      transact: async (compares, operations) => {
        const result = await store.transact(compares, operations);
        for (const operation of operations) this.#noteGrant(operation);
        return result;
      },
      watch: (prefix, revision, signal) => store.watch(prefix, revision, signal),
      grantLease: (lease, duration) => store.grantLease(lease, duration),
      keepLeaseAlive: (lease) => store.keepLeaseAlive(lease),
      revokeLease: (lease) => store.revokeLease(lease),
      close: async () => undefined,
    };
  }

  #noteGrant(operation: StoreOperation): void {
    const [kind, volume = ''] = ('put' in operation ? operation.put : operation.delete).split('/');
    if (kind !== 'grants') return;
    this.machine.changes += 1;
    if ('put' in operation) this.#grants.set(volume, operation.value as Grant);
    else this.#grants.delete(volume);
  }

  #live(container: FakeContainer): NonNullable<ReturnType<FakeMachine['disk']['liveAt']>> {
    const live = container.path === null ? null : this.machine.disk.liveAt(container.path);
    if (live === null) throw new Error(`the data of volume ${container.volume} was taken away under ${container.name} on ${this.name}`);
    return live;
  }
}
