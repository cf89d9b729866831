import { isOver } from '../model/placement.ts';
import { moveRecord } from '../model/records.ts';
import { checkpointMilliseconds, makeCheckpoint } from './audit.ts';
import { takeSteps } from './authority.ts';
import { runControllers } from './controllers.ts';
import { pruneDenials } from './deny-list.ts';
import { pruneGrants } from './grants.ts';
import { hostName } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { pruneAdmissions } from './reach.ts';
import { refusalMilliseconds } from './refusals.ts';
import { keys } from './keys.ts';

/** Ended moves that are kept for people to look at. */
const keptMoves = 500;
const pruneIntervalMilliseconds = 60_000;
const rotationIntervalMilliseconds = 2000;

const retryMilliseconds = 2000;

/** Runs beside the handlers until the signal fires: notices hosts that went away, prunes old records. A full disk, say, only delays it. */
export async function runHousekeeping(context: NameServerContext, signal: AbortSignal): Promise<void> {
  const prunings = [pruneMoves, pruneDenials, pruneGrants, pruneAdmissions].map((prune) => repeatedly(pruneIntervalMilliseconds, prune));
  const watching = [
    repeatedly(rotationIntervalMilliseconds, takeSteps),
    repeatedly(checkpointMilliseconds, makeCheckpoint),
    repeatedly(refusalMilliseconds, (known) => known.refusals.record(known)),
  ];
  const chores = [followSessions, ...prunings, ...watching, runControllers];
  await Promise.all(chores.map((chore) => persistently(context, signal, chore)));
}

type Chore = (context: NameServerContext, signal: AbortSignal) => Promise<void>;

/** Does a chore again whenever it ends, until the signal fires. */
export async function persistently(context: NameServerContext, signal: AbortSignal, chore: Chore): Promise<void> {
  while (!signal.aborted) {
    try {
      await chore(context, signal);
    } catch (error) {
      if (!signal.aborted) context.onDefect(error);
    }
    await context.clock.sleep(retryMilliseconds, signal).catch(() => undefined);
  }
}

/** Ends with an error if it fell too far behind: what was missed shows in the hosts' status, only its event is lost. */
async function followSessions({ store, repository }: NameServerContext, signal: AbortSignal): Promise<void> {
  const { revision } = await store.list(keys.sessions);
  for await (const changes of store.watch(keys.sessions, revision, signal)) {
    for (const { key, value } of changes) {
      if (value !== undefined) continue;
      const name = await hostName(repository, key.slice(keys.sessions.length));
      await repository.transact(async (transaction) => {
        transaction.record('host.down', name, 'name server', `Host "${name}" has stopped answering.`);
      });
    }
  }
}

/** Work that is done again so long after it was done. */
function repeatedly(intervalMilliseconds: number, work: (context: NameServerContext) => Promise<void>): Chore {
  return async (context, signal) => {
    while (!signal.aborted) {
      await work(context);
      await context.clock.sleep(intervalMilliseconds, signal).catch(() => undefined);
    }
  };
}

async function pruneMoves({ store, repository }: NameServerContext): Promise<void> {
  const moves = await repository.list(keys.moves, moveRecord);
  const ended = moves.filter(isOver).sort((a, b) => (b.endedAt ?? '').localeCompare(a.endedAt ?? ''));
  const surplus = ended.slice(keptMoves);
  if (surplus.length === 0) return;
  await store.transact(
    [],
    surplus.map((move) => ({ delete: keys.move(move.id) })),
  );
}
