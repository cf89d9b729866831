import type { Fault } from './direct-transport.ts';
import type { FakeContainer } from './fake-machine.ts';
import { SimulatedCluster } from './simulated-cluster.ts';
import type { SimulatedHost } from './simulated-host.ts';

export interface HistoryOptions {
  seed: number;
  hosts: number;
  steps: number;
}

interface Running {
  host: SimulatedHost;
  container: FakeContainer;
}

const volumes = ['one', 'two'];

/**
 * A random history: containers start, write, stop and start elsewhere, operators move volumes, while agents, machines and the name server die between any two
 * effects, and the network loses, repeats, cuts and falsifies. Then all is healed, and every volume has to be usable on every host, with all that was acknowledged.
 * The cluster itself checks that never two hosts may write. @throws what was broken
 */
export async function playHistory(options: HistoryOptions): Promise<void> {
  const cluster = await SimulatedCluster.start(options);
  const player = new Player(cluster);
  try {
    for (const name of volumes) await cluster.resolve(cluster.host(1).agent.verbs.create({ name }));
    const troubled = cluster.random.next() * 0.1;
    // Streams are few and carry the data: they meet trouble more often than calls do.
    cluster.fault = ({ path }) => player.chooseFault(path.includes('/peer/snapshots/') ? Math.min(0.5, troubled * 8) : troubled);
    for (let step = 0; step < options.steps; step += 1) {
      await player.act();
      await cluster.pass(cluster.random.chance(0.2) ? cluster.random.integer(8000) : cluster.random.integer(300));
    }
    await player.heal();
    for (const volume of volumes) await player.visitAllHosts(volume);
  } catch (error) {
    const story = [...player.story, '--- log ---', ...cluster.log.slice(-100)].join('\n');
    throw new Error(`seed ${options.seed}: ${error instanceof Error ? error.message : String(error)}\n${story}`, { cause: error });
  } finally {
    await cluster.stop();
  }
}

class Player {
  /** What was done, for the report of a failure. */
  readonly story: string[] = [];
  readonly #cluster: SimulatedCluster;
  readonly #running = new Set<Running>();
  #broken: Error | undefined;
  #healed = false;
  #containers = 0;

  constructor(cluster: SimulatedCluster) {
    this.#cluster = cluster;
  }

  chooseFault(probability: number): Fault {
    const { random } = this.#cluster;
    if (!random.chance(probability)) return 'none';
    const bytes = random.integer(80);
    return random.pick<Fault>(['refuse', 'lose-answer', 'duplicate', 'lose-trailers', { cutAfterBytes: bytes }, { corruptByte: bytes }]);
  }

