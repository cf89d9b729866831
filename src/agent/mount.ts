import { isErrorCode, isSupercargoError, SupercargoError } from '../model/errors.ts';
import { formatDuration } from '../model/duration.ts';
import type { Move, Volume } from '../model/records.ts';
import type { AgentContext } from './context.ts';
import { describeUses } from './uses.ts';
import type { VolumeActor } from './volume-actor.ts';

/** A move that waits for users on its source is not given up at the first look: they may just be ending. Milliseconds. */
const blockedPatienceMilliseconds = 3000;
/** How long the name server may be away before a mount that needs it is refused. Milliseconds. */
const absencePatienceMilliseconds = 4000;
/** A step that fails is tried again for this long before the mount is refused for it. Milliseconds. */
const problemPatienceMilliseconds = 5000;

/**
 * A mount, from the call to the answer: the whole story. If this host holds the volume, it is mounted at once, name server or not. Otherwise the volume
 * is claimed, and the answer waits for the move that brings it here, but not longer than the caller does; the move goes on after that, and the
 * next call joins it.
 */
export function mount(context: AgentContext, actor: VolumeActor, volume: Volume, session: string, signal: AbortSignal): Promise<string> {
  return actor.whileMounting(() => mountWithinDeadline(context, actor, volume, session, signal));
}

async function mountWithinDeadline(context: AgentContext, actor: VolumeActor, volume: Volume, session: string, signal: AbortSignal): Promise<string> {
  const deadline = new AbortController();
  const waiting = AbortSignal.any([signal, deadline.signal]);
  context.clock.sleep(context.mountDeadlineMilliseconds, waiting).then(
    () => deadline.abort(new Error('deadline')),
    () => undefined,
  );
  try {
    for (;;) {
      const mountPoint = await mountInTime(actor, session, waiting);
      if (mountPoint !== null) return await answer(actor, session, mountPoint, signal);
      await awaitGrant(context, actor, volume, waiting).catch(async (error: unknown) => {
        if (!isTakeoverAhead(context, volume, error)) throw error;
        await takeoverOrSecond(context, actor, volume, waiting);
      });
    }
  } catch (error) {
    if (deadline.signal.aborted && !signal.aborted) throw stillMoving(context, volume);
    throw error;
  } finally {
    deadline.abort();
  }
}

/** A holder that cannot be reached is replaced by itself where the class says so: the mount waits for that. */
function isTakeoverAhead({ view, state }: AgentContext, { id }: Volume, error: unknown): boolean {
  const volume = view.volume(id) ?? state.volume(id);
  return isSupercargoError(error, 'host-unreachable') && volume?.protection.failover === 'auto' && volume.replicas.length > 0;
}

/** Waits for its turn in the volume's queue no longer than the caller does; a mount that comes too late is given back. */
async function mountInTime(actor: VolumeActor, session: string, signal: AbortSignal): Promise<string | null> {
  const attempt = actor.mountIfHeld(session, signal);
  const done = new AbortController();
  const late = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true, signal: done.signal });
  });
  try {
    return await Promise.race([attempt, late]);
  } catch (error) {
    attempt
      .then((mountPoint) => (mountPoint === null ? undefined : actor.giveBack(session)))
      // It failed, or could not be noted: the session then shows itself as void.
      .catch(() => undefined);
    throw error;
  } finally {
    done.abort();
  }
}

/** A caller that went away before the answer will never give the mount back. */
async function answer(actor: VolumeActor, session: string, mountPoint: string, signal: AbortSignal): Promise<string> {
  if (!signal.aborted) return mountPoint;
  await actor.giveBack(session);
  throw new SupercargoError('deadline-exceeded', 'The caller went away before the mount was ready.');
}

/** Claims the volume and waits until this host has its grant. @throws what makes that impossible now */
async function awaitGrant(context: AgentContext, actor: VolumeActor, volume: Volume, signal: AbortSignal): Promise<void> {
  const { state, clock } = context;
  const move = await claim(context, volume, signal);
  actor.wake();
  const now = clock.monotonicMilliseconds();
  const since = { blocked: now, away: now, problem: now };
  while (state.grant(volume.id)?.state !== 'held') {
    checkProgress(context, actor, move, since);
    await actor.nextChangeWithin(1000, signal);
  }
}

