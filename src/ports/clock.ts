/** Time as a parameter, so that the simulator and tests own it. */
export interface Clock {
  /** Wall-clock time for people and certificates; it may jump, so no decision about a writer rests on it. Milliseconds since 1970. */
  wallMilliseconds(): number;
  /** Never jumps, never goes back, has no meaning outside this process. Milliseconds. */
  monotonicMilliseconds(): number;
  /** Resolves after the duration, or rejects with the signal's reason. */
  sleep(milliseconds: number, signal?: AbortSignal): Promise<void>;
}
