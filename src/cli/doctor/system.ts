import { access, readFile } from 'node:fs/promises';
import type { CliDependencies } from '../dependencies.ts';
import { ok, problem } from './finding.ts';
import type { Finding } from './finding.ts';

type Execute = CliDependencies['execute'];

export function examineRights(effectiveUser: number): Finding {
  return effectiveUser === 0 ? ok('You are root.') : problem('You are not root, so most of this cannot be seen.', 'Run: sudo supercargo doctor');
}

export async function examineKernel(execute: Execute): Promise<Finding> {
  const fileSystems = await readFile('/proc/filesystems', 'utf8').catch(() => '');
  if (/\bbtrfs$/m.test(fileSystems)) return ok('The kernel has btrfs.');
  try {
    await execute('modprobe', ['--dry-run', 'btrfs']);
    return ok('The kernel can load btrfs.');
  } catch {
    return problem('The kernel has no btrfs.', 'Install a kernel with btrfs; on cloud images often the package linux-modules-extra.');
  }
}

export async function examineTools(execute: Execute): Promise<Finding> {
  try {
    const version = await execute('btrfs', ['--version']);
    return ok(`The tools are there: ${version.split('\n')[0] ?? ''}.`);
  } catch {
    return problem('The program btrfs is missing.', 'Install it: apt-get install btrfs-progs');
  }
}

/** What encrypted volumes need; a host that is to have none of them is well without. */
export async function examineEncryption(execute: Execute): Promise<Finding> {
  try {
    const version = await execute('qemu-storage-daemon', ['--version']);
    await execute('mkfs.ext4', ['-V']);
    await access('/dev/fuse');
    return ok(`Encrypted volumes can be opened: ${version.split('\n')[0] ?? ''}.`);
  } catch {
    return ok('Encrypted volumes cannot be opened here; they need /dev/fuse, and: apt-get install qemu-system-common e2fsprogs.');
  }
}
