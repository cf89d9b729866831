import { createInterface } from 'node:readline';
import { SupercargoError, isSupercargoError } from '../../model/errors.ts';
import { spawnPiped } from '../../system/execute.ts';
import type { execute } from '../../system/execute.ts';

export type Execute = typeof execute;

/** The btrfs program, one method for each thing the driver asks of it. */
export class BtrfsCommands {
  readonly #execute: Execute;

  constructor(run: Execute) {
    this.#execute = run;
  }

  /** Not durable when it resolves: since Linux 6.3 the kernel does not commit the transaction that makes a subvolume. */
  async createSubvolume(path: string): Promise<void> {
    await this.#btrfs('subvolume', 'create', path);
  }

  /** Durable when it resolves, with all that was written to the source before: the kernel flushes it, then commits. */
  async snapshotSubvolume(source: string, target: string, mode: 'readonly' | 'writable'): Promise<void> {
    await this.#btrfs('subvolume', 'snapshot', ...(mode === 'readonly' ? ['-r'] : []), source, target);
  }

  /** Deletes one subvolume, durably. @throws wrong-state if users made subvolumes inside it: those are in no snapshot, so they must not go with it */
  async deleteSubvolume(path: string): Promise<void> {
    try {
      await this.#btrfs('subvolume', 'delete', '--commit-after', path);
    } catch (error) {
      if (!isSupercargoError(error) || !error.message.includes('Directory not empty')) throw error;
      throw new SupercargoError('wrong-state', `${path} has subvolumes inside, which are in no snapshot. It is kept.`, {
        hint: `btrfs subvolume list -o ${path} shows them; save what is needed and delete them.`,
        cause: error,
      });
    }
  }

  /** Paths, from the root of the pool, of the subvolumes directly inside a subvolume. */
  async subvolumesInside(path: string): Promise<string[]> {
    const lines = (await this.#btrfs('subvolume', 'list', '-o', path)).split('\n');
    return lines.flatMap((line) => /^ID \d+ gen \d+ top level \d+ path (.*)$/.exec(line)?.[1] ?? []);
  }

  /**
   * Deletes subvolumes with all subvolumes that users made inside them, and waits for the commit: without it a power loss would bring them back.
   */
  async deleteSubvolumes(pool: string, paths: readonly string[]): Promise<void> {
    if (paths.length === 0) return;
    try {
      await this.#btrfs('subvolume', 'delete', '--commit-after', ...paths);
    } catch (error) {
      if (!isSupercargoError(error) || !error.message.includes('Directory not empty')) throw error;
      for (const path of paths) await this.#deleteTree(pool, path);
    }
  }

  /** By number, not by path: names inside a volume are its users' and may hold anything. */
  async #deleteTree(pool: string, path: string): Promise<void> {
    const tree = new Map<string, string[]>();
    for (const line of (await this.#btrfs('subvolume', 'list', '-a', pool)).split('\n')) {
      const match = /^ID (\d+) gen \d+ top level (\d+) path /.exec(line);
      if (match?.[1] === undefined || match[2] === undefined) continue;
      tree.set(match[2], [...(tree.get(match[2]) ?? []), match[1]]);
    }
    const top = await this.#showField(path, 'Subvolume ID').catch(() => undefined);
    // Deleted already by the attempt that stumbled over another of the paths.
    if (top === undefined) return;
    // The entry of a nested subvolume cannot be removed from a read-only one.
    await this.setReadOnly(path, false);
    for (const subvolume of descendantsFirst(tree, top)) {
      await this.#btrfs('subvolume', 'delete', '--commit-after', '--subvolid', subvolume, pool);
    }
  }

  async setReadOnly(path: string, readOnly: boolean): Promise<void> {
    await this.#btrfs('property', 'set', '-ts', path, 'ro', String(readOnly));
  }

  /** Number of the last transaction that changed the subvolume; changes show once they are committed (at most 30 s later, or with a snapshot). */
  async generation(path: string): Promise<number> {
    return Number(await this.#showField(path, 'Generation'));
  }

  /** Writes out everything, data included. */
  async sync(pool: string): Promise<void> {
    await this.#btrfs('filesystem', 'sync', pool);
  }

  /** Limits what a subvolume refers to; null lifts the limit. Turns quotas on for the pool when the first limit is set. */
  async limit(pool: string, path: string, sizeBytes: number | null): Promise<void> {
    const setLimit = () => this.#btrfs('qgroup', 'limit', sizeBytes === null ? 'none' : String(sizeBytes), path);
    try {
      await setLimit();
    } catch (error) {
      // ENOTCONN is how the kernel says that quotas are off.
      if (!isSupercargoError(error) || !/not enabled|not connected/i.test(error.message)) throw error;
      if (sizeBytes === null) return;
      await this.#btrfs('quota', 'enable', pool);
      await this.#btrfs('quota', 'rescan', '-w', pool);
      await setLimit();
    }
  }

  /** Bytes of the extents in a subvolume that came after a generation (0: all). Reads metadata only, and only what changed. */
  async extentBytes(path: string, afterGeneration: number): Promise<number> {
    const child = spawnPiped('btrfs', ['subvolume', 'find-new', path, String(afterGeneration + 1)]);
    const lines = createInterface({ input: child.stdout });
    // An estimate that cannot be had is no reason to fail: what it is for goes on without.
    child.on('error', () => lines.close());
    child.stdin.on('error', () => undefined);
    child.stdin.end();
    child.stderr.resume();
    let bytes = 0;
    for await (const line of lines) bytes += Number(/^inode \d+ file offset \d+ len (\d+) /.exec(line)?.[1] ?? 0);
    return bytes;
  }

  async #showField(path: string, field: string): Promise<string> {
    const text = await this.#btrfs('subvolume', 'show', path);
    const value = new RegExp(`^\\s*${field}:\\s*(.*)$`, 'm').exec(text)?.[1];
    if (value === undefined) throw new SupercargoError('command-failed', `btrfs subvolume show ${path} names no "${field}".`);
    return value.trim();
  }

  async #btrfs(...parameters: string[]): Promise<string> {
    try {
      return await this.#execute('btrfs', parameters);
    } catch (error) {
      throw isNoSpace(error) ? poolFull(`The pool has no room for: btrfs ${parameters.slice(0, 2).join(' ')}.`, error) : error;
    }
  }
}

export function isNoSpace(error: unknown): boolean {
  return error instanceof Error && /No space left on device|Disk quota exceeded/.test(error.message);
}

export function poolFull(message: string, cause?: unknown): SupercargoError {
  return new SupercargoError('pool-full', message, {
    hint: 'Remove volumes, move some to another host, or give this host a larger pool.',
    ...(cause === undefined ? {} : { cause }),
  });
}

function descendantsFirst(tree: ReadonlyMap<string, string[]>, top: string): string[] {
  return [...(tree.get(top) ?? []).flatMap((child) => descendantsFirst(tree, child)), top];
}
