import type { SessionReference } from '../model/reference.ts';

export interface ReferenceFacts {
  references: readonly (SessionReference & {
    /** Time since the session was last answered, or since this agent started, in milliseconds. */
    ageMilliseconds: number;
  })[];
  /** The engine that runs now; null if none does. */
  engine: string | null;
  /** States of the engine's containers that name the volume; null if the engine does not answer. */
  containerStates: readonly string[] | null;
}

/** A container that was just answered may take this long until the kernel shows its mount. Milliseconds. */
const startMilliseconds = 60_000;
/** Without any container that names the volume, a session is at most a copy that the engine itself makes. Milliseconds. */
const copyMilliseconds = 15_000;

/**
 * Sessions that nothing stands behind any more. To be asked only while the kernel shows no use of the volume: engines lose sessions when they
 * are killed, when a container dies while they are down, and when a call of theirs ran out of time.
 */
export function staleSessions({ references, engine, containerStates }: ReferenceFacts): string[] {
  const running = containerStates?.some((state) => ['running', 'paused', 'restarting'].includes(state)) ?? false;
  const starting = containerStates?.includes('created') ?? false;
  return references
    .filter((reference) => {
      if (reference.engine !== engine) return true;
      if (engine === null) return reference.ageMilliseconds > copyMilliseconds;
      if (containerStates === null || running) return false;
      return reference.ageMilliseconds > (starting ? startMilliseconds : copyMilliseconds);
    })
    .map((reference) => reference.session);
}
