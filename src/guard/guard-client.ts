import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { SupercargoError } from '../model/errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { GuardedVolume, Guardian } from '../ports/guardian.ts';
import type { GuardState } from './guard.ts';
import { answerLine, createLineReader, protocolVersion } from './messages.ts';
import type { AnswerLine, GuardRequest } from './messages.ts';

export interface GuardClientOptions {
  socketPath: string;
  clock: Clock;
  /** A guard that is stopped must not hold its agent up. Milliseconds. */
  timeoutMilliseconds?: number;
}

/**
 * The agent's end of the guard's socket. A call that ran out of time may still reach the guard: what it holds is in the socket, and a guard that was
 * stopped reads that before it judges a deadline.
 */
export class GuardClient implements Guardian {
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #timeout: number;
  readonly #waiting = new Map<number, { resolve: (answer: AnswerLine) => void; reject: (error: Error) => void }>();
  /** What the socket has no room for, by volume: the newest replaces the older, so that it cannot grow while the guard is stopped. */
  readonly #unsent = new Map<string, { lease: GuardedVolume; until: number } | null>();
  #lastId = 0;
  /** The guard's process, and the version of its program. */
  guard: { processNumber: number; version: string } = { processNumber: 0, version: '' };
  /** Resolves when the connection has ended, by whichever side. */
  readonly closed: Promise<void>;

  private constructor(socket: Socket, { clock, timeoutMilliseconds = 1000 }: GuardClientOptions) {
    this.#socket = socket;
    this.#clock = clock;
    this.#timeout = timeoutMilliseconds;
    socket.setEncoding('utf8');
    const read = createLineReader((line) => this.#settle(line));
    socket.on('data', (chunk: string) => {
      try {
        read(chunk);
      } catch (error) {
        socket.destroy(error as Error);
      }
    });
    socket.on('drain', () => this.#sendUnsent());
    socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        for (const { reject } of this.#waiting.values()) reject(gone());
        this.#waiting.clear();
        resolve();
      });
    });
  }

  /**
   * @throws not-found if no guard runs; deadline-exceeded if it does not answer; wrong-state if it speaks another version's messages
   */
  static async connect(options: GuardClientOptions): Promise<GuardClient> {
    const client = new GuardClient(await openSocket(options.socketPath), options);
    try {
      const { guard } = await client.#call({ request: 'hello', processNumber: process.pid });
      if (guard === undefined || guard.protocol !== protocolVersion) {
        throw new SupercargoError('wrong-state', `The guard (process ${guard?.processNumber}) is of another version.`);
      }
      client.guard = guard;
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /** Asks whatever guard is there to forget everything and end. It holds nothing that its agent would not tell the next one. */
  static async end(options: GuardClientOptions): Promise<void> {
    const client = new GuardClient(await openSocket(options.socketPath), options);
    try {
      await client.#call({ request: 'end' });
      await client.closed;
    } finally {
      client.close();
    }
  }

  /** These volumes are held until then, in milliseconds of the monotonic clock. @throws deadline-exceeded, not-found (see connect) */
  async hold(leases: readonly GuardedVolume[], until: number): Promise<void> {
    if (!this.#socket.writableNeedDrain) {
      await this.#call({ request: 'hold', leases: leases.map((lease) => ({ lease: onlyLease(lease), until })) });
      return;
    }
    for (const lease of leases) this.#unsent.set(lease.volume, { lease: onlyLease(lease), until });
    throw notAnswering(this.guard.processNumber);
  }

  /** This host has given the volume up. @throws as hold */
  async drop(volume: string): Promise<void> {
    if (!this.#socket.writableNeedDrain) {
      await this.#call({ request: 'drop', volumes: [volume] });
      return;
    }
    this.#unsent.set(volume, null);
    throw notAnswering(this.guard.processNumber);
  }

  /** @throws as hold */
  async states(): Promise<GuardState[]> {
    if (this.#socket.writableNeedDrain) throw notAnswering(this.guard.processNumber);
    return (await this.#call({ request: 'states' })).states ?? [];
  }

  /** Changes nothing in the guard. */
  close(): void {
    this.#socket.destroy();
  }

  #sendUnsent(): void {
    const leases = [...this.#unsent.values()].filter((entry) => entry !== null);
    const volumes = [...this.#unsent].flatMap(([volume, entry]) => (entry === null ? [volume] : []));
    this.#unsent.clear();
    // Nobody waits for these any more: whoever asked was told that the guard does not answer.
    if (leases.length > 0) this.#send({ request: 'hold', leases });
    if (volumes.length > 0) this.#send({ request: 'drop', volumes });
  }

  #send(request: GuardRequest): number {
    this.#lastId += 1;
    this.#socket.write(`${JSON.stringify({ id: this.#lastId, ...request })}\n`);
    return this.#lastId;
  }

  async #call(request: GuardRequest): Promise<AnswerLine> {
    if (this.#socket.destroyed) throw gone();
    const id = this.#send(request);
    const timing = new AbortController();
    try {
      return await new Promise<AnswerLine>((resolve, reject) => {
        this.#waiting.set(id, { resolve, reject });
        this.#clock.sleep(this.#timeout, timing.signal).then(
          () => reject(notAnswering(this.guard.processNumber)),
          () => undefined,
        );
      });
    } finally {
      this.#waiting.delete(id);
      timing.abort();
    }
  }

  #settle(line: string): void {
    const answer = answerLine.parse(JSON.parse(line));
    this.#waiting.get(answer.id)?.resolve(answer);
  }
}

/** Callers may pass on more than the guard has to know. */
function onlyLease({ volume, epoch, path, mountPoint }: GuardedVolume): GuardedVolume {
  return { volume, epoch, path, mountPoint };
}

function openSocket(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(socket));
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (['ENOENT', 'ECONNREFUSED'].includes(error.code ?? '')) reject(gone());
      // No room in the queue of a guard that accepts nobody.
      else reject(error.code === 'EAGAIN' ? notAnswering(0) : error);
    });
  });
}

function gone(): SupercargoError {
  return new SupercargoError('not-found', 'No guard runs on this host.');
}

function notAnswering(processNumber: number): SupercargoError {
  return new SupercargoError('deadline-exceeded', `The guard${processNumber === 0 ? '' : ` (process ${processNumber})`} does not answer.`, {
    hint: 'The agent fences by itself meanwhile. Continue the guard if it was stopped, or kill it: another is started.',
  });
}
