import { text } from 'node:stream/consumers';
import { isSupercargoError, SupercargoError } from '../model/errors.ts';
import type { SnapshotReceiver } from '../ports/driver.ts';
import { digestTrailer, lengthTrailer, snapshotStreamPath, ticketHeader } from '../protocol/peer-routes.ts';
import { fromProblem } from '../protocol/problem.ts';
import { createStreamDigest } from '../protocol/stream-digest.ts';
import type { StreamDigest } from '../protocol/stream-digest.ts';
import { pour } from '../protocol/streams.ts';
import type { StreamedAnswer } from '../protocol/transport.ts';
import { requirePeer } from './peer-health.ts';
import type { PullSession } from './pull-session.ts';

/** A connection that carries nothing for this long makes us ask whether its other end is alive. Milliseconds. */
const idleMilliseconds = 5000;

/** The bytes of one snapshot on their way here: remembers how far it is, so that a cut connection goes on where it ended. */
export class Download {
  offset = 0;
  readonly #session: PullSession;
  readonly #snapshot: string;
  readonly #base: string | null;
  readonly #receiver: SnapshotReceiver;
  readonly #digest: StreamDigest;

  constructor(session: PullSession, wanted: { snapshot: string; base: string | null }, receiver: SnapshotReceiver) {
    this.#session = session;
    this.#snapshot = wanted.snapshot;
    this.#base = wanted.base;
    this.#receiver = receiver;
    this.#digest = createStreamDigest(wanted.snapshot, wanted.base);
  }

  /** Receives from the present offset to the end and compares length and digest. @throws host-unreachable (go on later), stream-corrupt, pool-full */
  async goOn(): Promise<void> {
    const { context, signal, source } = this.#session;
    const ticket = await this.#session.ticket();
    const idle = new AbortController();
    // From before the request on: a source that froze may take it and never answer.
    const watch = this.#watchIdle(idle);
    let response: StreamedAnswer | undefined;
    try {
      response = await source.transport.stream({
        method: 'GET',
        path: snapshotStreamPath(this.#snapshot, this.#base, this.offset),
        headers: { [ticketHeader]: ticket },
        signal: AbortSignal.any([signal, idle.signal]),
      });
      if (response.statusCode !== 200) throw fromProblem(response.statusCode ?? 500, await text(response));
      context.crashPoint('stream-begun');
      await this.#receive(response);
    } finally {
      watch.abort();
      response?.destroy();
    }
    this.#verify(response.trailers);
  }

  async #receive(response: StreamedAnswer): Promise<void> {
    const { sink } = this.#receiver;
    const { progress, signal } = this.#session;
    try {
      await pour(response, sink, (chunk) => {
        this.#digest.update(chunk);
        this.offset += chunk.length;
        progress.add(chunk.length);
        return chunk;
      });
    } catch (error) {
      signal.throwIfAborted();
      if (isSupercargoError(error)) throw error;
      if (!sink.destroyed && sink.errored === null)
        throw new SupercargoError('host-unreachable', `The connection broke after ${this.offset} bytes.`, { cause: error });
    }
    // A failed engine destroys its sink; what failed is told by complete().
    if (sink.destroyed || sink.errored !== null) return this.#engineFailed();
  }

  async #engineFailed(): Promise<never> {
    await this.#receiver.complete();
    throw new SupercargoError('stream-corrupt', 'The engine stopped before the end of the stream.');
  }

  #verify(trailers: StreamedAnswer['trailers']): void {
    const length = trailers[lengthTrailer];
    const digest = trailers[digestTrailer];
    if (length === undefined || digest === undefined)
      throw new SupercargoError('host-unreachable', `The source ended the stream early, after ${this.offset} bytes.`);
    if (Number(length) !== this.offset || digest !== this.#digest.finish()) {
      throw new SupercargoError('stream-corrupt', `Snapshot ${this.#snapshot} of volume "${this.#session.move.volumeName}" arrived corrupt.`, {
        hint: 'It is pulled again by itself; if it keeps failing, check the network and memory of both hosts.',
      });
    }
  }

  /** A dead network shows by silence only; a source that is merely busy still answers its health route. */
  #watchIdle(idle: AbortController): AbortController {
    const done = new AbortController();
    const { context, move } = this.#session;
    const watch = async (): Promise<void> => {
      let before = this.offset;
      while (!done.signal.aborted) {
        await context.clock.sleep(idleMilliseconds, done.signal);
        if (this.offset === before && !this.#receiver.sink.writableNeedDrain) {
          await requirePeer(context, move.from, 'A volume is being moved from there').catch((error: unknown) => idle.abort(error));
        }
        before = this.offset;
      }
    };
    watch().catch(() => undefined);
    return done;
  }
}
