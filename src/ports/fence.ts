/** A volume as the kernel knows it. */
export interface FenceTarget {
  /** The live path in the pool. */
  path: string;
  /** Where our own mount of it is, or would be. */
  mountPoint: string;
  /** Identifiers of containers: only what runs in these is meant, and our own mount is left to the others. Without it, everything. */
  containers?: ReadonlySet<string>;
}

export interface StoppedUser {
  processNumber: number;
  /** Name of its program. */
  name: string;
  /** cgroup: with its whole container. signal: alone, because it shares its cgroup with what is none of a container's. */
  how: 'cgroup' | 'signal';
}

export interface FenceOutcome {
  /** The processes found to use the volume. */
  users: StoppedUser[];
  /** Why it cannot be said that all of them are stopped (`freeze`) or gone (`kill`), for people; null if the kernel has confirmed it. */
  problem: string | null;
}

/**
 * Stops what uses volumes, without the container engine's help. Everything may be repeated, may be done by two processes at once, and may be ended
 * anywhere: what one process froze, another thaws. Each method takes all volumes that are due, because a look at the machine's processes costs the same
 * for one and for many. Stopping is by container, so a container that uses several volumes is stopped for any of them, and goes on once none asks for it.
 */
export interface Fence {
  /**
   * Stops everything that could read or write the volumes, and also what came since the last call. A process of the host itself that opens a file
   * by its path later is not hindered: repeat it.
   * @returns an outcome for each target, in their order
   */
  freeze(targets: readonly FenceTarget[]): Promise<FenceOutcome[]>;
  /** Lets everything go on that `freeze` stopped for these volumes, and nothing that was stopped by others (a paused container, a job in the background). */
  thaw(targets: readonly FenceTarget[]): Promise<void>;
  /**
   * Ends everything that uses the volumes (SIGKILL while frozen, so that no further instruction runs), waits until the kernel shows no user any more, and
   * takes our own mount away.
   * @returns an outcome for each target, in their order
   */
  kill(targets: readonly FenceTarget[]): Promise<FenceOutcome[]>;
}

/** What is done to the data once nothing uses it any more. Safe to repeat, also by two processes at once; does nothing where there is no data. */
export interface Seal {
  /** Makes the live copy refuse writers. Not a fence by itself: descriptors that are open go on writing. */
  setReadOnly(volume: string): Promise<void>;
  /** Keeps the live copy as it was when its lease of this epoch ran out (milliseconds of the monotonic clock). */
  snapshot(volume: string, epoch: number, ranOut: number): Promise<void>;
}
