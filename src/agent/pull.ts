import { createHash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { isSupercargoError, SupercargoError } from '../model/errors.ts';
import type { Host, Move } from '../model/records.ts';
import type { SnapshotReceiver } from '../ports/driver.ts';
import type { PeerRoutes } from '../protocol/peer-routes.ts';
import type { RouteOutput } from '../protocol/route.ts';
import { digestTrailer, lengthTrailer, snapshotStreamPath, ticketHeader } from '../protocol/peer-routes.ts';
import { fromProblem } from '../protocol/problem.ts';
import { drained } from '../protocol/streams.ts';
import type { AgentContext } from './context.ts';
import { requirePeer } from './peer-health.ts';
import type { ProgressReporter } from './progress.ts';

export interface PulledRound {
  snapshot: string;
  final: boolean;
  bytes: number;
  milliseconds: number;
}

/** A connection that carries nothing for this long makes us ask whether its other end is alive. Milliseconds. */
const idleMilliseconds = 5000;
/** A source that cannot be reached for this long ends the move; it goes on being the holder. Milliseconds. */
const patienceMilliseconds = 120_000;
/** A stream whose digest is wrong is pulled again from its start this many times. */
const corruptionRetries = 2;
const reconnectMilliseconds = { first: 100, most: 3000 };

/** One round of a move: asks the source for the next snapshot and brings it here, verified and durable. */
export async function pullRound(context: AgentContext, move: Move, progress: ProgressReporter, signal: AbortSignal): Promise<PulledRound> {
  const { driver, clock, crashPoint } = context;
  const begin = clock.monotonicMilliseconds();
  const { snapshots } = await driver.inspect(move.volume);
  const round = await patiently(context, move, signal, () => prepareRound(context, move, snapshots));
  crashPoint('snapshot-prepared');
  let bytes = 0;
  if (!snapshots.includes(round.snapshot)) {
    progress.beginRound(round.estimatedBytes);
    bytes = await pullSnapshot(context, { move, snapshot: round.snapshot, base: round.base }, progress, signal);
  }
  crashPoint('snapshot-published');
  return { snapshot: round.snapshot, final: round.final, bytes, milliseconds: clock.monotonicMilliseconds() - begin };
}

interface PullTask {
  move: Move;
  snapshot: string;
  base: string | null;
}

async function pullSnapshot(context: AgentContext, task: PullTask, progress: ProgressReporter, signal: AbortSignal): Promise<number> {
  for (let attempt = 0; ; attempt += 1) {
    const receiver = await context.driver.receive(task.move.volume, task.snapshot, task.base);
    try {
      const download = new Download(context, task, receiver, progress);
      await patiently(context, task.move, signal, () => download.goOn(signal));
      context.crashPoint('stream-received');
      await receiver.complete();
      return download.offset;
    } catch (error) {
      await receiver.discard();
      if (!isSupercargoError(error, 'stream-corrupt') || attempt >= corruptionRetries) throw error;
      context.log.warn({ volume: task.move.volumeName, snapshot: task.snapshot }, 'a stream arrived corrupt; pulling it again');
      progress.restartRound();
    }
  }
}

/** The bytes of one snapshot on their way here: remembers how far it is, so that a cut connection goes on where it ended. */
class Download {
  offset = 0;
  readonly #context: AgentContext;
  readonly #task: PullTask;
  readonly #receiver: SnapshotReceiver;
  readonly #progress: ProgressReporter;
  readonly #hash: Hash = createHash('sha256');

  constructor(context: AgentContext, task: PullTask, receiver: SnapshotReceiver, progress: ProgressReporter) {
    this.#context = context;
    this.#task = task;
    this.#receiver = receiver;
    this.#progress = progress;
  }

  /** Receives from the present offset to the end and compares length and digest. @throws host-unreachable (go on later), stream-corrupt, pool-full */
  async goOn(signal: AbortSignal): Promise<void> {
    const { move, snapshot, base } = this.#task;
    const { transport } = this.#context.connectToPeer(requireHost(this.#context, move.from));
    const idle = new AbortController();
    const ticket = await newTicket(this.#context, move);
    const response = await transport.request({
      method: 'GET',
      path: snapshotStreamPath(snapshot, base, this.offset),
      headers: { [ticketHeader]: ticket, te: 'trailers' },
      signal: AbortSignal.any([signal, idle.signal]),
    });
    if (response.statusCode !== 200) throw fromProblem(response.statusCode ?? 500, await text(response));
    this.#context.crashPoint('stream-begun');
    const watch = this.#watchIdle(idle);
    try {
      await this.#receive(response, signal);
    } finally {
      watch.abort();
      response.destroy();
    }
    this.#verify(response.trailers);
  }

  async #receive(response: IncomingMessage, signal: AbortSignal): Promise<void> {
    const { sink } = this.#receiver;
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        // A failed engine destroys its sink; what failed is told by complete().
        if (sink.destroyed || sink.errored !== null) return await this.#engineFailed();
        this.#hash.update(chunk);
        this.offset += chunk.length;
        this.#progress.add(chunk.length);
        if (!sink.write(chunk)) await drained(sink);
      }
    } catch (error) {
      signal.throwIfAborted();
      if (isSupercargoError(error)) throw error;
      if (sink.destroyed || sink.errored !== null) return this.#engineFailed();
      throw new SupercargoError('host-unreachable', `The connection broke after ${this.offset} bytes.`, { cause: error });
    }
  }

  async #engineFailed(): Promise<never> {
    await this.#receiver.complete();
    throw new SupercargoError('stream-corrupt', 'The engine stopped before the end of the stream.');
  }

  #verify(trailers: IncomingMessage['trailers']): void {
    const length = trailers[lengthTrailer];
    const digest = trailers[digestTrailer];
    if (length === undefined || digest === undefined) throw new SupercargoError('host-unreachable', `The source ended the stream early, after ${this.offset} bytes.`);
    if (Number(length) !== this.offset || digest !== this.#hash.digest('hex')) {
      throw new SupercargoError('stream-corrupt', `Snapshot ${this.#task.snapshot} of volume "${this.#task.move.volumeName}" arrived corrupt.`, {
        hint: 'It is pulled again by itself; if it keeps failing, check the network and memory of both hosts.',
      });
    }
  }

  /** A dead network shows by silence only; a source that is merely busy still answers its health route. */
  #watchIdle(idle: AbortController): AbortController {
    const done = new AbortController();
    const { clock } = this.#context;
    const watch = async (): Promise<void> => {
      let before = this.offset;
      while (!done.signal.aborted) {
        await clock.sleep(idleMilliseconds, done.signal);
        if (this.offset === before && !this.#receiver.sink.writableNeedDrain) {
          await requirePeer(this.#context, this.#task.move.from, 'A volume is being moved from there').catch((error: unknown) => idle.abort(error));
        }
        before = this.offset;
      }
    };
    watch().catch(() => undefined);
    return done;
  }
}

