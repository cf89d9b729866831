import { isSupercargoError, SupercargoError, toSupercargoError } from '../model/errors.ts';
import type { Move } from '../model/records.ts';
import { inHistoryOrder, pinnedSnapshots } from '../model/snapshots.ts';
import { chooseBase, isReadyForHandOver, missingPinned } from '../planner/transfer-plan.ts';
import type { FinishedRound } from '../planner/transfer-plan.ts';
import type { AgentContext } from './context.ts';
import { requirePeer } from './peer-health.ts';
import { ProgressReporter } from './progress.ts';
import { bring, pullRound } from './pull.ts';
import { PullSession } from './pull-session.ts';
import { copyOf } from './steps.ts';
import type { VolumeActor } from './volume-actor.ts';

/** While a move waits for the users of the source, its copy is freshened this often at first, ever more rarely if little changes. Milliseconds. */
const freshenMilliseconds = { first: 10_000, most: 300_000 };
/** How often a source that keeps silent is asked whether it is there. Milliseconds. */
const sourceCheckMilliseconds = 5000;
/** A delta below this is not worth freshening for. Bytes. */
const smallDeltaBytes = 4 * 1024 * 1024;

/**
 * The destination's side of a move, from the first byte to the commit, as one story. It may be started again at any time: it goes on from what
 * the records and the disk say. It ends when the move is committed or aborted; the signal fires when it ended elsewhere.
 */
export async function receiveMove(context: AgentContext, actor: VolumeActor, moveId: string, signal: AbortSignal): Promise<void> {
  const progress = new ProgressReporter(context, moveId);
  try {
    const move = requireMove(context, moveId);
    const requestTicket = () => context.nameServer.createTicket({ parameters: { move: moveId } }, { signal });
    const session = new PullSession(context, move, progress, signal, requestTicket);
    await requirePeer(context, move.from, onSource(context, move));
    if (move.phase === 'copying') await preCopy(session, move);
    await awaitRelease(session, move, actor);
    // None is left, unless one was taken after the last look.
    await bringPinned(session, move);
    const last = await pullRound(session);
    await commit(context, move, last.snapshot, signal);
    context.log.info({ volume: move.volumeName, move: move.id, bytes: last.bytes, milliseconds: last.milliseconds }, 'moved here');
  } catch (error) {
    signal.throwIfAborted();
    await abortMove(context, moveId, error);
    throw error;
  } finally {
    void progress.finish();
  }
}

function onSource({ state }: AgentContext, move: Move): string {
  return `Volume "${move.volumeName}" is on ${state.hostName(move.from)}`;
}

function requireMove(context: AgentContext, moveId: string): Move {
  const move = context.view.move(moveId);
  if (move === null) throw new SupercargoError('not-found', `Move ${moveId} is gone.`);
  return move;
}

/** What people gave a name to and the source has, oldest first. @throws what keeps it from coming, unless it was deleted meanwhile */
async function bringPinned(session: PullSession, { volume: id, from }: Move): Promise<void> {
  const { driver, view } = session.context;
  for (const tried = new Set<string>(); ;) {
    const volume = view.volume(id);
    const { snapshots: have } = await driver.inspect(id);
    const snapshot = volume === null ? undefined : missingPinned(volume, from, [...have, ...tried])[0];
    if (volume === null || snapshot === undefined) return;
    tried.add(snapshot);
    const theirs = volume.copies.find((copy) => copy.host === from)?.snapshots ?? [];
    const base = chooseBase(inHistoryOrder(volume, theirs), have, snapshot);
    const estimatedBytes = volume.snapshots.find((each) => each.snapshot === snapshot)?.bytes ?? 0;
    try {
      await bring(session, { snapshot, base, estimatedBytes }, have);
    } catch (error) {
      const isStillWanted = pinnedSnapshots(view.volume(id) ?? volume).includes(snapshot);
      if (isStillWanted || !isSupercargoError(error, 'not-found')) throw error;
    }
  }
}

