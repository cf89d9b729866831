import { isTaken } from '../../src/model/snapshots.ts';
import type { Action, Kind } from './actions.ts';
import { describeAction, theHolder, volumeNames } from './actions.ts';
import type { Fault } from './direct-transport.ts';
import type { FakeContainer } from './fake-machine.ts';
import type { Writer } from './oracle.ts';
import type { SimulatedCluster } from './simulated-cluster.ts';
import type { SimulatedHost } from './simulated-host.ts';

interface Running {
  host: SimulatedHost;
  container: FakeContainer;
}

/** Applications write at least this often. Milliseconds. */
const writeMilliseconds = 1000;
const nameServer = 'ns';

const classes = {
  auto: { replicas: 2, intervalMilliseconds: 5000, failover: 'auto' },
  kept: { replicas: 1, intervalMilliseconds: 10_000, failover: 'manual' },
  plain: { replicas: 0, intervalMilliseconds: 10_000, failover: 'manual' },
} as const;

/** Does to a cluster what a list of actions says: as applications, operators and misfortune. */
export class Player {
  /** What was done and what came of it, for the report of a failure. */
  readonly story: string[] = [];
  readonly counts = new Map<Kind, number>();
  readonly #cluster: SimulatedCluster;
  readonly #running = new Set<Running>();
  /** How to end what lasts for a while, ended at the latest when all is healed. */
  readonly #lasting = new Set<() => void>();
  /** An operator is saying that these are off: they stay so until he has been heard. */
  readonly #keptOff = new Set<SimulatedHost>();
  #trouble = 0;
  #healed = false;
  #containers = 0;

  constructor(cluster: SimulatedCluster) {
    this.#cluster = cluster;
    // Streams are few and carry the data: they meet trouble more often than calls do.
    cluster.fault = ({ path, from, to }) =>
      this.#chooseFault(path.includes('/peer/snapshots/') ? Math.min(0.5, this.#trouble * 8) : this.#trouble, `${from} ${to} ${path}`);
  }

  async createVolumes(): Promise<void> {
    const { operator } = this.#cluster;
    for (const name of volumeNames) {
      const body = { description: name, driver: 'btrfs', sizeBytes: null, maximumSizeBytes: null, protection: classes[name] };
      await this.#cluster.resolve(operator.putClass({ parameters: { class: name }, body }));
      await this.#cluster.resolve(this.#cluster.host(1).agent.verbs.create({ name, class: name }));
    }
  }

  /** Plays all of it; between the actions time passes, and applications write. */
  async play(actions: readonly Action[]): Promise<void> {
    const { clock } = this.#cluster;
    const begin = clock.monotonicMilliseconds();
    for (const action of actions) {
      for (let left = action.at; left > 0;) {
        left = begin + action.at - clock.monotonicMilliseconds();
        await this.#cluster.pass(Math.min(Math.max(left, 0), writeMilliseconds));
        this.#writeAll();
      }
      this.#tell(describeAction(action));
      this.counts.set(action.do, (this.counts.get(action.do) ?? 0) + 1);
      await this.#do(action);
      this.#writeAll();
    }
  }

