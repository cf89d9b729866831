/** A tiny container image for tests, made without a registry. */
import { existsSync } from 'node:fs';
import { chmod, copyFile, link, mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './process.ts';
import type { Host } from './host.ts';
import type { Rack } from './rack.ts';

/** A shell, busybox's applets, and files under /seeded for tests of Docker's copy-up. */
export const TEST_IMAGE = 'supercargo-test:1';

const BUSYBOX = '/usr/bin/busybox';

/** Builds the image's file system as a tarball, once per rack, and returns its path. */
export async function testImageTarball(rack: Rack): Promise<string> {
  const tarball = rack.path('test-image.tar');
  if (existsSync(tarball)) return tarball;
  const root = rack.path(`test-image-${process.pid}`);
  try {
    await fillRoot(root);
    await run(['tar', '--create', '--file', `${root}.tar`, '--numeric-owner', '--directory', root, '.']);
    await rename(`${root}.tar`, tarball);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
  return tarball;
}

async function fillRoot(root: string): Promise<void> {
  for (const folder of ['bin', 'etc', 'proc', 'sys', 'dev', 'root', 'data', 'seeded/folder']) {
    await mkdir(join(root, folder), { recursive: true });
  }
  await mkdir(join(root, 'tmp'));
  await chmod(join(root, 'tmp'), 0o1777);
  await copyFile(BUSYBOX, join(root, 'bin/busybox'));
  await chmod(join(root, 'bin/busybox'), 0o755);
  const { stdout } = await run([BUSYBOX, '--list']);
  for (const applet of stdout.trim().split('\n')) {
    if (applet !== 'busybox') await symlink('busybox', join(root, 'bin', applet));
  }
  await writeFile(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/:/bin/sh\n');
  await writeFile(join(root, 'etc/group'), 'root:x:0:\nuser:x:1000:\n');
  await writeFile(join(root, 'seeded/greeting'), 'seeded by the image\n');
  await writeFile(join(root, 'seeded/folder/script'), '#!/bin/sh\necho seeded\n', { mode: 0o750 });
  await link(join(root, 'seeded/greeting'), join(root, 'seeded/folder/hard-link'));
  await symlink('../greeting', join(root, 'seeded/folder/symbolic-link'));
}

/** Gives the host's engine the image `TEST_IMAGE`. */
export async function importTestImage(host: Host, tarball: string): Promise<void> {
  await host.docker('import', '--change', 'CMD ["/bin/sh"]', '--change', 'ENV PATH=/bin', tarball, TEST_IMAGE);
}
