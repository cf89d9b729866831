import type { Log } from '../../src/agent/context.ts';
import { newIdentifier } from '../../src/model/identifiers.ts';
import { keys } from '../../src/nameserver/repository.ts';
import { createNameServer } from '../../src/nameserver/name-server.ts';
import type { NameServer } from '../../src/nameserver/name-server.ts';
import type { Clock } from '../../src/ports/clock.ts';
import { ManualClock } from '../../src/ports/manual-clock.ts';
import type { Store } from '../../src/ports/store.ts';
import type { Volume } from '../../src/model/records.ts';
import { createClient } from '../../src/protocol/client.ts';
import type { Client } from '../../src/protocol/client.ts';
import { routes } from '../../src/protocol/routes.ts';
import type { Routes } from '../../src/protocol/routes.ts';
import type { TransportRequest } from '../../src/protocol/transport.ts';
import { openSqliteStore } from '../../src/stores/sqlite/sqlite-store.ts';
import { directTransport } from './direct-transport.ts';
import type { Fault } from './direct-transport.ts';
import { Incarnation } from './incarnation.ts';
import { Oracle } from './oracle.ts';
import { SeededRandom } from './random.ts';
import { SimulatedHost } from './simulated-host.ts';

export interface SimulationOptions {
  seed: number;
  hosts: number;
  /** What the network does to a request; nothing by default. */
  fault?: (request: TransportRequest & { from: string; to: string }) => Fault;
}

/** How often a condition is looked at, ever more rarely: time in between passes event by event all the same. Milliseconds. */
const stepMilliseconds = { first: 20, most: 1000 };

/** A whole cluster in one process: the real name server and agents over fake machines and a clock that only moves when told. */
export class SimulatedCluster {
  readonly clock = new ManualClock();
  readonly oracle = new Oracle();
  readonly random: SeededRandom;
  readonly hosts: SimulatedHost[] = [];
  readonly operator: Client<Routes>;
  /** What agents logged, newest last, for the report of a failure. */
  readonly log: string[] = [];
  fault: NonNullable<SimulationOptions['fault']>;
  readonly #store: Store;
  readonly #broken: Error[] = [];
  #nameServer: { nameServer: NameServer; incarnation: Incarnation; stop: AbortController } | null = null;

  private constructor({ seed, fault }: SimulationOptions) {
    this.random = new SeededRandom(seed);
    this.fault = fault ?? (() => 'none');
    this.#store = openSqliteStore({ path: ':memory:', clock: this.clock });
    this.operator = createClient(routes, this.#toNameServer(null, 'operator'));
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
    const incarnation = new Incarnation();
    const nameServer = await createNameServer({
      store: incarnation.wrap(this.#store, 'watch'),
      clock: incarnation.wrap<Clock>(this.clock, 'monotonicMilliseconds', 'wallMilliseconds'),
      random: this.random.bytes,
      issuer: {
        issueHostCertificate: async () => 'certificate',
        authorities: () => [],
        fingerprint: () => 'fingerprint',
        signTicket: async (claims) => JSON.stringify(claims),
      },
      address: 'ns:1',
      joinAddress: 'ns:2',
      sessionMilliseconds: 15_000,
      onDefect: (error) => this.log.push(`${this.clock.monotonicMilliseconds()} ns defect ${String(error)}`),
    });
    const stop = new AbortController();
    incarnation.onDeath(() => stop.abort());
    this.#nameServer = { nameServer, incarnation, stop };
    nameServer.run(stop.signal).catch(() => undefined);
  }

  killNameServer(): void {
    this.#nameServer?.incarnation.kill();
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
    const [broken] = this.#broken;
    if (broken !== undefined) throw broken;
  }

  /** Ends everything, so that nothing of it runs on. */
  async stop(): Promise<void> {
    for (const host of this.hosts) host.kill();
    this.killNameServer();
    await this.clock.advance(0);
    await this.#store.close();
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
      clock: this.clock,
      random: this.random.bytes,
      log: this.#logOf(name),
      oracle: this.oracle,
      toNameServer: (caller) => this.#toNameServer(caller, name),
      toPeer: (from, to) => this.#toPeer(from, to, name),
      onEffect: () => this.#checkOneWriter(),
    });
    this.hosts.push(host);
    await host.start();
  }

  #toNameServer(caller: string | null, from: string): ReturnType<typeof directTransport> {
    return directTransport({
      caller,
      clock: this.clock,
      unreachable: { code: 'name-server-unreachable', message: 'The name server does not answer.' },
      target: () => {
        const current = this.#nameServer;
        return current === null ? undefined : { incarnation: current.incarnation, table: routes, handlers: current.nameServer.handlers };
      },
      fault: (request) => this.fault({ ...request, from, to: 'ns' }),
    });
  }

  #toPeer(from: string, to: string, fromName: string): ReturnType<typeof directTransport> {
    const peer = (): SimulatedHost | undefined => this.hosts.find((host) => host.id === to);
    return directTransport({
      caller: from,
      clock: this.clock,
      unreachable: { code: 'host-unreachable', message: 'The other agent does not answer.' },
      target: () => peer()?.served,
      fault: (request) => this.fault({ ...request, from: fromName, to: peer()?.name ?? to }),
    });
  }

  /** At most one host may hold a volume by its own durable word: the invariant on which everything rests. */
  #checkOneWriter(): void {
    const holders = new Map<string, string>();
    for (const host of this.hosts) {
      for (const volume of host.entitled) {
        const other = holders.get(volume);
        if (other !== undefined) this.#broken.push(new Error(`both ${other} and ${host.name} may write volume ${volume}`));
        holders.set(volume, host.name);
      }
    }
  }

  #logOf(name: string): Log {
    const line =
      (level: string) =>
      (details: object, message: string): void => {
        this.log.push(`${this.clock.monotonicMilliseconds()} ${name} ${level} ${message} ${JSON.stringify(details)}`);
      };
    return { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') };
  }
}
