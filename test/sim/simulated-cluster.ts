import type { Log } from '../../src/agent/context.ts';
import { newIdentifier } from '../../src/model/identifiers.ts';
import { keys } from '../../src/nameserver/keys.ts';
import { createNameServer } from '../../src/nameserver/name-server.ts';
import type { NameServer } from '../../src/nameserver/name-server.ts';
import { fixedMasterKeys } from '../../src/nameserver/test-name-server.ts';
import type { Volume } from '../../src/model/records.ts';
import type { Store } from '../../src/ports/store.ts';
import { createClient } from '../../src/protocol/client.ts';
import type { Client } from '../../src/protocol/client.ts';
import { routes } from '../../src/protocol/routes.ts';
import type { Routes } from '../../src/protocol/routes.ts';
import type { TransportRequest } from '../../src/protocol/transport.ts';
import { directTransport } from './direct-transport.ts';
import type { Fault, Way } from './direct-transport.ts';
import { Incarnation } from './incarnation.ts';
import { MemoryStore } from './memory-store.ts';
import { Network } from './network.ts';
import { Oracle } from './oracle.ts';
import { Luck, SeededRandom } from './random.ts';
import { MachineClock, SimulatedClock } from './simulated-clock.ts';
import { SimulatedHost } from './simulated-host.ts';

export interface SimulationOptions {
  seed: number;
  hosts: number;
  /** What the network does to a request; nothing by default. */
  fault?: (request: TransportRequest & { from: string; to: string }) => Fault;
}

/** How often a condition is looked at, ever more rarely: time in between passes event by event all the same. Milliseconds. */
const stepMilliseconds = { first: 20, most: 1000 };
const sessionMilliseconds = 10_000;
const ticketMilliseconds = 600_000;
const takeoverMarginMilliseconds = 2000;
const replicaGraceMilliseconds = 60_000;
/** How much faster or slower than true time a machine's monotonic clock may run. */
const greatestDrift = 200e-6;
/** What is kept of the log for the report of a failure. Lines. */
const keptLines = 4000;

/** Effects of all processes in one moment; in the busiest ones there are some hundreds. */
const mostEffectsAtOnce = 20_000;

interface LogLine {
  at: number;
  who: string;
  level: string;
  message: string;
  details: object;
}

/** A whole cluster in one process: the real name server and agents over fake machines and a clock that only moves when told. */
export class SimulatedCluster {
  /** True time; each machine has a clock of its own. */
  readonly clock = new SimulatedClock();
  readonly nameServerClock: MachineClock;
  readonly oracle: Oracle;
  readonly luck: Luck;
  /** For identifiers. */
  readonly random: SeededRandom;
  readonly network: Network;
  readonly hosts: SimulatedHost[] = [];
  readonly operator: Client<Routes>;
  fault: NonNullable<SimulationOptions['fault']>;
  /** What is broken, as far as it was noticed. */
  broken: Error | undefined;
  readonly #store: MemoryStore;
  /** For the clocks of machines. */
  readonly #drifts: SeededRandom;
  #effects = 0;
  #effectsAt = 0;
  #checkedChanges = -1;
  #checkedLosses = 0;
  readonly #up = new Set<string>();
  readonly #lines: LogLine[] = [];
  #nameServer: { nameServer: NameServer; incarnation: Incarnation; stop: AbortController } | null = null;

  private constructor({ seed, fault }: SimulationOptions) {
    this.random = new SeededRandom(seed);
    this.#drifts = new SeededRandom(seed * 17 + 3);
    this.nameServerClock = this.#machineClock();
    this.#store = new MemoryStore(this.nameServerClock);
    this.luck = new Luck(seed, () => this.clock.monotonicMilliseconds());
    this.network = new Network(this.luck);
    this.fault = fault ?? (() => 'none');
    this.oracle = new Oracle(
      () => this.clock.monotonicMilliseconds(),
      (time) => this.nameServerClock.trueTimeOf(Date.parse(time)),
    );
    this.oracle.isUp = (host) => this.#up.has(host);
    this.operator = createClient(
      routes,
      this.#toNameServer(null, 'operator', () => null),
    );
  }

