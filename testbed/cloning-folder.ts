/** A folder whose file system clones files (xfs on a loop device): what a rack needs for power cuts that lose the page cache. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './process.ts';

export class CloningFolder implements AsyncDisposable {
  /** Where the file system is mounted. */
  readonly path: string;
  readonly #parent: string;

  private constructor(parent: string) {
    this.#parent = parent;
    this.path = join(parent, 'mount');
  }

  /** @param size of the file system, at least 300M, such as `2G`; takes only as much room as is used */
  static async make(size: string): Promise<CloningFolder> {
    const parent = await mkdtemp('/var/tmp/supercargo-xfs-');
    const folder = new CloningFolder(parent);
    const image = join(parent, 'image');
    await run(['truncate', '--size', size, image]);
    await run(['mkfs.xfs', '-q', image]);
    await mkdir(folder.path);
    await run(['mount', '-o', 'loop', image, folder.path]);
    return folder;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run(['umount', this.path]);
    await rm(this.#parent, { recursive: true });
  }
}
