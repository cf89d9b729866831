import type { Clock } from '../ports/clock.ts';
import type { Fence, FenceOutcome, FenceTarget, StoppedUser } from '../ports/fence.ts';
import type { HostSystem } from '../ports/host-system.ts';
import { isInContainer } from './cgroups.ts';
import { createFenceMarks } from './fence-marks.ts';
import type { FenceMarks } from './fence-marks.ts';
import { UnitFinder, isStopped, kill, resume, stop, unitNamed } from './fence-units.ts';
import type { Unit } from './fence-units.ts';
import { findUsers, findUsersByMount, hasFilesOf } from './uses.ts';
import type { VolumeUser } from './uses.ts';

export interface FenceOptions {
  clock: Clock;
  system: Pick<HostSystem, 'unmountVolume'>;
  /** Directory of what is stopped, on a file system that a restart of the machine empties. The same for every fence of this host. */
  marksDirectory: string;
  /** Processes of ours that are never stopped or killed, with all they started. This process is never. */
  spared: () => readonly number[];
  log?: (message: string) => void;
}

/** Time for the kernel to confirm that something stands still; what writes heavily to a slow disk takes longest. Milliseconds. */
const confirmMilliseconds = 400;
/** Looks for users that came since the last look. Each stops what the one before found, so a third rarely finds anything. */
const maximumLooks = 12;
/** Time for what was killed to be gone, in milliseconds. What waits for a disk goes later: kill is to be repeated. */
const goneMilliseconds = 3000;
const pollMilliseconds = [1, 1, 2, 4, 8, 16, 32, 64] as const;

/**
 * Programs that make containers, and may see the volumes in a mount namespace of their own. Seeing is not using: where they have nothing open they are
 * let be, because without them nothing of the host's containers works, also of those that have nothing to do with the volume.
 */
const engines = /^(?:systemd|dockerd|containerd|containerd-shim.*|conmon|crio|kubelet|podman)$/;

/** Stops processes by the freezer of their cgroup, or by signal. See docs/adr/0007. */
export function createFence(options: FenceOptions): Fence {
  const marks = createFenceMarks(options.marksDirectory);
  return {
    freeze: async (targets) => {
      const look = new Look(targets, marks, options);
      const problem = await look.stopAll();
      return look.outcomes(problem);
    },
    thaw: async (targets) => thaw(targets, marks),
    kill: async (targets) => killAll(targets, marks, options),
  };
}

/** One freeze: looks until nothing new is found and all that was found stands still. */
class Look {
  readonly #targets: readonly FenceTarget[];
  readonly #marks: FenceMarks;
  readonly #options: FenceOptions;
  readonly #finder: UnitFinder;
  readonly users = new Map<number, { user: VolumeUser; unit: Unit }>();
  readonly units = new Map<string, { unit: Unit; paths: Set<string> }>();

  constructor(targets: readonly FenceTarget[], marks: FenceMarks, options: FenceOptions) {
    this.#targets = targets;
    this.#marks = marks;
    this.#options = options;
    this.#finder = new UnitFinder(options.spared());
  }

  /** @returns why some may have been missed; null if the last look found nothing new */
  async stopAll(): Promise<string | null> {
    // What is found at once is stopped at once; the long look at every open file comes after.
    this.#stopUsers(findUsersByMount(this.#targets));
    for (let looks = 0; looks < maximumLooks; looks++) {
      const fresh = this.#stopUsers(await findUsers(this.#targets));
      await this.#confirm();
      if (fresh === 0) return null;
    }
    return 'processes that use it keep coming';
  }