async function prepareRound(context: AgentContext, move: Move, have: string[]): Promise<RouteOutput<PeerRoutes['prepareRound']>> {
  const { client } = context.connectToPeer(requireHost(context, move.from));
  return client.prepareRound({ body: { ticket: await newTicket(context, move), have } }, { timeoutMilliseconds: 60_000 });
}

async function newTicket({ nameServer }: AgentContext, move: Move): Promise<string> {
  return (await nameServer.createTicket({ parameters: { move: move.id } })).ticket;
}

function requireHost(context: AgentContext, id: string): Host {
  const host = context.view.host(id) ?? context.state.host(id);
  if (host === undefined) throw new SupercargoError('host-unreachable', `Host ${id} is not known.`);
  return host;
}

/** Repeats what failed only because somebody could not be reached, for as long as it is worth waiting. */
async function patiently<Result>(context: AgentContext, move: Move, signal: AbortSignal, task: () => Promise<Result>): Promise<Result> {
  const { clock, log } = context;
  const begin = clock.monotonicMilliseconds();
  for (let pause = reconnectMilliseconds.first; ; pause = Math.min(pause * 2, reconnectMilliseconds.most)) {
    try {
      return await task();
    } catch (error) {
      signal.throwIfAborted();
      const temporary = isSupercargoError(error, 'host-unreachable', 'name-server-unreachable');
      if (!temporary || clock.monotonicMilliseconds() - begin > patienceMilliseconds) throw error;
      log.warn({ volume: move.volumeName, error: String(error) }, 'a transfer was interrupted; trying again');
    }
    await clock.sleep(pause, signal);
  }
}
