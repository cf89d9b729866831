import { Agent } from '../../src/agent/agent.ts';
import type { CrashPoint, Log } from '../../src/agent/context.ts';
import { LocalState } from '../../src/agent/local-state.ts';
import { SupercargoError } from '../../src/model/errors.ts';
import type { Grant } from '../../src/model/grant.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { Store, StoreOperation } from '../../src/ports/store.ts';
import { createClient } from '../../src/protocol/client.ts';
import { peerRoutes } from '../../src/protocol/peer-routes.ts';
import { routes } from '../../src/protocol/routes.ts';
import { ticketHeader } from '../../src/protocol/peer-routes.ts';
import type { Transport, TransportRequest } from '../../src/protocol/transport.ts';
import { openSqliteStore } from '../../src/stores/sqlite/sqlite-store.ts';
import type { Served } from './direct-transport.ts';
import { createFakeDriver } from './fake-disk.ts';
import { FakeMachine } from './fake-machine.ts';
import type { FakeContainer } from './fake-machine.ts';
import { Incarnation, KilledError } from './incarnation.ts';
import type { Oracle } from './oracle.ts';

export interface HostSurroundings {
  id: string;
  name: string;
  clock: Clock;
  random: (length: number) => Uint8Array;
  log: Log;
  oracle: Oracle;
  toNameServer: (host: string) => Transport;
  toPeer: (from: string, to: string) => Transport;
  /** After every effect of the agent; throws if an invariant is broken. */
  onEffect: () => void;
}

/** A host of the simulation: a machine that lasts, and on it one run of the agent after another. */
export class SimulatedHost {
  readonly machine = new FakeMachine();
  readonly id: string;
  readonly name: string;
  readonly #surroundings: HostSurroundings;
  readonly #store: Store;
  readonly #grants = new Map<string, Grant>();
  #agent: { agent: Agent; incarnation: Incarnation } | null = null;
  #crashAt: CrashPoint | null = null;
  #sessions = 0;

  constructor(surroundings: HostSurroundings) {
    this.#surroundings = surroundings;
    this.id = surroundings.id;
    this.name = surroundings.name;
    this.#store = openSqliteStore({ path: ':memory:', clock: surroundings.clock });
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
          { ticket, caller, snapshot, base: searchParams.get('base'), offset: Number(searchParams.get('offset')) },
          response,
        );
      },
    };
  }

  /** Volumes that this host may write by its own durable word, whatever a running agent remembers. */
  get entitled(): string[] {
    return [...this.#grants].filter(([, { state }]) => state !== 'released').map(([volume]) => volume);
  }

  /** Lets the next run, or the present one, die at this place, once. */
  crashAt(place: CrashPoint | null): void {
    this.#crashAt = place;
  }

  async start(): Promise<void> {
    if (this.running) return;
    const { clock, log, random, toNameServer, toPeer, id, name, onEffect } = this.#surroundings;
    const incarnation = new Incarnation(onEffect);
    const gatedClock = incarnation.wrap(clock, 'monotonicMilliseconds', 'wallMilliseconds');
    const store = incarnation.wrap(this.#disk(), 'watch');
    const peer = (to: string): ReturnType<ConstructorParameters<typeof Agent>[0]['connectToPeer']> => {
      const transport = incarnation.wrap(toPeer(id, to), 'close', 'unreachable');
      return { transport, client: createClient(peerRoutes, transport) };
    };
    const agent = new Agent({
      self: { id, name },
      address: `${name}:1`,
      version: 'test',
      clock: gatedClock,
      random,
      log,
      driver: incarnation.wrap(createFakeDriver(this.machine.disk), 'livePath', 'send'),
      system: incarnation.wrap(this.machine.system),
      engine: incarnation.wrap(this.machine.engine),
      state: await LocalState.open(store, gatedClock),
      nameServer: createClient(routes, incarnation.wrap(toNameServer(id), 'close', 'unreachable')),
      connectToPeer: (host) => peer(host.id),
      verifyTicket: async (ticket, destination) => {
        const claims = JSON.parse(ticket) as { move: string; volume: string; epoch: number; source: string; destination: string };
        if (claims.source !== id || claims.destination !== destination) throw new SupercargoError('forbidden', 'The ticket is for other hosts.');
        return claims;
      },
      mountDirectory: '/mounts',
      mountDeadlineMilliseconds: 100_000,
      crashPoint: (place) => {
        if (!incarnation.alive) throw new KilledError(place);
        if (this.#crashAt !== place) return;
        this.#crashAt = null;
        incarnation.kill();
        throw new KilledError(place);
      },
    });
    this.#agent = { agent, incarnation };
    await Promise.race([agent.start(), incarnation.died.catch(() => undefined)]);
  }

  kill(): void {
    this.#agent?.incarnation.kill();
  }

  powerCut(): void {
    this.kill();
    this.machine.restart();
  }

  /**
   * What the engine does for `run -v volume:/data`: asks for the mount, binds it into the container, starts it.
   * @throws what the mount answered
   */
  async startContainer(name: string, volume: string, signal: AbortSignal = new AbortController().signal): Promise<FakeContainer> {
    this.#sessions += 1;
    const session = `${this.name}-${this.#sessions}`.padEnd(16, '0');
    const container: FakeContainer = { name, volume, session, state: 'created', processNumber: 0, path: null };
    this.machine.containers.set(name, container);
    const { engineRun } = this.machine;
    try {
      if (!this.running) throw new SupercargoError('host-unreachable', 'The agent does not run.');
      const { agent, incarnation } = this.#agent as { agent: Agent; incarnation: Incarnation };
      const mountPoint = await Promise.race([agent.verbs.mount(volume, session, signal), incarnation.died]);
      if (this.machine.engineRun !== engineRun) throw new KilledError('the engine died meanwhile');
      if (!this.machine.run(container, mountPoint))
        throw new Error(`${name} on ${this.name} would start on an empty directory in place of volume ${volume}`);
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
    if (!this.running) return;
    await Promise.race([this.agent.verbs.unmount(container.volume, container.session), this.incarnation.died]).catch(() => undefined);
  }

  read(container: FakeContainer): void {
    this.#surroundings.oracle.read(container.volume, this.#live(container).content, `${container.name} on ${this.name}`);
  }

  /** Reads what is there, appends to it, and tells the application that it is safe. */
  write(container: FakeContainer): void {
    this.read(container);
    const live = this.#live(container);
    live.content = [...live.content, this.#surroundings.oracle.acknowledge(container.volume)];
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
    if ('put' in operation) this.#grants.set(volume, operation.value as Grant);
    else this.#grants.delete(volume);
  }

  #live(container: FakeContainer): NonNullable<ReturnType<FakeMachine['disk']['liveAt']>> {
    const live = container.path === null ? null : this.machine.disk.liveAt(container.path);
    if (live === null) throw new Error(`the data of volume ${container.volume} was taken away under ${container.name} on ${this.name}`);
    return live;
  }
}