  async heal(): Promise<void> {
    const cluster = this.#cluster;
    this.#tell('heal');
    for (const end of this.#lasting) end();
    this.#trouble = 0;
    cluster.network.mendAll();
    for (const host of cluster.hosts) {
      host.off = false;
      host.incarnation.dieAfter(Infinity);
      await host.start();
    }
    cluster.nameServerIncarnation?.dieAfter(Infinity);
    await cluster.startNameServer();
    this.#writeAll();
    await cluster.until(() => cluster.hosts.every((host) => host.agent.connected), 'all agents are connected');
    // What an operator had asked for before may still be on its way.
    await cluster.pass(15_000);
    const isSettled = ({ able, epoch, volume }: Writer): boolean => able && epoch === cluster.oracle.volume(volume)?.epoch;
    await cluster.until(() => cluster.hosts.every(({ writers }) => writers.every(isSettled)), 'each container writes or has ended', 60_000);
    this.#healed = true;
    this.#writeAll();
    for (const each of this.#running) this.#stop(each);
    for (const { name } of cluster.hosts) await cluster.resolve(cluster.operator.activateHost({ parameters: { host: name } }));
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
    await cluster.until(
      async () => (await cluster.volume(volume)).snapshots.every(isTaken),
      `all snapshots of ${volume} that are wanted have been taken`,
    );
    const { id, placement } = await cluster.volume(volume);
    const isLiveOn = ({ machine }: SimulatedHost): boolean => machine.disk.volume(id).live !== null;
    await cluster.until(
      () => cluster.hosts.every((host) => isLiveOn(host) === (placement.state === 'held' && placement.host === host.id)),
      `only the holder has a live copy of ${volume}`,
    );
    const contentOf = (host: string, snapshot: string) => cluster.hosts.find((each) => each.id === host)?.snapshotContent(id, snapshot);
    cluster.oracle.checkNothingLost(id, contentOf);
  }

  async #do(action: Action): Promise<void> {
    const { operator, network } = this.#cluster;
    switch (action.do) {
      case 'start':
        return this.#start(this.#hostOf(action.host), action.volume, action.impatientAfter);
      case 'stop': {
        const each = [...this.#running][action.pick % Math.max(1, this.#running.size)];
        return each === undefined ? undefined : this.#stop(each);
      }
      case 'move':
        return this.#call(operator.createMove({ body: { volume: action.volume, to: this.#cluster.host(action.host).name } }));
      case 'cancel-moves':
        return this.#call(this.#cancelMoves());
      case 'snapshot':
        return this.#call(operator.createSnapshot({ parameters: { volume: action.volume }, body: { name: action.name } }));
      case 'delete-snapshot': {
        const snapshot = this.#snapshotOf(action.volume, action.pick);
        return snapshot === undefined ? undefined : this.#call(operator.deleteSnapshot({ parameters: { volume: action.volume, snapshot } }));
      }
      case 'revert': {
        const snapshot = this.#snapshotOf(action.volume, action.pick);
        return snapshot === undefined ? undefined : this.#call(operator.revertVolume({ parameters: { volume: action.volume }, body: { snapshot } }));
      }
      case 'clone': {
        const { volume, name } = action;
        const snapshot = this.#snapshotOf(volume, action.pick);
        return snapshot === undefined ? undefined : this.#call(operator.createVolume({ body: { name, from: { volume, snapshot } } }));
      }
      case 'fail-over':
        return this.#failOver(action.volume, action.to);
      case 'drain':
        return this.#drain(this.#cluster.host(action.host).name, action.lasts);
      case 'slow':
        network.slowness = { share: action.share, most: action.most };
        return this.#for(action.lasts, () => (network.slowness = { share: 0, most: 0 }));
      case 'trouble':
        this.#trouble = action.share;
        return this.#for(action.lasts, () => (this.#trouble = 0));
      case 'jump-clock':
        return this.#jumpClock(action.machine, action.by);
      default:
        return this.#harm(action);
    }
  }

  #snapshotOf(volume: string, pick: number): string | undefined {
    const snapshots = this.#cluster.oracle.named(volume)?.snapshots ?? [];
    return snapshots[pick % Math.max(1, snapshots.length)]?.name;
  }

  /** Each volume that was made from a snapshot is there, with what that held. */
  async visitClones(): Promise<void> {
    const cluster = this.#cluster;
    const { items } = await cluster.resolve(cluster.operator.listVolumes({}));
    for (const { name } of items.filter(({ origin }) => origin !== null)) {
      const host = cluster.host(1);
      this.#tell(`visit ${host.name} with ${name}`);
      const container = await this.#startPatiently(host, name);
      host.write(container);
      await cluster.resolve(host.stopContainer(container));
    }
  }

  /** What happens to machines, processes and links. */
  #harm(action: Action): void {
    const cluster = this.#cluster;
    if (!('host' in action)) {
      if (action.do === 'kill-name-server') this.#killNameServer(action.effects, action.back);
      else if (action.do === 'stop-name-server') this.#for(action.lasts, cluster.stopNameServer());
      else if (action.do === 'cut') this.#cut([[this.#nameOf(action.from), this.#nameOf(action.to)]], action.oneWay, action.lasts);
      return;
    }
    const host = this.#hostOf(action.host);
    switch (action.do) {
      case 'kill-agent':
        host.incarnation.dieAfter(action.effects);
        host.incarnation.onDeath(() => this.#later(action.back, () => void host.start()));
        return;
      case 'stop-agent':
        return this.#for(action.lasts, host.stopProcess('agent'));
      case 'stop-guard':
        return this.#for(action.lasts, host.stopProcess('guard'));
      case 'stop-both': {
        const ends = [host.stopProcess('agent'), host.stopProcess('guard')];
        return this.#for(action.lasts, () => ends.forEach((end) => end()));
      }
      case 'kill-guard':
        return host.killGuard();
      case 'freeze-host':
        return host.off ? undefined : this.#for(action.lasts, host.freeze(action.suspended));
      case 'power-cut':
        return this.#cutPower(host, action.back);
      case 'isolate':
        return this.#cut(
          [nameServer, ...cluster.hosts.map(({ name }) => name)].filter((name) => name !== host.name).map((name) => [host.name, name]),
          false,
          action.lasts,
        );
      case 'fill-disk':
        host.machine.disk.full = true;
        return;
      case 'burden':
        host.machine.burden = action.by;
        return this.#for(action.lasts, () => (host.machine.burden = 0));
      default:
    }
  }

