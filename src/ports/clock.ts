/** Time as a parameter, so that the simulator and tests own it. */
export interface Clock {
  /** Wall-clock time for people and certificates; it may jump, so no decision about a writer rests on it. Milliseconds since 1970. */
  wallMilliseconds(): number;
  /** Never jumps, never goes back; the same for all processes of the machine until it restarts. Stands still while the machine is suspended. Milliseconds. */
  monotonicMilliseconds(): number;
  /** Resolves after the duration, or rejects with the signal's reason. */
  sleep(milliseconds: number, signal?: AbortSignal): Promise<void>;
}
