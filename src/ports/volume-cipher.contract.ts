import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  existsSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  statfsSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import type { VolumeCipher, VolumeKey } from './volume-cipher.ts';

const newKey = () => randomBytes(32).toString('base64') as VolumeKey;
const marker = `marker ${randomBytes(16).toString('hex')}`;
const sizeBytes = 64 * 1024 ** 2;

/** What every encryption must do. Needs root. @param make a cipher that keeps what is open in that directory: another process on the same host */
export function describeCipherContract(name: string, make: (directory: string) => VolumeCipher): void {
  describe(`cipher ${name}`, () => {
    let scratch: string;
    let image: string;
    let volume: string;
    let key: VolumeKey;
    let cipher: VolumeCipher;

    beforeEach(async () => {
      scratch = mkdtempSync(join(tmpdir(), 'supercargo-cipher-'));
      image = join(scratch, 'image');
      volume = newIdentifier('vol');
      key = newKey();
      cipher = make(join(scratch, 'open'));
      await cipher.create(volume, image, { sizeBytes, key });
    });
    afterEach(async () => {
      await cipher.cutOff(volume);
      expect(readdirSync(join(scratch, 'open'))).toEqual([]);
      rmSync(scratch, { recursive: true });
    });

    const path = (file: string) => join(cipher.clearPath(volume), file);
    const read = (file: string) => readFileSync(path(file), 'utf8');
    function writeDurably(file: string, content: string): void {
      const descriptor = openSync(path(file), 'w');
      writeSync(descriptor, content);
      fsyncSync(descriptor);
      closeSync(descriptor);
    }

    it('keeps files over closing and opening, and shows nothing while it is closed', async () => {
      expect(readdirSync(cipher.clearPath(volume))).toEqual([]);
      writeFileSync(path('file'), marker);
      await cipher.close(volume);
      await cipher.close(volume);
      expect([await cipher.isOpen(volume), existsSync(cipher.clearPath(volume))]).toEqual([false, false]);
      expect(await cipher.open(volume, image, [newKey(), key])).toBe(key);
      expect([await cipher.isOpen(volume), read('file')]).toEqual([true, marker]);
    });

    it('is as large as it was asked to be, and its image only as large as what is in it', () => {
      const { blocks, bsize } = statfsSync(cipher.clearPath(volume));
      expect(blocks * bsize).toBeGreaterThan(sizeBytes * 0.8);
      expect(blocks * bsize).toBeLessThanOrEqual(sizeBytes);
      expect(() => writeFileSync(path('too-large'), randomBytes(sizeBytes))).toThrow(/ENOSPC/);
    });

    it('has nothing of the clear data and nothing of the key in the image, in files of its own, or in the lists of processes', async () => {
      writeDurably('file', marker);
      await cipher.close(volume);
      expect(await cipher.open(volume, image, [key])).toBe(key);
      const places = [image, ...filesBelow(join(scratch, 'open', volume), ['disk', 'clear', 'control'])];
      const texts = [...places.map((file) => readFileSync(file, 'latin1')), ...shownByProcesses('cmdline', 'environ').map(({ text }) => text)];
      expect(texts.some((text) => text.includes(volume))).toBe(true);
      for (const secret of [marker, key, Buffer.from(key, 'base64').toString('latin1')])
        expect(texts.filter((text) => text.includes(secret))).toEqual([]);
      expect(read('file')).toBe(marker);
    });

    it('opens with none but its key, and leaves nothing behind when it does not', async () => {
      await cipher.close(volume);
      await expect(cipher.open(volume, image, [newKey()])).rejects.toMatchObject({ code: 'data-missing' });
      await expect(cipher.open(volume, join(scratch, 'missing'), [key])).rejects.toMatchObject({ code: 'data-missing' });
      expect(readdirSync(join(scratch, 'open'))).toEqual([]);
    });

    it('has what fsync confirmed in every copy of the image that is made later, and after a flush all', async () => {
      writeDurably('durable', marker);
      const copies = [join(scratch, 'copy1'), join(scratch, 'copy2')] as const;
      copyFileSync(image, copies[0]);
      writeFileSync(path('flushed'), marker);
      await cipher.flush(volume);
      copyFileSync(image, copies[1]);
      for (const [copy, files] of [
        [copies[0], ['durable']],
        [copies[1], ['durable', 'flushed']],
      ] as const) {
        await cipher.cutOff(volume);
        await cipher.open(volume, copy, [key]);
        for (const file of files) expect(read(file)).toBe(marker);
      }
    });

    it('is not closed while something has a file of it open, and goes on then', async () => {
      const descriptor = openSync(path('file'), 'w');
      try {
        await expect(cipher.close(volume)).rejects.toMatchObject({ code: 'volume-in-use' });
        writeSync(descriptor, marker);
      } finally {
        closeSync(descriptor);
      }
      expect(read('file')).toBe(marker);
      await cipher.close(volume);
    });

    it('can be cut off under its users: their writes fail, and what was confirmed is there', async () => {
      writeDurably('durable', marker);
      const descriptor = openSync(path('file'), 'w');
      try {
        await cipher.cutOff(volume);
        expect(() => {
          writeSync(descriptor, marker);
          fsyncSync(descriptor);
        }).toThrow(/EIO|EROFS/);
      } finally {
        closeSync(descriptor);
      }
      await cipher.open(volume, image, [key]);
      expect(read('durable')).toBe(marker);
    });

    it('is found and closed by another process, and serves on when the one that opened it is gone', async () => {
      writeFileSync(path('file'), marker);
      const other = make(join(scratch, 'open'));
      expect(await other.isOpen(volume)).toBe(true);
      await Promise.all([other.close(volume), cipher.close(volume)]);
      expect(await cipher.isOpen(volume)).toBe(false);
      await other.open(volume, image, [key]);
      expect(read('file')).toBe(marker);
    });

    it('changes its key while it is used; copies from before keep theirs', async () => {
      const [next, before] = [newKey(), join(scratch, 'before')];
      const descriptor = openSync(path('file'), 'w');
      await cipher.flush(volume);
      copyFileSync(image, before);
      await cipher.rekey(volume, key, next);
      await cipher.rekey(volume, key, next);
      writeSync(descriptor, marker);
      closeSync(descriptor);
      await cipher.close(volume);
      await expect(cipher.open(volume, image, [key])).rejects.toMatchObject({ code: 'data-missing' });
      expect(await cipher.open(volume, image, [next, key])).toBe(next);
      expect(read('file')).toBe(marker);
      await cipher.close(volume);
      expect(await cipher.open(volume, before, [next, key])).toBe(key);
    });

    it('clears away what an engine left that was killed', async () => {
      writeDurably('durable', marker);
      killHolders(join(scratch, 'open', volume));
      await expect.poll(() => cipher.isOpen(volume)).toBe(false);
      await cipher.open(volume, image, [key]);
      expect(read('durable')).toBe(marker);
      const reader = spawn('sleep', ['infinity'], { cwd: cipher.clearPath(volume) });
      killHolders(join(scratch, 'open', volume));
      await expect.poll(() => cipher.isOpen(volume)).toBe(false);
      await expect(cipher.open(volume, image, [key])).rejects.toMatchObject({ code: 'volume-in-use' });
      reader.kill();
      await new Promise((resolve) => reader.once('exit', resolve));
      await cipher.open(volume, image, [key]);
    });
  });
}

function filesBelow(directory: string, except: readonly string[]): string[] {
  return readdirSync(directory)
    .filter((name) => !except.includes(name))
    .map((name) => join(directory, name));
}

/** What processes show of themselves to others. */
function shownByProcesses(...files: readonly string[]): { number: number; text: string }[] {
  const numbers = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return numbers.flatMap((number) =>
    files.flatMap((file) => {
      try {
        return [{ number: Number(number), text: readFileSync(`/proc/${number}/${file}`, 'latin1') }];
      } catch {
        // It has ended since it was listed.
        return [];
      }
    }),
  );
}

/** Kills every process that was started with a path in that directory. */
function killHolders(directory: string): void {
  for (const { number, text } of shownByProcesses('cmdline')) if (text.includes(directory)) process.kill(number, 'SIGKILL');
}
