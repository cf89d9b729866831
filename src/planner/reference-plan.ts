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

/** Without any container that names the volume, a session is at most a copy that the engine makes for one that is yet to come. Milliseconds. */
const copyMilliseconds = 15_000;
/** With containers that all rest, none of them can have asked; this much is left for a state that is just changing. Milliseconds. */
const restMilliseconds = 3000;

/**
 * Sessions that nothing stands behind any more. To be asked only while the kernel shows no use of the volume: engines lose sessions when they
 * are killed, when a container dies while they are down, and when a call of theirs ran out of time.
 */
export function staleSessions({ references, engine, containerStates }: ReferenceFacts): string[] {
  const active = containerStates?.some((state) => ['starting', 'running', 'paused', 'restarting'].includes(state)) ?? false;
  const limit = containerStates !== null && containerStates.length > 0 ? restMilliseconds : copyMilliseconds;
  return references
    .filter((reference) => {
      if (reference.engine !== engine) return true;
      if (engine !== null && (containerStates === null || active)) return false;
      return reference.ageMilliseconds > limit;
    })
    .map((reference) => reference.session);
}
