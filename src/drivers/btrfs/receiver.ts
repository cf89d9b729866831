import { once } from 'node:events';
import { renameSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { SupercargoError } from '../../model/errors.ts';
import type { ReceiveResult, SnapshotReceiver } from '../../ports/driver.ts';
import { spawnPiped } from '../../system/execute.ts';
import { syncDirectory } from '../../system/files.ts';
import { isNoSpace, poolFull } from './commands.ts';
import type { BtrfsCommands } from './commands.ts';
import { isReadOnly, isSubvolume, namesIn, subvolumeName } from './layout.ts';
import type { PoolLayout } from './layout.ts';

/** `btrfs receive` into a staging directory that is renamed into place once everything is on disk. */
export class BtrfsReceiver implements SnapshotReceiver {
  readonly sink: Writable;
  readonly #layout: PoolLayout;
  readonly #commands: BtrfsCommands;
  readonly #volume: string;
  readonly #snapshot: string;
  readonly #staging: string;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<unknown>;
  #complaint = '';
  #bytes = 0;
  #discarding: Promise<void> | undefined;
  #completing: Promise<ReceiveResult> | undefined;

  static async start(layout: PoolLayout, commands: BtrfsCommands, volume: string, snapshot: string): Promise<BtrfsReceiver> {
    await mkdir(layout.incoming, { recursive: true });
    return new BtrfsReceiver(layout, commands, volume, snapshot, await mkdtemp(layout.staging(snapshot)));
  }

  private constructor(layout: PoolLayout, commands: BtrfsCommands, volume: string, snapshot: string, staging: string) {
    this.#layout = layout;
    this.#commands = commands;
    this.#volume = volume;
    this.#snapshot = snapshot;
    this.#staging = staging;
    this.#child = spawnPiped('btrfs', ['receive', '-q', staging]);
    this.#child.stdout.resume();
    this.#child.stderr.on('data', (chunk: Buffer) => {
      this.#complaint = (this.#complaint + chunk.toString()).slice(-2000);
    });
    // Writing to a program that gave up fails with EPIPE; what matters is what it said, and that comes with its end.
    this.#child.stdin.on('error', () => {});
    this.#ended = once(this.#child, 'close').catch((error: unknown) => {
      this.#complaint = String(error);
    });
    this.sink = this.#makeSink();
    void this.#ended.then(() => this.#endSink());
  }

  #makeSink(): Writable {
    const input = this.#child.stdin;
    const pass = (chunks: Buffer[], done: (error?: Error) => void): void => {
      // One system call for all that has arrived: TLS brings 16 KiB at a time. Corked, not copied together: copies cost garbage collections.
      input.cork();
      for (const [index, chunk] of chunks.entries()) {
        this.#bytes += chunk.length;
        const last = index === chunks.length - 1;
        // A program that is gone never answers a write; its end destroys the sink instead.
        input.write(chunk, last ? (error) => (error ? void this.#ended.then(() => done(this.#failure())) : done()) : undefined);
      }
      input.uncork();
    };
    const sink = new Writable({
      highWaterMark: 1 << 20,
      write: (chunk: Buffer, _encoding, done) => pass([chunk], done),
      writev: (chunks, done) =>
        pass(
          chunks.map(({ chunk }) => chunk as Buffer),
          done,
        ),
      final: (done) => {
        input.end();
        void this.#ended.then(() => done(this.#child.exitCode === 0 ? null : this.#failure()));
      },
    });
    sink.on('error', () => {});
    return sink;
  }

  #endSink(): void {
    if (!this.sink.writableEnded) this.sink.destroy(this.#failure());
  }

  complete(): Promise<ReceiveResult> {
    this.#completing ??= this.#publish();
    return this.#completing;
  }

  async #publish(): Promise<ReceiveResult> {
    try {
      if (this.#discarding !== undefined) throw new SupercargoError('wrong-state', `The receive of ${this.#snapshot} was discarded.`);
      this.sink.end();
      await finished(this.sink, { readable: false });
      await this.#verify();
      // The data first, then the name: a power loss in between must not leave a snapshot with holes.
      await this.#commands.sync(this.#layout.root);
      const target = this.#layout.reserveSnapshot(this.#volume, this.#snapshot);
      if (target !== undefined) {
        // Synchronous, so that of two receives of one snapshot the second sees the first.
        renameSync(this.#staging, target);
        await syncDirectory(dirname(target));
      }
    } catch (error) {
      await this.discard();
      throw error;
    }
    await this.discard();
    return { bytes: this.#bytes };
  }

  async #verify(): Promise<void> {
    const names = await namesIn(this.#staging);
    const path = join(this.#staging, subvolumeName);
    if (names.length !== 1 || !(await isSubvolume(path))) this.#complaint = `it holds ${names.join(', ') || 'nothing'}`;
    // The program makes a subvolume read-only as its very last step, when the stream's end mark was read.
    else if (await isReadOnly(path)) return;
    else this.#complaint = 'it has no end';
    throw this.#failure();
  }

  discard(): Promise<void> {
    this.#discarding ??= this.#remove();
    return this.#discarding;
  }

  async #remove(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
    this.sink.destroy();
    await removeStaging(this.#layout, this.#commands, this.#staging);
  }

  #failure(): SupercargoError {
    const words = this.#complaint.trim() || 'btrfs receive was ended';
    if (isNoSpace(new Error(words))) return poolFull(`The pool has no room for snapshot ${this.#snapshot}: ${words}`);
    return new SupercargoError('stream-corrupt', `The stream of snapshot ${this.#snapshot} could not be applied: ${words}`, {
      hint: 'Nothing of it was kept; transfer the snapshot again.',
    });
  }
}

/** Removes what an unfinished receive left. Nothing to do if it is gone. */
export async function removeStaging(layout: PoolLayout, commands: BtrfsCommands, staging: string): Promise<void> {
  for (const name of await namesIn(staging)) {
    const path = join(staging, name);
    if (await isSubvolume(path)) await commands.deleteSubvolumes(layout.root, [path]);
  }
  await rm(staging, { recursive: true, force: true });
}
