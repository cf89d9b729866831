/** Loop devices whose backing file lies on a host's disk. */
import { statSync } from 'node:fs';
import { run, waitUntil } from './process.ts';

interface LoopDevice {
  readonly name: string;
  readonly 'back-ino': number;
  /** null if what is behind it cannot be reached any more. */
  readonly 'back-maj:min': string | null;
}

async function devices(): Promise<LoopDevice[]> {
  const columns = 'NAME,BACK-INO,BACK-MAJ:MIN';
  const { stdout } = await run(['losetup', '--list', '--json', '--output', columns]);
  return stdout.trim() === '' ? [] : (JSON.parse(stdout) as { loopdevices: LoopDevice[] }).loopdevices;
}

function deviceNumber(folder: string): string {
  const { dev } = statSync(folder);
  // The encoding of makedev(3): 12 bits of major, 20 bits of minor in two parts.
  return `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`;
}

/**
 * The loop devices backed by a file below `folder`. They are told by inode and not by path, because the kernel shows
 * the path inside the mount namespace that attached them.
 */
async function backedBy(folder: string): Promise<string[]> {
  const here = deviceNumber(folder);
  const candidates = (await devices()).filter((loop) => loop['back-maj:min']?.trim() === here);
  if (candidates.length === 0) return [];
  const tests = candidates.flatMap((loop) => ['-o', '-inum', String(loop['back-ino'])]).slice(1);
  const { stdout } = await run(['find', folder, '-xdev', '-type', 'f', '(', ...tests, ')', '-printf', '%i\n']);
  const inodes = new Set(stdout.trim().split('\n'));
  return candidates.filter((loop) => inodes.has(String(loop['back-ino']))).map((loop) => loop.name);
}

/** Attaches `image` and returns the device, for example /dev/loop3. */
export async function attach(image: string): Promise<string> {
  return (await run(['losetup', '--find', '--show', image])).stdout.trim();
}

/** Detaches all devices backed by files below `folder`; returns when the kernel has let go of them. */
export async function detachAll(folder: string): Promise<void> {
  await waitUntil(`the loop devices of ${folder} to go`, async () => {
    const names = await backedBy(folder);
    // A device still mounted in a dying namespace detaches itself when the mount goes.
    for (const name of names) await run(['losetup', '--detach', name], { allowFailure: true });
    return names.length === 0;
  });
}
