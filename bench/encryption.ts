/** Reading and writing in a container: an encrypted volume against a plain one. */
import type { Figure } from './figure.ts';
import { compareContainers, startContainer } from './io.ts';
import { BenchLab } from './lab.ts';
import type { BenchOptions } from './lab.ts';

export async function measureEncryption({ runs = 7, small, say }: BenchOptions): Promise<Figure[]> {
  await using lab = await BenchLab.start(small ? '512M' : '4G');
  const { cluster, source } = lab;
  await cluster.run(source, 'class', 'set', 'sealed', '--encryption', 'luks', '--size', small ? '64M' : '1G');
  await cluster.createVolume(source, 'sealed', 'class=sealed');
  await cluster.createVolume(source, 'plain');
  for (const [container, volume] of [
    ['ours', 'sealed'],
    ['rival', 'plain'],
  ] as const) {
    await startContainer(source, container, ['--volume-driver', 'supercargo', '-v', `${volume}:/data`]);
  }
  return await compareContainers(source, { bench: 'encryption', rivalName: 'a volume of the plain class', target: null }, { runs, small, say });
}
