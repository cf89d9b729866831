import { SupercargoError } from '../../src/model/errors.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { ContainerEngine } from '../../src/ports/container-engine.ts';
import type { Fence, FenceOutcome, FenceTarget } from '../../src/ports/fence.ts';
import type { HostSystem } from '../../src/ports/host-system.ts';
import { FakeDisk } from './fake-disk.ts';
import type { DiskObserver } from './fake-disk.ts';

export interface FakeContainer {
  name: string;
  volume: string;
  session: string;
  state: 'created' | 'running' | 'exited';
  /** Stopped by a fence: it does nothing until it is thawed or ended. */
  frozen: boolean;
  processNumber: number;
  /** What it has mounted and open while it runs: the live copy in the pool, which no unmount elsewhere takes from it. */
  path: string | null;
  /** Of the grant under which it was started. */
  epoch: number;
}

/** What is told of a machine to whoever watches it. */
export interface MachineObserver extends DiskObserver {
  fenced(container: FakeContainer, how: 'frozen' | 'killed'): void;
  /** A container has ended without the engine's doing. */
  exited(container: FakeContainer): void;
}

/** The machine below an agent: disk, kernel and container engine. It goes on when the agent dies, and forgets its mounts only when it is restarted itself. */
export class FakeMachine {
  readonly disk: FakeDisk;
  readonly mounts = new Map<string, string>();
  readonly containers = new Map<string, FakeContainer>();
  engineRun = 1;
  /** Nothing on it runs: neither containers nor agent nor guard. */
  standsStill = false;
  /** So much longer does the machine take to freeze or kill something: it has much to do. Milliseconds. */
  burden = 0;
  /** Rises whenever another container may write than before. */
  changes = 0;
  readonly #observer: MachineObserver;
  #nextProcess = 100;

  constructor(observer: MachineObserver) {
    this.#observer = observer;
    this.disk = new FakeDisk(observer);
  }

  /** A power cut: what is on the disk stays, what runs does not. */
  restart(): void {
    this.mounts.clear();
    this.engineRun += 1;
    for (const container of this.containers.values()) this.end(container);
  }

  /** Starts the processes of a container on what is mounted there. @returns false if nothing is */
  run(container: FakeContainer, mountPoint: string): boolean {
    const path = this.mounts.get(mountPoint);
    if (path === undefined) return false;
    this.#nextProcess += 1;
    this.changes += 1;
    Object.assign(container, { state: 'running', path, processNumber: this.#nextProcess });
    return true;
  }

  end(container: FakeContainer): void {
    Object.assign(container, { state: 'exited', path: null, frozen: false });
  }

  /** Whether its processes could complete a write at this moment. */
  canWrite(container: FakeContainer): boolean {
    return container.state === 'running' && !container.frozen && !this.standsStill;
  }

  get system(): HostSystem {
    return {
      mountVolume: async (path, mountPoint) => {
        if (this.disk.liveAt(path) === null) throw new SupercargoError('data-missing', `There is nothing at ${path}.`);
        this.mounts.set(mountPoint, path);
      },
      realPath: async (path) => path,
      isMounted: async (path, mountPoint) => this.mounts.get(mountPoint) === path,
      unmountVolume: async (mountPoint) => void this.mounts.delete(mountPoint),
      forgetMountPoint: async () => undefined,
      usesOf: async (path) => this.#usersOf(path).map(({ processNumber }) => ({ kind: 'process', name: `app (${processNumber})`, processNumber })),
    };
  }

  get engine(): ContainerEngine {
    const all = (): FakeContainer[] => [...this.containers.values()];
    const reference = ({ name, state }: FakeContainer): { id: string; name: string; state: string } => ({ id: name, name, state });
    return {
      instance: async () => String(this.engineRun),
      containersUsing: async (volume) =>
        all()
          .filter((container) => container.volume === volume)
          .map(reference),
      containerOfProcess: async (processNumber) => {
        const found = all().find((container) => container.processNumber === processNumber && container.state === 'running');
        return found === undefined ? null : reference(found);
      },
      warmUp: async () => undefined,
      settings: async () => ({ authorizationPlugins: [], dataDirectory: '/var/lib/docker' }),
      containers: async () => all().map(({ name, volume }) => ({ id: name, name, volumes: [volume] })),
      inspectContainer: async () => null,
      inspectVolume: async () => null,
    };
  }

  /** As one process of the machine does it: it takes a while, and does nothing while that process is stopped. */
  fenceOf(clock: Clock, random: { integer(limit: number): number }): Fence {
    const outcomesOf = async (targets: readonly FenceTarget[], stop: (container: FakeContainer) => void): Promise<FenceOutcome[]> => {
      await clock.sleep(2 + random.integer(10) + this.burden);
      const outcomes = targets.map(({ path }) => {
        const users = this.#usersOf(path);
        for (const each of users) stop(each);
        return { users: users.map(({ processNumber, name }) => ({ processNumber, name, how: 'cgroup' as const })), problem: null };
      });
      await clock.sleep(1 + random.integer(10));
      return outcomes;
    };
    return {
      freeze: (targets) =>
        outcomesOf(targets, (container) => {
          if (container.frozen) return;
          container.frozen = true;
          this.#observer.fenced(container, 'frozen');
        }),
      thaw: async (targets) => {
        await clock.sleep(1 + random.integer(5));
        this.changes += 1;
        for (const { path } of targets) for (const container of this.#usersOf(path)) container.frozen = false;
      },
      kill: async (targets) => {
        const outcomes = await outcomesOf(targets, (container) => {
          this.#observer.fenced(container, 'killed');
          this.end(container);
          this.#observer.exited(container);
        });
        for (const { mountPoint } of targets) this.mounts.delete(mountPoint);
        return outcomes;
      },
    };
  }

  #usersOf(path: string): FakeContainer[] {
    return [...this.containers.values()].filter((container) => container.path === path);
  }
}