  #chooseFault(share: number, message: string): Fault {
    if (share === 0) return 'none';
    const random = this.#cluster.luck.at(message);
    if (!random.chance(share)) return 'none';
    const bytes = random.integer(80);
    return random.pick<Fault>(['refuse', 'lose-answer', 'duplicate', 'lose-trailers', { cutAfterBytes: bytes }, { corruptByte: bytes }]);
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

  #start(host: SimulatedHost, volume: string, impatientAfter: number | null): void {
    const name = this.#newName();
    this.#tell(`  that is ${name}`);
    const impatient = new AbortController();
    if (impatientAfter !== null) void this.#cluster.clock.sleep(impatientAfter).then(() => impatient.abort(new Error('gone away')));
    host.startContainer(name, volume, impatient.signal).then(
      (container) => {
        this.#tell(`  ${name} runs`);
        this.#running.add({ host, container });
        if (this.#healed) this.#stop({ host, container });
      },
      (error: unknown) => {
        this.#tell(`  ${name} did not start: ${String(error)}`);
        // Only the simulation itself throws bare errors: an invariant is broken.
        if (error instanceof Error && error.name === 'Error' && error.message !== 'gone away') this.#cluster.broken ??= error;
        if (error instanceof TypeError) this.#cluster.broken ??= error;
      },
    );
  }

