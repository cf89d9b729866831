import { Readable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readDifference } from './difference.ts';

const read = (...lines: string[]) => readDifference(Readable.from(lines.map((line) => `${line}\n`)));

describe('the difference of two snapshots', () => {
  it('is read from what btrfs prints', async () => {
    // As printed by btrfs-progs 6.2, shortened.
    const changes = await read(
      'snapshot        ./data                          uuid=1f36201a transid=8 parent_uuid=ad1c0b5a parent_transid=7',
      'set_xattr       ./data/a                        name=user.x data=1 len=1',
      'update_extent   ./data/a                        offset=0 len=9',
      'utimes          ./data/a                        atime=2026-11-28T04:27:08+0000 mtime=2026-11-28T04:27:08+0000',
      'chmod           ./data/b\\ c                     mode=600',
      'rename          ./data/d                        dest=./data/D\\ d',
      'update_extent   ./data/D\\ d/e/f                 offset=0 len=4',
      'unlink          ./data/gone',
      'update_extent   ./data/new\\nline                offset=0 len=3',
      'unlink          ./data/ren',
      'mkfile          ./data/o265-8-0',
      'rename          ./data/o265-8-0                 dest=./data/neu',
      'link            ./data/hard                     dest=neu',
      'update_extent   ./data/neu                      offset=0 len=6',
      'update_extent   ./data/neu                      offset=4096 len=4',
      'symlink         ./data/o266-8-0                 dest=neu',
      'rename          ./data/o266-8-0                 dest=./data/\\303\\274ber',
      'mkfile          ./data/o267-8-0',
      'rename          ./data/o267-8-0                 dest=./data/ren',
      'update_extent   ./data/ren                      offset=0 len=5',
      'utimes          ./data/                         atime=2026-11-28T04:27:08+0000 mtime=2026-11-28T04:27:10+0000',
      'utimes          ./data/untouched                atime=2026-11-28T04:27:08+0000 mtime=2026-11-28T04:27:10+0000',
    );
    expect(changes).toEqual([
      { path: 'D d', change: 'renamed', bytes: 0, from: 'd' },
      { path: 'D d/e/f', change: 'changed', bytes: 4 },
      { path: 'a', change: 'changed', bytes: 9 },
      { path: 'b c', change: 'changed', bytes: 0 },
      { path: 'gone', change: 'removed', bytes: 0 },
      { path: 'hard', change: 'added', bytes: 0 },
      { path: 'neu', change: 'added', bytes: 10 },
      { path: 'new\nline', change: 'changed', bytes: 3 },
      { path: 'ren', change: 'changed', bytes: 5 },
      { path: 'über', change: 'added', bytes: 0 },
    ]);
  });

  it('follows what is put aside, and what is below a directory that is renamed', async () => {
    const changes = await read(
      'rename ./data/a dest=./data/o257-7-0',
      'rename ./data/b dest=./data/a',
      'unlink ./data/o257-7-0',
      'mkfile ./data/dir/x',
      'rename ./data/dir dest=./data/other',
      'rmdir ./data/empty/',
    );
    expect(changes).toEqual([
      { path: 'a', change: 'renamed', bytes: 0, from: 'b' },
      { path: 'other', change: 'renamed', bytes: 0, from: 'dir' },
      { path: 'other/x', change: 'added', bytes: 0 },
      { path: 'empty', change: 'removed', bytes: 0 },
    ].toSorted((x, y) => (x.path < y.path ? -1 : 1))); // prettier-ignore
  });

  it('is read to the end, whatever is printed', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string()), async (lines) => {
        expect(await read(...lines)).toEqual(expect.any(Array));
      }),
    );
  });
});
