import { newIdentifier } from '../model/identifiers.ts';
import type { PoolReport } from '../model/records.ts';
import type { AgentContext } from './context.ts';

const heartbeatMilliseconds = 4000;
const retryMilliseconds = 1000;

/** Keeps this host's session with the name server alive until the signal fires, and reports its pool. */
export async function keepSession(context: AgentContext, signal: AbortSignal): Promise<void> {
  const { nameServer, clock, address, version, log } = context;
  // A new session a start: the name server sees that this is not the process it knew.
  const session = newIdentifier('ses', context.random);
  while (!signal.aborted) {
    let pause = heartbeatMilliseconds;
    try {
      await nameServer.heartbeat(
        { body: { session, address, version, pool: await poolReport(context) } },
        { signal, timeoutMilliseconds: heartbeatMilliseconds },
      );
    } catch (error) {
      log.debug({ error: String(error) }, 'heartbeat failed');
      pause = retryMilliseconds;
    }
    await clock.sleep(pause, signal).catch(() => undefined);
  }
}

export async function poolReport({ driver }: Pick<AgentContext, 'driver'>): Promise<PoolReport> {
  return { driver: driver.info.name, ...(await driver.usage()) };
}
