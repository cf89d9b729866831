/** A volume's content for the measurements: many small files and a few large ones, like a database beside its documents. Nothing in it compresses. */
import { randomBytes } from 'node:crypto';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';

export interface DataShape {
  /** All files, the large ones included. */
  files: number;
  smallBytes: { least: number; most: number };
  largeFiles: number;
  /** Of each large file. */
  largeBytes: number;
}

const kibibyte = 1024;
const mebibyte = 1024 ** 2;
const filesInFolder = 100;
const pageBytes = 8 * kibibyte;

/** 1.7 GB in 20,000 files, one of them as large as a segment of a PostgreSQL table. */
export const warmData: DataShape = {
  files: 20_000,
  smallBytes: { least: kibibyte, most: 64 * kibibyte },
  largeFiles: 1,
  largeBytes: 1024 * mebibyte,
};
/** 1 GB in 12,000 files. */
export const coldData: DataShape = { files: 12_000, smallBytes: { least: kibibyte, most: 70 * kibibyte }, largeFiles: 2, largeBytes: 270 * mebibyte };
/** To see quickly that the benchmark works. */
export const smallData: DataShape = { files: 200, smallBytes: { least: kibibyte, most: 4 * kibibyte }, largeFiles: 1, largeBytes: 8 * mebibyte };

const noise = randomBytes(16 * mebibyte);

function bytesAt(seed: number, length: number): Buffer {
  const start = (seed * 7_919 * 512) % (noise.length - length);
  return noise.subarray(start, start + length);
}

function smallPath(directory: string, index: number): string {
  return join(directory, `folder-${Math.floor(index / filesInFolder)}`, `file-${index}`);
}

function largePath(directory: string, index: number): string {
  return join(directory, `large-${index}`);
}

function smallSize({ smallBytes: { least, most } }: DataShape, index: number): number {
  return least + ((index * 977) % (most - least + 1));
}

/** @returns bytes written */
export async function writeDataSet(directory: string, shape: DataShape): Promise<number> {
  let bytes = 0;
  const small = shape.files - shape.largeFiles;
  for (let index = 0; index < small; index += 1) {
    if (index % filesInFolder === 0) await mkdir(join(directory, `folder-${index / filesInFolder}`), { recursive: true });
    const content = bytesAt(index, smallSize(shape, index));
    await writeSynced(smallPath(directory, index), 'w', [{ position: 0, content }], false);
    bytes += content.length;
  }
  for (let index = 0; index < shape.largeFiles; index += 1) {
    const writes = Array.from({ length: shape.largeBytes / mebibyte }, (_, part) => ({
      position: part * mebibyte,
      content: bytesAt(index * 1000 + part, mebibyte),
    }));
    await writeSynced(largePath(directory, index), 'w', writes, false);
    bytes += shape.largeBytes;
  }
  return bytes;
}

export interface Change {
  /** Bytes rewritten in the first large file, in pages scattered over it, as a database does. */
  scatteredBytes: number;
  /** Small files written anew. */
  files: number;
}

/** 4 MB and 10 small files. */
export const warmChange: Change = { scatteredBytes: 4 * mebibyte, files: 10 };

/**
 * Changes the data and flushes each changed file to the disk, as an application does that has acknowledged the changes. The same round
 * changes the same places in any copy of the data.
 * @returns a file that differs from the round before
 */
export async function changeDataSet(directory: string, shape: DataShape, change: Change, round: number): Promise<string> {
  const pages = shape.largeBytes / pageBytes;
  const stride = Math.floor(pages / (change.scatteredBytes / pageBytes));
  const writes = Array.from({ length: change.scatteredBytes / pageBytes }, (_, index) => ({
    position: ((index * stride + round) % pages) * pageBytes,
    content: bytesAt(round * 10_000 + index, pageBytes),
  }));
  await writeSynced(largePath(directory, 0), 'r+', writes, true);
  const small = shape.files - shape.largeFiles;
  let path = '';
  for (let index = 0; index < change.files; index += 1) {
    const which = (index * Math.floor(small / change.files) + round) % small;
    path = smallPath(directory, which);
    await writeSynced(path, 'w', [{ position: 0, content: bytesAt(which + round * 31, smallSize(shape, which)) }], true);
  }
  return path;
}

async function writeSynced(path: string, flags: string, writes: readonly { position: number; content: Buffer }[], sync: boolean): Promise<void> {
  const file = await open(path, flags);
  try {
    for (const { position, content } of writes) await file.write(content, 0, content.length, position);
    if (sync) await file.sync();
  } finally {
    await file.close();
  }
}
