import type { Log } from '../agent/context.ts';
import type { Clock } from '../ports/clock.ts';
import type { ContainerEngine } from '../ports/container-engine.ts';

/** How often the engine is looked at for a restart, in milliseconds; looking reads two small files. */
const lookMilliseconds = 2000;

/**
 * Makes the engine know the plugin from its start on, and again after each restart of it: Swarm gives tasks with a volume only to nodes whose engine
 * has used the volume's driver since it started. To be begun when the plugin's socket listens.
 */
export async function keepDiscovered(options: {
  engine: Pick<ContainerEngine, 'instance' | 'warmUp'>;
  clock: Clock;
  log: Log;
  signal: AbortSignal;
}): Promise<void> {
  const { engine, clock, log, signal } = options;
  let known: string | null = null;
  while (!signal.aborted) {
    try {
      const instance = await engine.instance();
      if (instance !== null && instance !== known) await engine.warmUp();
      known = instance;
    } catch (error) {
      // An engine that is just starting has a process but does not answer yet.
      log.debug({ error: String(error) }, 'the container engine does not know the plugin yet');
    }
    await clock.sleep(lookMilliseconds, signal).catch(() => undefined);
  }
}
