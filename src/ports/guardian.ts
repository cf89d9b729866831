/** A volume whose users a guardian stops when the time is up. */
export interface GuardedVolume {
  volume: string;
  epoch: number;
  /** Its live copy in the pool. */
  path: string;
  mountPoint: string;
}

/** So long before the end of a lease its users are made to stand still, in milliseconds. */
export const freezeLeadMilliseconds = 1000;

/**
 * Whoever stops the users of volumes at the end of a lease. A host has two, which know nothing of each other: one in the agent and one in a process of its own,
 * so that neither of them being stopped or killed lets a writer go on.
 */
export interface Guardian {
  /**
   * The users of these volumes may go on until then, on the monotonic clock of this machine (milliseconds). Nothing else is changed: a volume that is not
   * listed keeps its deadline.
   */
  hold(volumes: readonly GuardedVolume[], untilMilliseconds: number): Promise<void>;
  /** The volume needs no guard any more. */
  drop(volume: string): Promise<void>;
  /** What it guards now, and until when. */
  states(): readonly GuardedUntil[] | Promise<readonly GuardedUntil[]>;
}

export interface GuardedUntil {
  volume: string;
  epoch: number;
  /** End of the lease, on the monotonic clock of this machine. Milliseconds. */
  until: number;
}