  /** Brings up the name server and all hosts, and waits until every agent is connected. */
  static async start(options: SimulationOptions): Promise<SimulatedCluster> {
    const cluster = new SimulatedCluster(options);
    await cluster.startNameServer();
    for (let number = 1; number <= options.hosts; number += 1) await cluster.#addHost(`h${number}`);
    await cluster.until(() => cluster.hosts.every((host) => host.agent.connected), 'all agents are connected');
    return cluster;
  }

  host(number: number): SimulatedHost {
    const host = this.hosts[number - 1];
    if (host === undefined) throw new Error(`there is no host ${number}`);
    return host;
  }

  get nameServerIncarnation(): Incarnation | undefined {
    return this.#nameServer?.incarnation;
  }

  async startNameServer(): Promise<void> {
    if (this.#nameServer?.incarnation.alive === true) return;
    const incarnation = new Incarnation(() => this.check());
    incarnation.onDeath(() => this.#store.leaseHolderDied());
    this.#store.leaseHolderStarted();
    const nameServer = await createNameServer({
      store: incarnation.wrap(this.#observedStore(incarnation), 'watch'),
      clock: incarnation.wrap(this.nameServerClock, 'monotonicMilliseconds', 'wallMilliseconds'),
      random: this.random.bytes,
      issuer: {
        issueHostCertificate: async () => ({ certificate: 'certificate', serial: '40', expiresAt: '2100-01-01T00:00:00Z' }),
        lifetimeMilliseconds: 86_400_000,
        authorities: () => [],
        fingerprint: () => 'fingerprint',
        issueUserCertificate: async () => '',
        signCheckpoint: async (claims) => JSON.stringify(claims),
        phase: () => 'none',
        rotation: { introduce: async () => undefined, promote: async () => undefined, retire: async () => undefined },
        signTicket: async (claims) =>
          JSON.stringify({
            ...claims,
            id: newIdentifier('tkt', this.random.bytes),
            expires: this.nameServerClock.wallMilliseconds() + ticketMilliseconds,
          }),
        signPass: async (claims) => JSON.stringify(claims),
      },
      masterKeys: fixedMasterKeys(),
      address: 'ns:1',
      joinAddress: 'ns:2',
      sessionMilliseconds,
      takeoverMarginMilliseconds,
      replicaGraceMilliseconds,
      onDefect: (error) => this.#note('ns', 'error', 'defect', { error: String(error) }),
    });
    const stop = new AbortController();
    incarnation.onDeath(() => stop.abort());
    this.#nameServer = { nameServer, incarnation, stop };
    nameServer.run(stop.signal).catch(() => undefined);
  }

  killNameServer(): void {
    this.#nameServer?.incarnation.kill();
  }

  /** Stops (SIGSTOP) the name server. @returns how to continue it */
  stopNameServer(): () => void {
    const incarnation = this.#nameServer?.incarnation;
    if (incarnation?.running !== true) return () => undefined;
    incarnation.stop();
    const countOn = this.#store.leaseHolderStopped();
    return () => {
      incarnation.continue();
      this.oracle.nameServerWokeAt = this.clock.monotonicMilliseconds();
      if (incarnation.alive) countOn();
    };
  }

  jumpNameServerClock(milliseconds: number): void {
    this.nameServerClock.jumpWall(milliseconds);
    this.oracle.nameServerClockSetAt = this.clock.monotonicMilliseconds();
  }

  /** What was logged, newest last, for the report of a failure. */
  get log(): string[] {
    return this.#lines.map(({ at, who, level, message, details }) => `${at} ${who} ${level} ${message} ${JSON.stringify(details)}`);
  }

  /** Writes a record past the name server, as none of its own would. */
  async falsify(key: string, value: unknown): Promise<void> {
    await this.resolve(this.#store.transact([], [{ put: key, value }]));
  }

  async volume(name: string): Promise<Volume> {
    return this.resolve(this.operator.getVolume({ parameters: { volume: name } }));
  }

  /** Lets time pass until the promise has settled. */
  async resolve<Result>(promise: Promise<Result>, limitMilliseconds = 400_000): Promise<Result> {
    let done = false;
    const note = (): void => {
      done = true;
    };
    promise.then(note, note);
    await this.until(() => done, 'an answer', limitMilliseconds);
    return promise;
  }

  /** Lets time pass until the condition holds. */
  async until(condition: () => boolean | Promise<boolean>, what: string, limitMilliseconds = 400_000): Promise<void> {
    const end = this.clock.monotonicMilliseconds() + limitMilliseconds;
    for (let step = stepMilliseconds.first; ; step = Math.min(step * 1.5, stepMilliseconds.most)) {
      await this.pass(0);
      if (await condition()) return;
      if (this.clock.monotonicMilliseconds() >= end) throw new Error(`waited ${limitMilliseconds} ms in vain until ${what}`);
      await this.pass(Math.round(step));
    }
  }

  /** Lets time pass. @throws if an invariant was broken meanwhile */
  async pass(milliseconds: number): Promise<void> {
    await this.clock.advance(milliseconds);
    if (this.broken !== undefined) throw this.broken;
  }

  /** Ends everything, so that nothing of it runs on. */
  async stop(): Promise<void> {
    for (const host of this.hosts) host.end();
    this.killNameServer();
    await this.clock.advance(0);
    await this.#store.close();
    this.clock.end();
  }

  async #addHost(name: string): Promise<void> {
    const id = newIdentifier('hst', this.random.bytes);
    const joinedAt = new Date(this.clock.wallMilliseconds()).toISOString();
    await this.#store.transact(
      [],
      [
        { put: keys.hostName(name), value: { id } },
        { put: keys.host(id), value: { id, name, address: `${name}:1`, version: 'test', pool: null, joinedAt } },
      ],
    );
    const host = new SimulatedHost({
      id,
      name,
      trueClock: this.clock,
      clock: this.#machineClock(),
      random: this.random.bytes,
      luck: this.luck,
      log: this.#logOf(name),
      oracle: this.oracle,
      toNameServer: (caller, gate) => this.#toNameServer(caller, name, gate),
      toPeer: (from, to, gate) => this.#toPeer(from, to, name, gate),
      onEffect: () => this.check(),
    });
    this.hosts.push(host);
    await host.start();
  }

  #machineClock(): MachineClock {
    return new MachineClock(this.clock, 1 + greatestDrift * (2 * this.#drifts.next() - 1));
  }

  #toNameServer(caller: string | null, from: string, gate: () => Promise<void> | null): ReturnType<typeof directTransport> {
    return directTransport({
      caller,
      clock: this.clock,
      unreachable: { code: 'name-server-unreachable', message: 'The name server does not answer.' },
      target: () => {
        const current = this.#nameServer;
        return current === null ? undefined : { incarnation: current.incarnation, table: routes, handlers: current.nameServer.handlers };
      },
      fault: (request) => this.fault({ ...request, from, to: 'ns' }),
      way: this.#way(from, 'ns', gate),
    });
  }

  #toPeer(from: string, to: string, fromName: string, gate: () => Promise<void> | null): ReturnType<typeof directTransport> {
    const peer = (): SimulatedHost | undefined => this.hosts.find((host) => host.id === to);
    return directTransport({
      caller: from,
      clock: this.clock,
      unreachable: { code: 'host-unreachable', message: 'The other agent does not answer.' },
      target: () => peer()?.served,
      fault: (request) => this.fault({ ...request, from: fromName, to: peer()?.name ?? to }),
      way: this.#way(fromName, peer()?.name ?? to, gate),
    });
  }

  #way(from: string, to: string, caller: () => Promise<void> | null): Way {
    const { network } = this;
    return {
      there: () => network.gate(from, to),
      back: () => network.gate(to, from),
      delay: (message) => network.delay(`${from} ${to} ${message}`),
      caller,
    };
  }

