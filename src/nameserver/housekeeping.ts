import { isSupercargoError } from '../model/errors.ts';
import { isOver } from '../model/placement.ts';
import { moveRecord } from '../model/records.ts';
import { hostName } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './repository.ts';

/** Ended moves that are kept for people to look at. */
const keptMoves = 500;
const pruneIntervalMilliseconds = 60_000;

/** Runs beside the handlers until the signal fires: notices hosts that went away, prunes old records. */
export async function runHousekeeping(context: NameServerContext, signal: AbortSignal): Promise<void> {
  await Promise.all([noticeLostHosts(context, signal), pruneMoves(context, signal)]);
}

async function noticeLostHosts(context: NameServerContext, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      await followSessions(context, signal);
    } catch (error) {
      // What was missed meanwhile shows in the hosts' status; only its event is lost.
      if (!isSupercargoError(error, 'revision-compacted')) throw error;
    }
  }
}

async function followSessions({ store, repository }: NameServerContext, signal: AbortSignal): Promise<void> {
  const { revision } = await store.list(keys.sessions);
  for await (const changes of store.watch(keys.sessions, revision, signal)) {
    for (const { key, value } of changes) {
      if (value !== undefined) continue;
      const name = await hostName(repository, key.slice(keys.sessions.length));
      await repository.transact(async (transaction) => {
        transaction.record('host.down', name, 'name server', `Host "${name}" has stopped answering. Its volumes stay its own.`);
      });
    }
  }
}

async function pruneMoves({ store, repository, clock }: NameServerContext, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const moves = await repository.list(keys.moves, moveRecord);
    const ended = moves.filter(isOver).sort((a, b) => (b.endedAt ?? '').localeCompare(a.endedAt ?? ''));
    const surplus = ended.slice(keptMoves);
    if (surplus.length > 0) await store.transact([], surplus.map((move) => ({ delete: keys.move(move.id) })));
    await clock.sleep(pruneIntervalMilliseconds, signal).catch(() => undefined);
  }
}