/**
 * Copies while the source may still write, until what is left is small. If both sides have a snapshot in common already and nothing uses the volume, the
 * difference is taken in one go after the release instead: two small steps would take longer than one.
 */
async function preCopy(session: PullSession, move: Move): Promise<void> {
  const { context } = session;
  const { driver, view, nameServer, crashPoint } = context;
  await bringPinned(session, move);
  const source = view.volume(move.volume)?.copies.find((copy) => copy.host === move.from);
  const own = await driver.inspect(move.volume);
  const common = chooseBase(source?.snapshots ?? [], own.snapshots, '');
  if (move.reason === 'operator' || common === null) {
    const rounds: FinishedRound[] = [];
    while (!isReadyForHandOver(rounds)) rounds.push(await pullRound(session));
  }
  await nameServer.readyMove({ parameters: { move: move.id } });
  crashPoint('marked-ready');
}

/** Waits for the source's release; keeps the copy fresh while something on the source keeps it from releasing. */
async function awaitRelease(session: PullSession, move: Move, actor: VolumeActor): Promise<void> {
  const { context, signal } = session;
  const { view, clock } = context;
  let interval = freshenMilliseconds.first;
  let freshenAt = clock.monotonicMilliseconds() + interval;
  for (;;) {
    const now = requireMove(context, move.id);
    if (now.phase === 'released') return;
    const left = freshenAt - clock.monotonicMilliseconds();
    if (left > 0 || now.blockedBy.length === 0 || !view.synced) {
      const heard = await actor.nextChangeWithin(sourceCheckMilliseconds, signal);
      signal.throwIfAborted();
      // A source that is gone will never release. An operator's move waits for it; a container that starts must not.
      if (!heard && now.reason === 'mount' && view.synced) await requirePeer(context, move.from, onSource(context, move));
      continue;
    }
    await bringPinned(session, move);
    const { bytes, final } = await pullRound(session);
    interval = bytes < smallDeltaBytes ? Math.min(interval * 2, freshenMilliseconds.most) : freshenMilliseconds.first;
    // Once released, as the source itself says, there is nothing to freshen: the record will say so in a moment.
    freshenAt = final ? Infinity : clock.monotonicMilliseconds() + interval;
  }
}

async function commit(context: AgentContext, move: Move, finalSnapshot: string, signal: AbortSignal): Promise<void> {
  const copy = await copyOf(context, move.volume, 'replica');
  if (copy === null || !copy.snapshots.includes(finalSnapshot)) {
    throw new SupercargoError('data-missing', `The final snapshot of volume "${move.volumeName}" is not in the pool.`);
  }
  // Whether the answer arrives or not, the record says who won; a lost answer is seen by the watch.
  await untilAnswered(context, signal, () => context.nameServer.commitMove({ parameters: { move: move.id }, body: { copy } }));
  context.crashPoint('committed');
}

/** Repeats a call while the name server is away: it can be repeated, and nothing else can be done meanwhile. */
async function untilAnswered<Result>({ clock }: AgentContext, signal: AbortSignal, call: () => Promise<Result>): Promise<Result> {
  for (let pause = 200; ; pause = Math.min(pause * 2, 3000)) {
    try {
      return await call();
    } catch (error) {
      if (!isSupercargoError(error, 'name-server-unreachable')) throw error;
    }
    await clock.sleep(pause, signal);
  }
}

async function abortMove(context: AgentContext, moveId: string, cause: unknown): Promise<void> {
  const { code, message, hint } = toSupercargoError(cause);
  // Without the name server nothing can be ended: the loop starts the move again when it is back.
  if (code === 'name-server-unreachable') return;
  await context.nameServer
    .abortMove({ parameters: { move: moveId }, body: { code, message: message.slice(0, 4000), hint: hint ?? null } })
    .catch((error: unknown) => context.log.warn({ move: moveId, error: String(error) }, 'could not end the move'));
}
