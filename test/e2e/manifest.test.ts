import { afterAll, beforeAll, expect, it } from 'vitest';
import { Lab } from '../../testbed/lab.ts';
import type { Host } from '../../testbed/lab.ts';
import { fillWithMenagerie, manifest } from './support/manifest.ts';

const pool = '/mnt';
const original = `${pool}/original`;
const copy = `${pool}/copy`;
/** Older than any change, newer than the menagerie. */
const stamp = `${pool}/stamp`;

let lab: Lab;
let host: Host;
let expected: string;

beforeAll(async () => {
  lab = await Lab.up({ hosts: 1, docker: false, disks: '1G' });
  host = lab.host('h1');
  const disk = await host.disk();
  await host.run(['mkfs.btrfs', '--quiet', disk]);
  await host.run(['mount', disk, pool]);
  await host.run(['btrfs', 'subvolume', 'create', original]);
  await fillWithMenagerie(host, original);
  expected = await manifest(host, original);
  await host.run(['touch', stamp]);
});

afterAll(() => lab?.[Symbol.asyncDispose]());

const putTimesBack = `find . -newer ${stamp} -exec touch --no-dereference --reference "${original}/{}" '{}' ';'`;

/** The manifest of a copy of the menagerie in which a script has changed something. */
async function manifestAfter(...script: string[]): Promise<string> {
  await host.run(['btrfs', 'subvolume', 'snapshot', original, copy]);
  try {
    await host.run(['bash', '-c', ['set -eu', `cd ${copy}`, ...script].join('\n')]);
    return await manifest(host, copy);
  } finally {
    await host.run(['btrfs', 'subvolume', 'delete', copy]);
  }
}

it('is the same for a faithful copy', async () => {
  expect(await manifestAfter(putTimesBack)).toBe(expected);
});

it.each([
  ['a byte', 'printf x | dd of=bytes bs=1 seek=1000000 conv=notrunc status=none'],
  ['a missing byte', 'truncate -s -1 bytes'],
  ['a missing file', 'rm folder/deep/300'],
  ['a missing folder', 'rmdir folder/xxx*'],
  ['an owner', 'chown 1001 owned'],
  ['a group', 'chgrp 2001 owned'],
  ['the owner of a symbolic link', 'chown -h 1235 dangling-link'],
  ['a mode', 'chmod 0004 secret'],
  ['the mode of a folder', 'chmod o-t sticky'],
  ['the mode of the root', 'chmod g-s .'],
  ['an extended attribute', 'setfattr -n user.binary -v 0x00ff007f81 attributes'],
  ['a missing extended attribute', 'setfattr -x user.comment attributes'],
  ['a missing attribute of a folder', 'setfattr -x trusted.supercargo folder'],
  ['a missing capability', 'setfattr -x security.capability capable'],
  ['an access control list', 'setfacl -m u:4242:rw- listed'],
  ['a default access control list', 'setfacl -d -m g:2000:rwx folder'],
  ['a hard link that became a copy', 'cp -p --remove-destination folder/deep/hard-link hard-link'],
  ['hard links that changed partners', 'ln -f other-twin twin-link && ln -f twin other-twin-link'],
  ['the target of a symbolic link', 'ln -sfn folder/other symbolic-link'],
  ['a symbolic link that became a file', 'rm symbolic-link && cp -p folder/original symbolic-link'],
  ['a hole that was filled', 'dd if=/dev/zero of=sparse bs=1M seek=1 count=1 conv=notrunc status=none'],
  ['the mode of a pipe', 'chmod 641 fifo'],
  ['the number of a device', 'rm null-device && mknod -m 660 null-device c 1 5'],
])('tells %s', async (_, change) => {
  expect(await manifestAfter(change, putTimesBack)).not.toBe(expected);
});

it.each(['owned', 'symbolic-link', 'fifo', 'sticky', '.'])('tells a nanosecond in the time of %s', async (name) => {
  const later = `touch --no-dereference --date "$(stat --format %y ${name}) + 0.000000001 seconds" ${name}`;
  expect(await manifestAfter(later)).not.toBe(expected);
});
