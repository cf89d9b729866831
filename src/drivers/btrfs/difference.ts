import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { SupercargoError } from '../../model/errors.ts';
import type { PathChange } from '../../ports/driver.ts';
import { spawnPiped } from '../../system/execute.ts';

/** Reads metadata only, and of that only what has changed. @param from,to paths of read-only subvolumes */
export async function differenceOf(from: string, to: string): Promise<PathChange[]> {
  const sender = spawnPiped('btrfs', ['send', '-q', '--no-data', '-p', from, to]);
  const dumper = spawnPiped('btrfs', ['receive', '--dump']);
  let complaint = '';
  for (const child of [sender, dumper]) {
    child.stderr.on('data', (chunk: Buffer) => {
      complaint = (complaint + chunk.toString()).slice(-2000);
    });
    // What matters is how the programs end.
    child.stdin.on('error', () => undefined);
  }
  sender.stdin.end();
  sender.stdout.pipe(dumper.stdin);
  const ended = Promise.all([sender, dumper].map((child) => once(child, 'close')));
  try {
    const [changes, ends] = await Promise.all([readDifference(dumper.stdout), ended]);
    if (ends.every(([code]) => code === 0)) return changes;
  } finally {
    sender.kill();
    dumper.kill();
  }
  throw new SupercargoError('command-failed', `btrfs could not compare two snapshots: ${complaint.trim()}`);
}

/**
 * What a stream without data says of the difference between two snapshots, as `btrfs receive --dump` prints it: one operation a line, its path
 * with everything but printable characters escaped, then its parameters.
 */
export async function readDifference(dump: Readable): Promise<PathChange[]> {
  const difference = new Difference();
  for await (const line of createInterface({ input: dump, crlfDelay: Infinity })) {
    const operation = parseLine(line);
    if (operation !== null) difference.apply(operation);
  }
  return difference.changes();
}

interface Operation {
  do: string;
  path: string;
  parameters: string;
}

/** @returns null for what concerns the snapshot as a whole, or nobody */
function parseLine(line: string): Operation | null {
  const match = /^([a-z_]+)\s+((?:\\.|[^\s\\])+)\s*(.*)$/.exec(line);
  if (match?.[1] === undefined || match[2] === undefined) return null;
  const path = withinSnapshot(match[2]);
  return path === null ? null : { do: match[1], path, parameters: match[3] ?? '' };
}

/** A path from the snapshot's root on; null for the root itself. */
function withinSnapshot(escaped: string): string | null {
  const path = /^\.\/[^/]+\/(.+)$/s.exec(unescapePath(escaped))?.[1];
  return path?.replace(/\/$/, '') ?? null;
}

const escapes: Readonly<Record<string, number>> = { a: 7, b: 8, e: 27, f: 12, n: 10, r: 13, t: 9, v: 11 };

/** Names are bytes: what is no printable ASCII comes as \ooo, also each byte of a letter outside of it. */
function unescapePath(text: string): string {
  const bytes: number[] = [];
  for (const [part] of text.matchAll(/\\[0-7]{3}|\\.|[^\\]/gs)) {
    if (!part.startsWith('\\')) bytes.push(...Buffer.from(part));
    else if (part.length === 4) bytes.push(Number.parseInt(part.slice(1), 8));
    else bytes.push(...(escapes[part.charAt(1)] === undefined ? Buffer.from(part.slice(1)) : [escapes[part.charAt(1)] ?? 0]));
  }
  return Buffer.from(bytes).toString();
}

interface Entry {
  /** Where it was; null if it is new. */
  from: string | null;
  bytes: number;
  /** Something else than its times. */
  touched: boolean;
  /** Whether any of the others may lie in it. */
  mayHoldOthers: boolean;
}

const creations = ['mkfile', 'mkdir', 'mknod', 'mkfifo', 'mksock', 'symlink', 'link'];
const contents: Readonly<Record<string, RegExp>> = { update_extent: /(?:^|\s)len=(\d+)/, write: /(?:^|\s)len=(\d+)/, clone: /(?:^|\s)len=(\d+)/ };

/** The operations in their order are applied to names only: new files are made under names of their own and renamed, old ones are put aside. */
class Difference {
  /** By where they are now. */
  readonly #entries = new Map<string, Entry>();
  readonly #removed = new Set<string>();

  apply({ do: operation, path, parameters }: Operation): void {
    if (operation === 'utimes') return;
    if (creations.includes(operation)) this.#put(path, { from: null, bytes: 0, touched: true, mayHoldOthers: false });
    else if (operation === 'unlink' || operation === 'rmdir') this.#remove(path);
    else if (operation === 'rename') this.#rename(path, withinSnapshot(/(?:^|\s)dest=((?:\\.|[^\s\\])+)/.exec(parameters)?.[1] ?? ''));
    else {
      const entry = this.#entryAt(path);
      entry.touched = true;
      entry.bytes += Number(contents[operation]?.exec(parameters)?.[1] ?? 0);
    }
  }

  #entryAt(path: string): Entry {
    let entry = this.#entries.get(path);
    if (entry === undefined) {
      entry = { from: path, bytes: 0, touched: false, mayHoldOthers: true };
      this.#put(path, entry);
    }
    return entry;
  }

  #put(path: string, entry: Entry): void {
    this.#entries.set(path, entry);
    const parent = this.#entries.get(path.slice(0, Math.max(0, path.lastIndexOf('/'))));
    if (parent !== undefined) parent.mayHoldOthers = true;
  }

  #remove(path: string): void {
    const { from } = this.#entryAt(path);
    if (from !== null) this.#removed.add(from);
    this.#entries.delete(path);
  }

  #rename(path: string, to: string | null): void {
    if (to === null) return;
    const moved = this.#entryAt(path);
    const below = moved.mayHoldOthers ? [...this.#entries].filter(([each]) => each.startsWith(`${path}/`)) : [];
    for (const [each, entry] of below) {
      this.#entries.delete(each);
      this.#entries.set(to + each.slice(path.length), entry);
    }
    this.#entries.delete(path);
    this.#put(to, moved);
  }

  changes(): PathChange[] {
    const changes: PathChange[] = [];
    for (const [path, { from, bytes, touched }] of this.#entries) {
      // Written anew under its old name, as editors do, or put in the place of another one.
      const isReplaced = this.#removed.delete(path);
      if (from === null && !isReplaced) changes.push({ path, change: 'added', bytes });
      else if (from !== null && from !== path) changes.push({ path, change: 'renamed', bytes, from });
      else if (touched) changes.push({ path, change: 'changed', bytes });
    }
    for (const path of this.#removed) changes.push({ path, change: 'removed', bytes: 0 });
    return changes.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  }
}
