import { recordCopy } from '../model/copies.ts';
import { SupercargoError } from '../model/errors.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { abort, commit, isOver, markBlocked, markReady, release } from '../model/placement.ts';
import type { MoveChange } from '../model/placement.ts';
import { moveRecord, volumeRecord } from '../model/records.ts';
import type { Move } from '../model/records.ts';
import type { Routes } from '../protocol/routes.ts';
import type { Handlers, RequestContext } from '../protocol/server.ts';
import { applyClaim } from './claim.ts';
import { actorName, callingHost } from './hosts.ts';
import { findHost, findMove, findVolume, hostName } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import { requireReach } from './reach.ts';
import type { Transaction } from './repository.ts';

type MoveRoutes =
  | 'listMoves'
  | 'getMove'
  | 'createMove'
  | 'cancelMove'
  | 'readyMove'
  | 'blockMove'
  | 'releaseMove'
  | 'commitMove'
  | 'abortMove'
  | 'reportProgress'
  | 'createTicket';

export function moveHandlers(context: NameServerContext): Pick<Handlers<Routes>, MoveRoutes> {
  const { repository, random } = context;
  return {
    listMoves: async () => {
      const moves = await repository.list(keys.moves, moveRecord);
      return { items: moves.sort((a, b) => a.startedAt.localeCompare(b.startedAt)) };
    },
    getMove: ({ parameters }) => findMove(repository, parameters.move),
    createMove: async ({ body }, request) =>
      repository.transact(async (transaction) => {
        const volume = await findVolume(transaction, body.volume);
        const host = await findHost(transaction, body.to);
        if (request.host !== null) await requireReach(context, transaction, volume, host.id);
        const opening = { moveId: newIdentifier('mov', random), reason: 'operator' as const, now: repository.now() };
        return applyClaim(transaction, volume, host.id, opening);
      }),
    cancelMove: async ({ parameters }, request) => {
      const actor = await actorName(context, request);
      const error = { code: 'move-failed', message: `The move was cancelled by ${actor}.`, hint: null };
      return endMove(context, parameters.move, error, actor);
    },
    ...sourceHandlers(context),
    ...destinationHandlers(context),
    abortMove: async ({ parameters, body }, request) => {
      await requireParty(context, parameters.move, request, 'from', 'to');
      return endMove(context, parameters.move, body, await actorName(context, request));
    },
  };
}

function sourceHandlers(context: NameServerContext): Pick<Handlers<Routes>, 'blockMove' | 'releaseMove'> {
  const { repository } = context;
  return {
    blockMove: async ({ parameters, body }, request) => {
      await requireParty(context, parameters.move, request, 'from');
      const { move } = await changeMove(context, parameters.move, ({ volume, move }) => markBlocked(volume, move, body.uses));
      return move;
    },
    releaseMove: async ({ parameters, body }, request) => {
      await requireParty(context, parameters.move, request, 'from');
      const { move } = await changeMove(context, parameters.move, ({ volume, move }) => {
        if (body.epoch !== volume.epoch) {
          throw new SupercargoError('stale-epoch', `The release is for epoch ${body.epoch}, but volume "${volume.name}" is at ${volume.epoch}.`);
        }
        return release(volume, move, body.snapshot, repository.now());
      });
      return move;
    },
  };
}

function destinationHandlers(context: NameServerContext): Pick<Handlers<Routes>, 'readyMove' | 'commitMove' | 'reportProgress' | 'createTicket'> {
  const { repository, issuer } = context;
  return {
    readyMove: async ({ parameters }, request) => {
      await requireParty(context, parameters.move, request, 'to');
      return (await changeMove(context, parameters.move, ({ volume, move }) => markReady(volume, move))).move;
    },
    commitMove: async ({ parameters, body }, request) => {
      const host = await requireParty(context, parameters.move, request, 'to');
      const name = await hostName(repository, host);
      return changeMove(
        context,
        parameters.move,
        ({ volume, move }) => {
          if (move.finalSnapshot !== null && !body.copy.snapshots.includes(move.finalSnapshot)) {
            throw new SupercargoError('wrong-state', `The copy on ${name} does not have the final snapshot.`, { hint: 'Pull it first.' });
          }
          const change = commit(volume, move, repository.now());
          // It is a replica until the new holder says that it made its live copy: a live copy that was never reported was never mounted.
          return change.move === move ? change : { ...change, volume: recordCopy(change.volume, host, { host, ...body.copy, kind: 'replica' }) };
        },
        (transaction, { volume }) =>
          transaction.record('move.committed', volume.name, name, `Volume "${volume.name}" is held by ${name} (epoch ${volume.epoch}).`),
      );
    },
    reportProgress: async ({ parameters, body }, request) => {
      await requireParty(context, parameters.move, request, 'to');
      // The last report may come after the end; it decides nothing.
      await changeMove(context, parameters.move, ({ volume, move }) => ({ volume, move: { ...move, progress: body } }));
      return {};
    },
    createTicket: async ({ parameters }, request) => {
      const destination = await requireParty(context, parameters.move, request, 'to');
      const move = await findMove(repository, parameters.move);
      if (isOver(move)) throw new SupercargoError('wrong-state', `Move ${move.id} has ended (${move.phase}).`);
      const ticket = await issuer.signTicket({ move: move.id, volume: move.volume, epoch: move.epoch, source: move.from, destination });
      return { ticket };
    },
  };
}

/** The calling host, which must be one of the named parties of the move. @throws forbidden */
async function requireParty(context: NameServerContext, moveId: string, request: RequestContext, ...parties: ('from' | 'to')[]): Promise<string> {
  const host = callingHost(request);
  const move = await findMove(context.repository, moveId);
  if (parties.some((party) => move[party] === host)) return host;
  throw new SupercargoError(
    'forbidden',
    `Only the ${parties.map((party) => (party === 'from' ? 'source' : 'destination')).join(' or ')} of move ${moveId} may do this.`,
  );
}

/** One compare-and-swap over a move and its volume. */
async function changeMove(
  { repository }: NameServerContext,
  moveId: string,
  decide: (change: MoveChange) => MoveChange,
  onChange?: (transaction: Transaction, change: MoveChange) => void,
): Promise<MoveChange> {
  return repository.transact(async (transaction) => {
    const move = await findMove(transaction, moveId);
    const volume = await transaction.get(keys.volume(move.volume), volumeRecord);
    if (volume === undefined) throw new SupercargoError('not-found', `Volume "${move.volumeName}" is gone.`);
    const change = decide({ volume, move });
    if (change.volume !== volume) transaction.put(keys.volume(volume.id), change.volume);
    if (change.move !== move) {
      transaction.put(keys.move(change.move.id), change.move);
      onChange?.(transaction, change);
    }
    return change;
  });
}

export async function endMove(context: NameServerContext, moveId: string, error: NonNullable<Move['error']>, actor: string): Promise<Move> {
  const { move } = await changeMove(
    context,
    moveId,
    ({ volume, move }) => abort(volume, move, error, context.repository.now()),
    (transaction, { volume }) =>
      transaction.record('move.aborted', volume.name, actor, `The move of volume "${volume.name}" ended: ${error.message}`),
  );
  return move;
}

/** What a denied host has begun cannot come to a good end: the other side is to know why. */
export async function endMovesOfDenied(context: NameServerContext, host: string): Promise<void> {
  const error = { code: 'forbidden', message: `Host "${await hostName(context.repository, host)}" is denied.`, hint: null };
  for (const move of await context.repository.list(keys.moves, moveRecord)) {
    if (!isOver(move) && (move.from === host || move.to === host)) await endMove(context, move.id, error, 'name server');
  }
}
