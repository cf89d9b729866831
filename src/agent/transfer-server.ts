import type { Readable, Writable } from 'node:stream';
import { SupercargoError } from '../model/errors.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { currentHost } from '../model/holder.ts';
import { isOver } from '../model/placement.ts';
import type { Move, Volume } from '../model/records.ts';
import { inHistoryOrder } from '../model/snapshots.ts';
import { chooseBase } from '../planner/transfer-plan.ts';
import type { PeerRoutes } from '../protocol/peer-routes.ts';
import { digestTrailer, lengthTrailer } from '../protocol/peer-routes.ts';
import type { Handlers, RequestContext } from '../protocol/server.ts';
import { createStreamDigest } from '../protocol/stream-digest.ts';
import { pour } from '../protocol/streams.ts';
import type { AgentContext, TransferTicket } from './context.ts';
import { inUseError } from './release.ts';
import { TicketSessions } from './ticket-sessions.ts';
import { currentUses } from './uses.ts';
import type { VolumeActor } from './volume-actor.ts';

/** What the caller's connection proves. */
type Shown = Pick<RequestContext, 'host' | 'certificate'>;

/** Where the bytes of a snapshot are written to. Destroyed, it tells the other end that they were not all. */
export interface StreamSink extends Writable {
  /** Begins the answer: from now on, it cannot be a refusal any more. */
  flushHeaders(): void;
  addTrailers(trailers: Record<string, string>): void;
}

/**
 * The source's side of transfers. Whoever asks must hold a ticket for this very move, volume, epoch and pair of hosts, and be that
 * destination by its certificate.
 */
export class TransferServer {
  readonly #context: AgentContext;
  readonly #sessions: TicketSessions;
  readonly #actorOf: (volume: string) => VolumeActor;
  /** Snapshots made for an open move: all but the newest are of no more use once a newer one has arrived. */
  readonly #made = new Map<string, string[]>();
  /** The one stream of each move, or of each replica. */
  readonly #streams = new Map<string, StreamSink>();

  constructor(context: AgentContext, actorOf: (volume: string) => VolumeActor) {
    this.#context = context;
    this.#sessions = new TicketSessions(context);
    this.#actorOf = actorOf;
  }

