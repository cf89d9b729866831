import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { writeFileAtomic } from './files.ts';

const scratch = mkdtempSync(join(tmpdir(), 'supercargo-files-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe('writeFileAtomic', () => {
  it('replaces content and mode and leaves no other file', async () => {
    const path = join(scratch, 'file');
    await writeFileAtomic(path, 'old and longer', 0o644);
    await writeFileAtomic(path, 'new', 0o600);
    expect(readFileSync(path, 'utf8')).toBe('new');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(scratch)).toEqual(['file']);
  });

  it('leaves nothing behind when it fails', async () => {
    await expect(writeFileAtomic(join(scratch, 'missing', 'file'), 'x', 0o600)).rejects.toThrow(/ENOENT/);
    await writeFileAtomic(join(scratch, 'file'), 'kept', 0o600);
    await expect(writeFileAtomic(scratch, 'x', 0o600)).rejects.toThrow();
    expect(readdirSync(join(scratch, '..')).filter((name) => name.startsWith(`${scratch.split('/').pop()}.`))).toEqual([]);
  });
});
