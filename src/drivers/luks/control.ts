import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { SupercargoError, isSupercargoError } from '../../model/errors.ts';
import type { Clock } from '../../ports/clock.ts';

/** A command may wait for the disk; this long. Milliseconds. */
const answerMilliseconds = 30_000;
const jobPollMilliseconds = 5;

/**
 * QEMU measures what a round of key derivation costs by the processor time of a thread, which the system counts in ticks: on a machine that is fast enough it
 * now and then counts none, and the job fails with these words before anything is written (versions from October 2024 until the mend of January 2025, and the
 * stable ones that took the first change over; 7.2 of Debian 12 too). The next attempt falls otherwise on the ticks.
 */
const unmeasured = 'Unable to get accurate CPU usage';
const measureAttempts = 50;

interface Message {
  QMP?: unknown;
  event?: string;
  return?: unknown;
  error?: { desc: string };
}

interface Job {
  id: string;
  status: string;
  error?: string;
}

/**
 * The control socket of a storage daemon (QEMU machine protocol): one JSON object a line. The daemon serves one connection at a time, so what two processes
 * want of it happens one after the other. No error carries what was sent: keys travel here.
 */
export class Control {
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #waiting: { resolve: (value: unknown) => void; reject: (error: Error) => void }[] = [];
  #text = '';
  #jobs = 0;

  private constructor(socket: Socket, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#read(text));
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('it has ended')));
  }

  /** Does the work over a connection of its own. @throws the system's error (ENOENT, ECONNREFUSED) if nobody serves the socket; command-failed */
  static async use<Result>(path: string, clock: Clock, work: (control: Control) => Promise<Result>): Promise<Result> {
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    const control = new Control(socket, clock);
    try {
      await control.run('qmp_capabilities');
      return await work(control);
    } finally {
      socket.destroy();
    }
  }

  /** @throws command-failed with the daemon's own words */
  async run(command: string, parameters: object = {}): Promise<unknown> {
    const late = new AbortController();
    const timeout = this.#clock.sleep(answerMilliseconds, late.signal).then(
      () => this.#fail(new Error('it does not answer')),
      () => undefined,
    );
    try {
      return await new Promise<unknown>((resolve, reject) => {
        if (this.#socket.destroyed) return reject(failure('it has ended'));
        this.#waiting.push({ resolve, reject });
        this.#socket.write(`${JSON.stringify({ execute: command, arguments: parameters })}\n`);
      });
    } finally {
      late.abort();
      await timeout;
    }
  }

  /** Runs a command that goes on as a job, to its end; again if it only failed to measure. @throws command-failed */
  async runJob(command: string, parameters: object): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.#runJobOnce(command, parameters);
        return;
      } catch (error) {
        if (attempt === measureAttempts || !isSupercargoError(error, 'command-failed') || !error.message.includes(unmeasured)) throw error;
      }
    }
  }

  async #runJobOnce(command: string, parameters: object): Promise<void> {
    this.#jobs += 1;
    const id = `job${this.#jobs}`;
    await this.run(command, { ...parameters, 'job-id': id });
    for (;;) {
      const job = ((await this.run('query-jobs')) as Job[]).find((each) => each.id === id);
      if (job === undefined || job.status === 'concluded') {
        await this.run('job-dismiss', { id });
        if (job?.error !== undefined) throw failure(job.error);
        return;
      }
      await this.#clock.sleep(jobPollMilliseconds);
    }
  }

  #read(text: string): void {
    this.#text += text;
    for (let end = this.#text.indexOf('\n'); end >= 0; end = this.#text.indexOf('\n')) {
      const message = JSON.parse(this.#text.slice(0, end)) as Message;
      this.#text = this.#text.slice(end + 1);
      if (message.QMP !== undefined || message.event !== undefined) continue;
      const caller = this.#waiting.shift();
      if (message.error === undefined) caller?.resolve(message.return);
      else caller?.reject(failure(message.error.desc));
    }
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.splice(0)) reject(failure(error.message));
  }
}

function failure(words: string): SupercargoError {
  return new SupercargoError('command-failed', `The encryption engine (qemu-storage-daemon) failed: ${words}.`);
}