  outcomes(problem: string | null): FenceOutcome[] {
    const moving = [...this.units.values()].filter(({ unit }) => !isStopped(unit)).map(({ unit }) => unit.name);
    return this.#targets.map((_, index) => {
      const own = [...this.users.values()].filter(({ user }) => user.uses.has(index));
      const users = own.map(({ user, unit }): StoppedUser => ({
        processNumber: user.processNumber,
        name: user.program,
        how: unit.kind === 'cgroup' ? 'cgroup' : 'signal',
      }));
      const late = own.filter(({ unit }) => moving.includes(unit.name)).map(({ user }) => `${user.program} (process ${user.processNumber})`);
      return { users, problem: late.length === 0 ? problem : `not stopped yet: ${late.join(', ')}` };
    });
  }

  /** @returns how many of them belong to no unit that was known before */
  #stopUsers(users: readonly VolumeUser[]): number {
    let fresh = 0;
    for (const user of users) {
      const unit = this.#finder.unitOf(user.processNumber);
      if (unit === undefined || this.#isIdleEngine(user, unit)) continue;
      const uses = [...user.uses].filter((index) => this.#isMeant(user, index));
      if (uses.length === 0) continue;
      this.users.set(user.processNumber, { user: { ...user, uses: new Set(uses) }, unit });
      const known = this.units.get(unit.name);
      if (known === undefined) fresh++;
      const paths = known?.paths ?? new Set<string>();
      this.units.set(unit.name, { unit, paths });
      for (const index of uses) {
        const path = this.#targets[index]?.path ?? '';
        if (paths.has(path)) continue;
        paths.add(path);
        this.#stopUnit(unit, path);
      }
    }
    return fresh;
  }

  #isMeant({ processNumber }: VolumeUser, index: number): boolean {
    const containers = this.#targets[index]?.containers;
    return containers === undefined || isInContainer(processNumber, containers);
  }

  #isIdleEngine({ kind, program, processNumber }: VolumeUser, unit: Unit): boolean {
    return kind === 'container' && unit.kind === 'process' && engines.test(program) && !hasFilesOf(processNumber, this.#targets);
  }

  #stopUnit(unit: Unit, path: string): void {
    try {
      stop(unit, path, this.#marks);
    } catch (error) {
      if (unit.kind !== 'cgroup') throw error;
      // The next look finds its processes one by one.
      this.#options.log?.(`${unit.group.directory} cannot be frozen: ${(error as Error).message}`);
      this.#finder.distrust(unit.group);
      this.units.delete(unit.name);
    }
  }

  async #confirm(): Promise<void> {
    const { clock } = this.#options;
    const end = clock.monotonicMilliseconds() + confirmMilliseconds;
    for (let poll = 0; ; poll++) {
      const moving = [...this.units.values()].filter(({ unit }) => !isStopped(unit));
      if (moving.length === 0 || clock.monotonicMilliseconds() > end) return;
      // Told again: a fork in the same moment may have left a v1 cgroup half frozen, and the other fence may have let it go on.
      for (const { unit, paths } of moving) for (const path of paths) this.#stopUnit(unit, path);
      await clock.sleep(pollMilliseconds[Math.min(poll, 4)] ?? 1);
    }
  }
}

function thaw(targets: readonly FenceTarget[], marks: FenceMarks): void {
  const paths = new Set(targets.map(({ path }) => path));
  const names = new Set(marks.all().flatMap(({ unit, path }) => (paths.has(path) ? [unit] : [])));
  for (const name of names) {
    const unit = unitNamed(name);
    if (unit === undefined) marks.removeAll(name);
    else resume(unit, paths, marks);
  }
}

/** Again and again until nobody is left: what was killed takes a moment to go, and an engine or a shell may start something new meanwhile. */
async function killAll(targets: readonly FenceTarget[], marks: FenceMarks, options: FenceOptions): Promise<FenceOutcome[]> {
  const { clock } = options;
  const outcomes = targets.map((): FenceOutcome => ({ users: [], problem: 'not tried yet' }));
  const end = clock.monotonicMilliseconds() + goneMilliseconds;
  for (let poll = 0; ; poll++) {
    const open = targets.map((target, index) => ({ target, index })).filter(({ index }) => outcomes[index]?.problem !== null);
    if (open.length === 0 || (poll > 0 && clock.monotonicMilliseconds() > end)) return outcomes;
    const look = new Look(
      open.map(({ target }) => target),
      marks,
      options,
    );
    await look.stopAll();
    for (const { unit } of look.units.values()) kill(unit, marks);
    const found = look.outcomes(null);
    for (const [position, { target, index }] of open.entries()) {
      const users = found[position]?.users ?? [];
      const known = outcomes[index]?.users ?? [];
      const fresh = users.filter((user) => !known.some(({ processNumber }) => processNumber === user.processNumber));
      // Tried at once, while the killed are still going: it keeps a loop in a shell from opening the next file.
      const busy = target.containers === undefined ? await unmount(target, options) : null;
      const problem = users.length > 0 ? stillThere(users) : busy;
      outcomes[index] = { users: [...known, ...fresh], problem };
      // What was stopped for this volume earlier and has nothing to do with it any more.
      if (problem === null && target.containers === undefined) thaw([target], marks);
    }
    await clock.sleep(pollMilliseconds[Math.min(poll, pollMilliseconds.length - 1)] ?? 1);
  }
}

function stillThere(users: readonly StoppedUser[]): string {
  return `killed, not gone yet: ${users.map(({ name, processNumber }) => `${name} (process ${processNumber})`).join(', ')}`;
}

/** Once our own mount is gone, the host's own processes cannot reach the volume by it any more. @returns why it is not gone; null if it is */
async function unmount({ mountPoint }: FenceTarget, { system }: FenceOptions): Promise<string | null> {
  try {
    await system.unmountVolume(mountPoint);
    return null;
  } catch {
    // The other fence may have been quicker: then there is nothing left to unmount, and the second try says so.
    return system.unmountVolume(mountPoint).then(
      () => null,
      (error: unknown) => (error as Error).message,
    );
  }
}
