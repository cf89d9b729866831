import { SupercargoError } from '../../src/model/errors.ts';
import type { ContainerEngine } from '../../src/ports/container-engine.ts';
import type { HostSystem } from '../../src/ports/host-system.ts';
import { FakeDisk } from './fake-disk.ts';

export interface FakeContainer {
  name: string;
  volume: string;
  session: string;
  state: 'created' | 'running' | 'exited';
  processNumber: number;
  /** What it has mounted and open while it runs: the live copy in the pool, which no unmount elsewhere takes from it. */
  path: string | null;
}

/** The machine below an agent: disk, kernel and container engine. It goes on when the agent dies, and forgets its mounts only when it is restarted itself. */
export class FakeMachine {
  readonly disk = new FakeDisk();
  readonly mounts = new Map<string, string>();
  readonly containers = new Map<string, FakeContainer>();
  engineRun = 1;
  #nextProcess = 100;

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
    Object.assign(container, { state: 'running', path, processNumber: this.#nextProcess });
    return true;
  }

  end(container: FakeContainer): void {
    Object.assign(container, { state: 'exited', path: null });
  }

  get system(): HostSystem {
    return {
      mountVolume: async (path, mountPoint) => {
        if (this.disk.liveAt(path) === null) throw new SupercargoError('data-missing', `There is nothing at ${path}.`);
        this.mounts.set(mountPoint, path);
      },
      isMounted: async (path, mountPoint) => this.mounts.get(mountPoint) === path,
      unmountVolume: async (mountPoint) => void this.mounts.delete(mountPoint),
      forgetMountPoint: async () => undefined,
      usesOf: async (path) =>
        [...this.containers.values()]
          .filter((container) => container.path === path)
          .map(({ processNumber }) => ({ kind: 'process', name: `app (${processNumber})`, processNumber })),
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
    };
  }
}
