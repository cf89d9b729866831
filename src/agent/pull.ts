import { isSupercargoError } from '../model/errors.ts';
import { inHistoryOrder } from '../model/snapshots.ts';
import type { PeerRoutes } from '../protocol/peer-routes.ts';
import type { RouteOutput } from '../protocol/route.ts';
import { Download } from './download.ts';
import type { PullSession } from './pull-session.ts';

export interface PulledRound {
  snapshot: string;
  final: boolean;
  bytes: number;
  milliseconds: number;
}

type Round = RouteOutput<PeerRoutes['prepareRound']>;

/** A stream whose digest is wrong, or that cannot be applied, is pulled again from its start this many times, the last time whole. */
const corruptionRetries = 2;

/** One round of a move: brings the next snapshot of the source here, verified and durable. */
export async function pullRound(session: PullSession): Promise<PulledRound> {
  const { context, move } = session;
  const begin = context.clock.monotonicMilliseconds();
  const { snapshots } = await context.driver.inspect(move.volume);
  const known = knownFinalRound(session, snapshots);
  const { round, bytes } = known === null ? await bringNext(session, snapshots) : await bringKnown(session, known, snapshots);
  session.lastPulled = round.snapshot;
  const milliseconds = Math.round(context.clock.monotonicMilliseconds() - begin);
  context.log.debug({ volume: move.volumeName, snapshot: round.snapshot, base: round.base, bytes, milliseconds }, 'round received');
  return { snapshot: round.snapshot, final: round.final, bytes, milliseconds };
}

/**
 * Once the record names the final snapshot, and both sides are known to have a snapshot in common, the source need not be asked what comes next:
 * nobody can write meanwhile, so every step counts.
 */
function knownFinalRound({ context, move, lastPulled }: PullSession, have: readonly string[]): Round | null {
  const snapshot = context.view.move(move.id)?.finalSnapshot ?? null;
  const volume = context.view.volume(move.volume);
  const newest = (volume === null ? have : inHistoryOrder(volume, have)).at(-1) ?? null;
  if (snapshot === null || newest === null) return null;
  const reported = volume?.copies.find((copy) => copy.host === move.from)?.snapshots ?? [];
  const common = newest === snapshot || newest === lastPulled || reported.includes(newest);
  return common ? { snapshot, base: newest === snapshot ? null : newest, final: true, estimatedBytes: 0 } : null;
}

interface Brought {
  round: Round;
  bytes: number;
}

async function bringKnown(session: PullSession, round: Round, have: string[]): Promise<Brought> {
  try {
    return { round, bytes: await bring(session, round, have) };
  } catch (error) {
    // The source lacks the base after all; it knows what there is.
    if (!isSupercargoError(error, 'not-found')) throw error;
    return bringNext(session, have);
  }
}

async function bringNext(session: PullSession, have: string[]): Promise<Brought> {
  const round = await prepareRound(session, have);
  return { round, bytes: await bring(session, round, have) };
}

/** Brings one snapshot here, verified and durable. @returns how many bytes it took */
export async function bring(session: PullSession, round: Omit<Round, 'final'>, have: readonly string[]): Promise<number> {
  const { crashPoint } = session.context;
  crashPoint('snapshot-prepared');
  if (have.includes(round.snapshot)) return 0;
  session.progress.beginRound(round.estimatedBytes);
  const bytes = await pullSnapshot(session, round);
  session.progress.endRound();
  crashPoint('snapshot-published');
  return bytes;
}

/** Asks the source to make the next snapshot, or for its final one. */
function prepareRound(session: PullSession, have: string[]): Promise<Round> {
  return session.patiently(async () =>
    session.source.client.prepareRound({ body: { ticket: await session.ticket(), have } }, { timeoutMilliseconds: 60_000, signal: session.signal }),
  );
}

async function pullSnapshot(session: PullSession, round: Omit<Round, 'final'>): Promise<number> {
  const { context, move } = session;
  for (let attempt = 0; ; attempt += 1) {
    // A delta may be impossible to apply although it arrives as it was sent: `btrfs receive` does not find what it is to clone from in a snapshot that was made here.
    const sent = attempt < corruptionRetries ? round : { ...round, base: null };
    const receiver = await context.driver.receive(move.volume, sent.snapshot, sent.base);
    try {
      const download = new Download(session, sent, receiver);
      await session.patiently(
        () => download.goOn(),
        () => download.offset,
      );
      context.crashPoint('stream-received');
      await receiver.complete();
      return download.offset;
    } catch (error) {
      await receiver.discard();
      if (!isSupercargoError(error, 'stream-corrupt') || attempt >= corruptionRetries) throw error;
      context.log.warn({ volume: move.volumeName, snapshot: round.snapshot }, 'a stream arrived corrupt; pulling it again');
      session.progress.restartRound();
    }
  }
}