  /** After every effect of any process. */
  check(): void {
    this.#checkPause();
    this.#checkNamed();
    // What cannot have changed need not be looked at again: this comes after every effect of every process.
    let changes = 0;
    for (const { machine } of this.hosts) changes += machine.changes;
    if (changes === this.#checkedChanges) return;
    this.#checkedChanges = changes;
    try {
      this.#checkGrants();
      for (const host of this.hosts) {
        const { writers } = host;
        if (writers.length > 0) this.oracle.check(writers);
      }
    } catch (error) {
      this.broken ??= error as Error;
    }
  }

  /** What people gave a name to is on some disk. */
  #checkNamed(): void {
    let losses = 0;
    for (const { machine } of this.hosts) losses += machine.disk.losses;
    if (losses === this.#checkedLosses) return;
    this.#checkedLosses = losses;
    try {
      this.oracle.checkNamed((volume, snapshot) => this.hosts.some((host) => host.snapshotContent(volume, snapshot) !== undefined));
    } catch (error) {
      this.broken ??= error as Error;
    }
  }

  /** Nothing goes on for ever without a pause. */
  #checkPause(): void {
    const now = this.clock.monotonicMilliseconds();
    this.#effects = now === this.#effectsAt ? this.#effects + 1 : 0;
    this.#effectsAt = now;
    if (this.#effects < mostEffectsAtOnce) return;
    this.broken ??= new Error(`something is done over and over without a pause: ${this.log.slice(-6).join('; ')}`);
    for (const host of this.hosts) host.powerCut();
    this.killNameServer();
  }

  /** At most one host may hold a volume by its own durable word, unless a failover has ended what the other one has not heard of yet. */
  #checkGrants(): void {
    const holders = new Map<string, { host: string; epoch: number }>();
    for (const { name: host, entitled } of this.hosts) {
      for (const { volume, epoch } of entitled) {
        if (this.oracle.isReplaced(volume, epoch)) continue;
        const other = holders.get(volume);
        if (other !== undefined) throw new Error(`both ${other.host} (epoch ${other.epoch}) and ${host} (epoch ${epoch}) may write volume ${volume}`);
        holders.set(volume, { host, epoch });
      }
    }
  }

