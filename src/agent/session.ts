import { newIdentifier } from '../model/identifiers.ts';
import type { PoolReport } from '../model/records.ts';
import type { AgentContext } from './context.ts';

/** Several heartbeats may be lost before a session ends. */
const heartbeatsPerSession = 5;
const heartbeatTimeoutMilliseconds = 3000;
const retryMilliseconds = 500;

/** Keeps this host's session with the name server alive until the signal fires, and reports its pool. */
export async function keepSession(context: AgentContext, signal: AbortSignal): Promise<void> {
  const { nameServer, clock, address, version, log, leases, nameServerTime, trust } = context;
  // A new session a start: the name server sees that this is not the process it knew.
  const session = newIdentifier('ses', context.random);
  while (!signal.aborted) {
    let pause = leases.sessionMilliseconds / heartbeatsPerSession;
    try {
      const pool = await poolReport(context);
      // Before anything is sent: from here on the name server may count on this host's promise.
      const sentAt = clock.monotonicMilliseconds();
      const claims = await leases.beforeHeartbeat(sentAt);
      const body = { session, address, version, pool, leases: claims, trust: trust.report() };
      const answer = await nameServer.heartbeat({ body }, { signal, timeoutMilliseconds: heartbeatTimeoutMilliseconds });
      nameServerTime.note(answer.time);
      await leases.confirm(sentAt, answer.sessionMilliseconds, answer.leases);
      if (answer.authorities.length > 0) await trust.follow(answer.authorities);
    } catch (error) {
      log.debug({ error: String(error) }, 'heartbeat failed');
      pause = retryMilliseconds;
    }
    await clock.sleep(pause, AbortSignal.any([signal, leases.wanted])).catch(() => undefined);
  }
}

export async function poolReport({ driver }: Pick<AgentContext, 'driver'>): Promise<PoolReport> {
  return { driver: driver.info.name, ...(await driver.usage()) };
}