  /** One random event. */
  async act(): Promise<void> {
    if (this.#broken !== undefined) throw this.#broken;
    const { random } = this.#cluster;
    const dice = random.next();
    if (dice < 0.3) this.#start(random.pick(this.#cluster.hosts), random.pick(volumes));
    else if (dice < 0.55) this.#writeAll();
    else if (dice < 0.72) this.#stopOne();
    else if (dice < 0.8) this.#moveByOperator();
    else if (dice < 0.83) await this.#cancelMoves();
    else if (dice < 0.9) this.#killAgent();
    else if (dice < 0.92) this.#cutPower();
    else if (dice < 0.95) this.#killNameServer();
    else await this.#restartSomething();
    this.#writeAll();
  }

  async heal(): Promise<void> {
    const cluster = this.#cluster;
    this.#healed = true;
    this.#tell('heal');
    cluster.fault = () => 'none';
    for (const host of cluster.hosts) {
      host.incarnation.dieAfter(Infinity);
      await host.start();
    }
    cluster.nameServerIncarnation?.dieAfter(Infinity);
    await cluster.startNameServer();
    this.#writeAll();
    for (const each of this.#running) this.#stop(each);
    await cluster.until(() => cluster.hosts.every((host) => host.agent.connected), 'all agents are connected');
    if (this.#broken !== undefined) throw this.#broken;
  }

  /** Every host in turn gets the volume and finds everything in it. */
  async visitAllHosts(volume: string): Promise<void> {
    const cluster = this.#cluster;
    for (const host of [...cluster.hosts, cluster.host(1)]) {
      this.#tell(`visit ${host.name} with ${volume}`);
      const container = await this.#startPatiently(host, volume);
      host.write(container);
      await cluster.resolve(host.stopContainer(container));
    }
    await cluster.until(async () => (await cluster.volume(volume)).placement.state === 'held', `${volume} has come to rest`);
    const { id, placement } = await cluster.volume(volume);
    await cluster.until(
      () =>
        cluster.hosts.every(
          ({ machine, id: host }) => (machine.disk.volume(id).live !== null) === (placement.state === 'held' && placement.host === host),
        ),
      `only the holder has a live copy of ${volume}`,
    );
  }

  async #startPatiently(host: SimulatedHost, volume: string): Promise<FakeContainer> {
    const cluster = this.#cluster;
    let failure: unknown;
    for (let attempt = 0; attempt < 12; attempt += 1) {
      try {
        return await cluster.resolve(host.startContainer(this.#newName(), volume));
      } catch (error) {
        failure = error;
        this.#tell(`not yet: ${String(error)}`);
        await cluster.pass(10_000);
      }
    }
    throw new Error(`${volume} cannot be used on ${host.name} although all is well: ${String(failure)}`, { cause: failure });
  }

  #start(host: SimulatedHost, volume: string): void {
    const name = this.#newName();
    this.#tell(`start ${name} on ${host.name} with ${volume}`);
    const impatient = new AbortController();
    if (this.#cluster.random.chance(0.1))
      void this.#cluster.clock.sleep(this.#cluster.random.integer(3000)).then(() => impatient.abort(new Error('gone away')));
    host.startContainer(name, volume, impatient.signal).then(
      (container) => {
        this.#tell(`${name} runs`);
        this.#running.add({ host, container });
        if (this.#healed) this.#stop({ host, container });
      },
      (error: unknown) => {
        this.#tell(`${name} did not start: ${String(error)}`);
        // Only the simulation itself throws bare errors: an invariant is broken.
        if (error instanceof Error && error.name === 'Error' && error.message !== 'gone away') this.#broken ??= error;
      },
    );
  }

  #writeAll(): void {
    for (const each of this.#running) {
      if (each.container.state !== 'running') this.#running.delete(each);
      else each.host.write(each.container);
    }
  }

  #stopOne(): void {
    if (this.#running.size > 0) this.#stop(this.#cluster.random.pick([...this.#running]));
  }

  #stop(each: Running): void {
    this.#running.delete(each);
    if (each.container.state !== 'running') return;
    this.#tell(`stop ${each.container.name}`);
    if (this.#cluster.random.chance(0.3)) each.host.machine.containers.delete(each.container.name);
    void each.host.stopContainer(each.container);
  }

  #moveByOperator(): void {
    const { random, operator, hosts } = this.#cluster;
    const body = { volume: random.pick(volumes), to: random.pick(hosts).name };
    this.#tell(`move ${body.volume} to ${body.to}`);
    operator.createMove({ body }).catch(() => undefined);
  }

  async #cancelMoves(): Promise<void> {
    const { operator } = this.#cluster;
    this.#tell('cancel all moves');
    const cancel = async (): Promise<void> => {
      const { items } = await operator.listMoves({});
      for (const move of items) if (move.endedAt === null) await operator.cancelMove({ parameters: { move: move.id } });
    };
    cancel().catch(() => undefined);
  }

  #killAgent(): void {
    const { random, hosts } = this.#cluster;
    const host = random.pick(hosts);
    const steps = random.integer(120);
    this.#tell(`${host.name} dies after ${steps} effects`);
    host.incarnation.dieAfter(steps);
  }

  #cutPower(): void {
    const host = this.#cluster.random.pick(this.#cluster.hosts);
    this.#tell(`power cut on ${host.name}`);
    host.powerCut();
    this.#writeAll();
  }

  #killNameServer(): void {
    const steps = this.#cluster.random.integer(60);
    this.#tell(`the name server dies after ${steps} effects`);
    this.#cluster.nameServerIncarnation?.dieAfter(steps);
  }

  async #restartSomething(): Promise<void> {
    this.#tell('everything that died starts again');
    for (const host of this.#cluster.hosts) await host.start();
    await this.#cluster.startNameServer();
  }

  #newName(): string {
    this.#containers += 1;
    return `c${this.#containers}`;
  }

  #tell(what: string): void {
    this.story.push(`${this.#cluster.clock.monotonicMilliseconds()} ${what}`);
  }
}