  /** The name server's store; what is written there is compared with the truth. */
  #observedStore(incarnation: Incarnation): Store {
    const store = this.#store;
    async function* watch(...parameters: Parameters<Store['watch']>): ReturnType<MemoryStore['watch']> {
      for await (const events of store.watch(...parameters)) {
        for (let { gate } = incarnation; gate !== null; gate = incarnation.gate) await gate;
        yield events;
      }
    }
    return new Proxy(store, {
      get: (target, key) => {
        if (key === 'watch') return watch;
        if (key === 'transact') return (...parameters: Parameters<Store['transact']>) => this.#transact(...parameters);
        const member: unknown = Reflect.get(target, key, target);
        return typeof member === 'function' ? (member.bind(target) as unknown) : member;
      },
    });
  }

  async #transact(...[compares, operations]: Parameters<Store['transact']>): ReturnType<Store['transact']> {
    const result = await this.#store.transact(compares, operations);
    if (!result.committed) return result;
    for (const operation of operations) {
      const key = 'put' in operation ? operation.put : operation.delete;
      if (!key.startsWith(keys.volumes) || !('put' in operation)) continue;
      try {
        await this.#noteSessions();
        this.oracle.recorded(
          operation.value as Volume,
          this.hosts.flatMap((host) => host.writers),
        );
      } catch (error) {
        this.broken ??= error as Error;
      }
    }
    return result;
  }

  async #noteSessions(): Promise<void> {
    const { entries } = await this.#store.list(keys.sessions);
    this.#up.clear();
    for (const { key } of entries) this.#up.add(key.slice(keys.sessions.length));
  }

  #note(who: string, level: string, message: string, details: object): void {
    this.#lines.push({ at: this.clock.monotonicMilliseconds(), who, level, message, details });
    if (this.#lines.length > 2 * keptLines) this.#lines.splice(0, keptLines);
  }

  #logOf(name: string): Log {
    const line =
      (level: string) =>
      (details: object, message: string): void =>
        this.#note(name, level, message, details);
    return { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') };
  }
}