/** @returns the move that brings the volume here; null if it is this host's already */
async function claim(context: AgentContext, volume: Volume, signal: AbortSignal): Promise<Move | null> {
  const { nameServer, view, self } = context;
  const parameters = { volume: volume.id };
  try {
    return (await nameServer.claimVolume({ parameters }, { signal })).move;
  } catch (error) {
    // This host released it for a host that has since gone down: nobody can have begun to write, so it may be taken back.
    const leaving = view.openMoveOf(view.volume(volume.id));
    const abandoned = leaving?.from === self.id && view.host(leaving.to)?.status === 'down';
    if (!abandoned || !isSupercargoError(error, 'move-in-progress')) throw error;
    await nameServer.cancelMove({ parameters: { move: leaving.id } }, { signal });
    return (await nameServer.claimVolume({ parameters }, { signal })).move;
  }
}

/** When each kind of obstacle was last seen to be absent, on the monotonic clock. */
interface Patience {
  blocked: number;
  away: number;
  problem: number;
}

/** Looks at how the claim stands. @throws what the move or this host's own loop says, if it cannot come to a good end now */
function checkProgress(context: AgentContext, actor: VolumeActor, claimed: Move | null, since: Patience): void {
  const { view, clock } = context;
  const now = clock.monotonicMilliseconds();
  if (view.synced) since.away = now;
  else if (now - since.away > absencePatienceMilliseconds) {
    if (view.problem !== null) throw view.problem;
    throw new SupercargoError('name-server-unreachable', 'The name server does not answer, and this host does not hold the volume.', {
      hint: 'Try again when it is back.',
    });
  }
  if (actor.problem === null) since.problem = now;
  else if (now - since.problem > problemPatienceMilliseconds) throw actor.problem;
  const move = claimed === null ? null : (view.move(claimed.id) ?? claimed);
  if (move === null) return;
  if (move.phase === 'aborted') throw abortedError(move);
  if (move.blockedBy.length === 0) since.blocked = now;
  else if (now - since.blocked > blockedPatienceMilliseconds) throw blockedError(context, move);
}

function abortedError(move: Move): SupercargoError {
  const { code, message, hint } = move.error ?? { code: 'move-failed', message: 'The move ended.', hint: null };
  return new SupercargoError(isErrorCode(code) ? code : 'move-failed', message, hint === null ? {} : { hint });
}

function blockedError({ state }: AgentContext, move: Move): SupercargoError {
  const source = state.hostName(move.from);
  return new SupercargoError('volume-in-use', `Volume "${move.volumeName}" is in use on ${source} by ${describeUses(move.blockedBy)}.`, {
    hint: `Its data is copied already: stop it on ${source}, then start again here.`,
    details: { host: source, uses: move.blockedBy },
  });
}

function stillMoving({ view, state }: AgentContext, volume: Volume): SupercargoError {
  const move = view.openMoveOf(view.volume(volume.id));
  if (move === null) return new SupercargoError('deadline-exceeded', `Volume "${volume.name}" is not ready yet.`, { hint: 'Start it again.' });
  return new SupercargoError('deadline-exceeded', `Volume "${volume.name}" is still ${describeMove(move, state.hostName(move.from))}.`, {
    hint: 'The move goes on by itself; start it again then.',
    details: { move: move.id },
  });
}

/** "moving from h1, 63 %, about 40 s left" */
export function describeMove(move: Move, source: string): string {
  const words = [`moving from ${source}`];
  const { progress } = move;
  if (progress !== null && progress.totalBytes > 0) {
    words.push(`${Math.min(99, Math.floor((100 * progress.transferredBytes) / progress.totalBytes))} %`);
    if (progress.bytesPerSecond > 0) {
      const seconds = (progress.totalBytes - progress.transferredBytes) / progress.bytesPerSecond;
      words.push(`about ${formatDuration(seconds * 1000)} left`);
    }
  }
  return words.join(', ');
}

/** Waits for another holder, or a second: that the move has ended is no reason to open the next one, which would end as quickly. */
async function takeoverOrSecond(context: AgentContext, actor: VolumeActor, { id }: Volume, signal: AbortSignal): Promise<void> {
  const { clock, view } = context;
  const before = view.volume(id)?.epoch;
  const end = clock.monotonicMilliseconds() + 1000;
  for (let left = 1000; left > 0 && view.volume(id)?.epoch === before; left = end - clock.monotonicMilliseconds()) {
    await actor.nextChangeWithin(left, signal);
  }
}
