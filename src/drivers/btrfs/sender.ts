import { once } from 'node:events';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { Readable } from 'node:stream';
import { SupercargoError } from '../../model/errors.ts';
import { spawnPiped } from '../../system/execute.ts';

export interface SendSource {
  snapshot: string;
  base: string | null;
}

/** @param locate finds the paths of the subvolumes; its failure is the stream's */
export function sendStream(locate: () => Promise<SendSource>): Readable {
  return new SendStream(locate);
}

/**
 * The output of `btrfs send`. Ends only after the program ended well; otherwise it is destroyed with the program's own words. Destroying it ends the
 * program. Chunks are handed on as they were read, nothing is copied.
 */
class SendStream extends Readable {
  readonly #locate: () => Promise<SendSource>;
  #child: ChildProcessWithoutNullStreams | undefined;
  #ended: Promise<void> = Promise.resolve();
  #complaint = '';

  constructor(locate: () => Promise<SendSource>) {
    super({ highWaterMark: 1 << 20 });
    this.#locate = locate;
  }

  override _construct(done: (error?: Error) => void): void {
    this.#locate().then((source) => {
      this.#start(source);
      done();
    }, done);
  }

  #start({ snapshot, base }: SendSource): void {
    const child = spawnPiped('btrfs', ['send', '-q', ...(base === null ? [] : ['-p', base]), snapshot]);
    this.#child = child;
    child.stdin.end();
    child.stderr.on('data', (chunk: Buffer) => {
      this.#complaint = (this.#complaint + chunk.toString()).slice(-2000);
    });
    child.stdout.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) child.stdout.pause();
    });
    this.#ended = once(child, 'close').then(
      ([exitCode, signal]) => {
        if (exitCode === 0) this.push(null);
        else this.destroy(sendFailed(snapshot, this.#complaint.trim() || `ended with ${String(signal ?? exitCode)}`));
      },
      (error: unknown) => {
        this.destroy(sendFailed(snapshot, String(error)));
      },
    );
  }

  override _read(): void {
    this.#child?.stdout.resume();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#child?.kill('SIGKILL');
    // What is still in the pipe belongs to nobody now, and would hold up the end of the program.
    this.#child?.stdout.destroy();
    void this.#ended.then(() => done(error));
  }
}

function sendFailed(snapshot: string, words: string): SupercargoError {
  return new SupercargoError('command-failed', `btrfs send of ${snapshot} failed: ${words}`);
}
