import { describe, expect, it } from 'vitest';
import { isWithin, mountContaining, parseMountInfo, pathInFileSystem } from './mounts.ts';

const sample = parseMountInfo(
  String.raw`21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
35 21 0:39 / /var/lib/pool rw,noatime - btrfs /dev/loop0 rw,subvolid=5
36 21 0:39 /volumes/a/live /mnt/with\040space\134x rw shared:7 master:3 propagate_from:2 - btrfs /dev/loop0 rw
37 36 0:40 /a\012b /mnt/with\040space\134x rw - tmpfs none rw
`,
);

describe('parseMountInfo', () => {
  it('reads fields behind any number of optional ones, and unescapes paths', () => {
    expect(sample[2]).toEqual({
      id: 36,
      parentId: 21,
      device: '0:39',
      root: '/volumes/a/live',
      mountPoint: String.raw`/mnt/with space\x`,
      options: ['rw'],
      propagation: ['shared:7', 'master:3', 'propagate_from:2'],
      fileSystem: 'btrfs',
      source: '/dev/loop0',
    });
    expect(sample[1]?.propagation).toEqual([]);
    expect(sample[3]?.root).toBe('/a\nb');
  });
});

describe('mountContaining', () => {
  it.each([
    ['/var/lib/pool/volumes', 35],
    ['/var/lib/pool', 35],
    ['/var/lib/pools', 21],
    ['/', 21],
    [String.raw`/mnt/with space\x/file`, 37],
  ])('finds the deepest, topmost mount of %s', (path, id) => {
    expect(mountContaining(sample, path)?.id).toBe(id);
  });
});

describe('pathInFileSystem', () => {
  it.each([
    [0, '/etc/passwd', '/etc/passwd'],
    [0, '/', '/'],
    [1, '/var/lib/pool', '/'],
    [1, '/var/lib/pool/volumes/a/live', '/volumes/a/live'],
    [2, String.raw`/mnt/with space\x/sub`, '/volumes/a/live/sub'],
  ])('of mount %i and %s is %s', (index, path, expected) => {
    expect(pathInFileSystem(sample[index]!, path)).toBe(expected);
  });
});

describe('isWithin', () => {
  it('does not take a common beginning for a parent', () => {
    expect(isWithin('/volumes/a', '/volumes/ab')).toBe(false);
    expect(isWithin('/volumes/a', '/volumes/a/b')).toBe(true);
  });
});