  handlers(): Handlers<PeerRoutes> {
    return {
      health: async () => ({ host: this.#context.self.id }),
      prepareRound: async ({ body }, request) => {
        const ticket = await this.#admit(body.ticket, request);
        return this.#prepareRound(ticket, body.have);
      },
    };
  }

  /** Answers the raw stream of a snapshot from an offset on, with length and digest of the whole in the trailers. */
  async stream(
    request: { ticket: string; caller: Shown; snapshot: string; base: string | null; offset: number },
    response: StreamSink,
  ): Promise<void> {
    const ticket = await this.#admit(request.ticket, request.caller);
    // A ticket lives longer than what it is for.
    if (isForReplica(ticket)) this.#requireHistory(ticket, request.snapshot);
    else this.#requireOpenMove(ticket);
    const { snapshots } = await this.#context.driver.inspect(ticket.volume);
    for (const snapshot of [request.snapshot, request.base ?? request.snapshot]) {
      if (!snapshots.includes(snapshot)) throw new SupercargoError('not-found', `There is no snapshot ${snapshot} here.`);
    }
    if (!Number.isSafeInteger(request.offset) || request.offset < 0)
      throw new SupercargoError('invalid-request', 'The offset is not a number of bytes.');
    response.flushHeaders();
    const source = this.#context.driver.send(ticket.volume, request.snapshot, request.base);
    response.once('close', () => source.destroy());
    // Whoever asks again has given the stream before up, even if its connection has not noticed.
    const purpose = `${ticket.move} ${ticket.destination}`;
    this.#streams.get(purpose)?.destroy();
    this.#streams.set(purpose, response);
    try {
      await this.#pump(source, response, request);
    } catch (error) {
      // The head is out: only a broken connection says honestly that this is not all.
      response.destroy();
      if (!response.closed) this.#context.log.warn({ volume: ticket.volume, error: String(error) }, 'a transfer from here broke');
    } finally {
      source.destroy();
      if (this.#streams.get(purpose) === response) this.#streams.delete(purpose);
    }
  }

  async #pump(source: Readable, response: StreamSink, wanted: { snapshot: string; base: string | null; offset: number }): Promise<void> {
    const digest = createStreamDigest(wanted.snapshot, wanted.base);
    let length = 0;
    await pour(source, response, (chunk) => {
      digest.update(chunk);
      const skip = Math.max(0, wanted.offset - length);
      length += chunk.length;
      return skip === 0 ? chunk : chunk.subarray(skip);
    });
    if (response.destroyed) return;
    response.addTrailers({ [lengthTrailer]: String(length), [digestTrailer]: digest.finish() });
    response.end();
  }

  async #admit(text: string, { host, certificate }: Shown): Promise<TransferTicket> {
    if (host === null) throw new SupercargoError('forbidden', 'Only hosts may fetch data.');
    const ticket = await this.#context.verifyTicket(text, host);
    await this.#sessions.admit(ticket, certificate ?? '');
    return ticket;
  }

  async #prepareRound(ticket: TransferTicket, have: string[]): Promise<Awaited<ReturnType<Handlers<PeerRoutes>['prepareRound']>>> {
    const { state, driver, view } = this.#context;
    const grant = state.grant(ticket.volume);
    const final = grant?.state === 'released' && grant.move === ticket.move && grant.epoch === ticket.epoch ? grant.snapshot : null;
    const snapshot = final ?? (await this.#makeSnapshot(ticket, have));
    const { snapshots } = await driver.inspect(ticket.volume);
    const base = chooseBase(inHistoryOrder(view.volume(ticket.volume) ?? { lineage: [] }, snapshots), have, snapshot);
    // Nobody writes any more: what is left is small, and an estimate would cost more time than it tells.
    const estimatedBytes = final !== null && base !== null ? 0 : await driver.estimateDelta(ticket.volume, snapshot, base);
    return { snapshot, base, final: final !== null, estimatedBytes };
  }

  /** A snapshot of what the volume holds now, for pre-copy. In the volume's queue, so that it never falls into a release. */
  async #makeSnapshot(ticket: TransferTicket, have: string[]): Promise<string> {
    const { driver, random, state } = this.#context;
    const { volume, move } = this.#requireOpenMove(ticket);
    return this.#actorOf(ticket.volume).exclusively(async () => {
      if (state.grant(ticket.volume)?.epoch !== ticket.epoch) {
        throw new SupercargoError('host-unreachable', 'The source is not ready for this move yet.', { hint: 'It is asked again.' });
      }
      if (move.reason === 'mount') {
        const uses = await currentUses(this.#context, volume);
        if (uses.length > 0) throw inUseError(this.#context, volume, uses);
      }
      const snapshot = newIdentifier('snp', random);
      await driver.createSnapshot(ticket.volume, snapshot);
      const made = this.#made.get(ticket.move) ?? [];
      const newestArrived = made.findLastIndex((each) => have.includes(each));
      for (const surplus of made.slice(0, Math.max(0, newestArrived))) await this.#dropSurplus(ticket.volume, surplus);
      this.#forgetEndedMoves();
      this.#made.set(ticket.move, [...made.slice(Math.max(0, newestArrived)), snapshot]);
      return snapshot;
    });
  }

  /** One that is still being read from (a connection that died without a word) is left for the tidying up after the move. */
  async #dropSurplus(volume: string, snapshot: string): Promise<void> {
    try {
      await this.#context.driver.deleteSnapshot(volume, snapshot);
    } catch (error) {
      this.#context.log.debug({ volume, snapshot, error: String(error) }, 'a surplus snapshot stays for now');
    }
  }

  #forgetEndedMoves(): void {
    for (const move of this.#made.keys()) {
      const record = this.#context.view.move(move);
      if (record === null || isOver(record)) this.#made.delete(move);
    }
  }

  /** Replicas are sent what is part of the volume's history or has a name, by its holder. */
  #requireHistory(ticket: TransferTicket, snapshot: string): void {
    const { view, state } = this.#context;
    const volume = view.volume(ticket.volume);
    const grant = state.grant(ticket.volume);
    const holds = volume !== null && currentHost(volume.placement) === this.#context.self.id && grant?.state !== 'released';
    const isKnown = volume !== null && [...volume.lineage, ...volume.snapshots].some((each) => each.snapshot === snapshot);
    if (!holds || volume.epoch !== ticket.epoch || grant?.epoch !== ticket.epoch || !isKnown) {
      throw new SupercargoError('stale-epoch', 'This host does not hold the volume under the epoch of the ticket.', {
        hint: 'It is asked for again.',
      });
    }
  }

  #requireOpenMove(ticket: TransferTicket): { volume: Volume; move: Move } {
    const volume = this.#context.view.volume(ticket.volume);
    const move = this.#context.view.openMoveOf(volume);
    if (volume === null || move?.id !== ticket.move) {
      // The destination may know of the move a moment before this host does.
      throw new SupercargoError('host-unreachable', 'The source does not know of this move yet.', { hint: 'It is asked again.' });
    }
    if (volume.epoch !== ticket.epoch) throw new SupercargoError('stale-epoch', 'The ticket is for another epoch.');
    return { volume, move };
  }
}

function isForReplica(ticket: TransferTicket): boolean {
  return ticket.move === ticket.volume;
}