  #writeAll(): void {
    for (const each of this.#running) {
      if (each.container.state === 'running') each.host.write(each.container);
      else {
        this.#tell(`  ${each.container.name} has ended`);
        this.#running.delete(each);
      }
    }
  }

  #stop(each: Running): void {
    this.#running.delete(each);
    if (each.container.state !== 'running') return;
    this.#tell(`  stops ${each.container.name}`);
    if (this.#cluster.luck.at(each.container.name).chance(0.7)) each.host.machine.containers.delete(each.container.name);
    void each.host.stopContainer(each.container);
  }

  #call(call: Promise<unknown>): void {
    call.then(
      () => undefined,
      (error: unknown) => this.#tell(`  refused: ${String(error)}`),
    );
  }

  async #cancelMoves(): Promise<void> {
    const { operator } = this.#cluster;
    const { items } = await operator.listMoves({});
    for (const move of items) if (move.endedAt === null) await operator.cancelMove({ parameters: { move: move.id } });
  }

  /** An operator says that a holder is off only if it is, and does not switch it on while he says so. */
  #failOver(name: string, to: number | null): void {
    const { oracle, operator, hosts } = this.#cluster;
    const { placement, epoch = 0 } = oracle.named(name) ?? {};
    const holder = placement?.state === 'held' ? hosts.find(({ id }) => id === placement.host) : undefined;
    const holderIsOff = holder?.off === true;
    const body = { epoch, reason: 'a test', holderIsOff, ...(to === null ? {} : { to: this.#cluster.host(to).name }) };
    const call = operator.failOver({ parameters: { volume: name }, body });
    if (holder !== undefined) this.#keptOff.add(holder);
    const heard = (): void => void (holder !== undefined && this.#keptOff.delete(holder));
    call.then(heard, heard);
    this.#call(call);
  }

  #drain(host: string, lasts: number): void {
    const { operator } = this.#cluster;
    this.#call(operator.drainHost({ parameters: { host } }));
    this.#for(lasts, () => this.#call(operator.activateHost({ parameters: { host } })));
  }

  #jumpClock(machine: number, by: number): void {
    const cluster = this.#cluster;
    if (machine === 0) cluster.jumpNameServerClock(by);
    else cluster.host(machine).clock.jumpWall(by);
  }

  #killNameServer(effects: number, back: number): void {
    const { nameServerIncarnation: incarnation } = this.#cluster;
    incarnation?.dieAfter(effects);
    incarnation?.onDeath(() => this.#later(back, () => void this.#cluster.startNameServer()));
  }

  #cutPower(host: SimulatedHost, back: number): void {
    if (host.off) return;
    host.powerCut();
    host.off = true;
    this.#switchOn(host, back);
  }

  #switchOn(host: SimulatedHost, after: number): void {
    this.#later(after, () => {
      if (this.#keptOff.has(host)) return this.#switchOn(host, writeMilliseconds);
      host.off = false;
      void host.start();
    });
  }

  #cut(pairs: readonly (readonly string[])[], oneWay: boolean, lasts: number): void {
    const { network } = this.#cluster;
    const links = pairs.flatMap(([from = '', to = '']) => (oneWay ? [[from, to]] : [[from, to], [to, from]])); // prettier-ignore
    for (const [from = '', to = ''] of links) network.cut(from, to);
    this.#for(lasts, () => links.forEach(([from = '', to = '']) => network.mend(from, to)));
  }

  /** Ends something after a while, or when all is healed. */
  #for(milliseconds: number, end: () => void): void {
    const once = (): void => {
      if (this.#lasting.delete(once)) end();
    };
    this.#lasting.add(once);
    this.#later(milliseconds, once);
  }

  #later(milliseconds: number, act: () => void): void {
    void this.#cluster.clock.sleep(milliseconds).then(act);
  }

  #nameOf(machine: number): string {
    return machine === 0 ? nameServer : this.#hostOf(machine).name;
  }

  #hostOf(number: number): SimulatedHost {
    if (number !== theHolder) return this.#cluster.host(number);
    const placement = this.#cluster.oracle.named('auto')?.placement;
    const holder = placement?.state === 'held' ? placement.host : placement?.state === 'moving' ? placement.from : '';
    return this.#cluster.hosts.find(({ id }) => id === holder) ?? this.#cluster.host(1);
  }

  #newName(): string {
    this.#containers += 1;
    return `c${this.#containers}`;
  }

  #tell(what: string): void {
    this.story.push(`${this.#cluster.clock.monotonicMilliseconds()} ${what}`);
  }
}
