/** Reading and writing in a container: a Supercargo volume against the same btrfs subvolume mounted by hand. */
import type { Host } from '../testbed/lab.ts';
import { TEST_IMAGE } from '../testbed/lab.ts';
import { figure } from './figure.ts';
import type { Figure, Measure, Samples } from './figure.ts';
import { BenchLab, inTurn } from './lab.ts';
import type { BenchOptions } from './lab.ts';

const volume = 'io';
const handMount = '/mnt/by-hand';

interface Work {
  measure: string;
  /** For fio. */
  parameters: string[];
  /** What of fio's report counts. */
  value: (report: FioJob) => number;
  unit: string;
}

interface FioJob {
  read: { bw_bytes: number };
  write: { bw_bytes: number; iops: number };
}

function works(small: boolean): Work[] {
  const size = small ? '8m' : '192m';
  const seconds = small ? '0.2' : '1';
  const megabytes = (bytes: number): number => bytes / 1e6;
  return [
    {
      measure: 'sequential write',
      // A new file in each run, flushed at its end: what the disk took, not what the memory took.
      parameters: ['--rw=write', '--bs=1m', `--size=${size}`, '--end_fsync=1', '--unlink=1', '--filename=/data/written'],
      value: ({ write }) => megabytes(write.bw_bytes),
      unit: 'MB/s',
    },
    {
      measure: 'sequential read',
      parameters: ['--rw=read', '--bs=1m', `--size=${size}`, '--direct=1', '--filename=/data/read'],
      value: ({ read }) => megabytes(read.bw_bytes),
      unit: 'MB/s',
    },
    {
      measure: 'random 4 KiB write with fsync',
      parameters: ['--rw=randwrite', '--bs=4k', '--size=16m', '--fsync=1', '--time_based', `--runtime=${seconds}`, '--filename=/data/random'],
      value: ({ write }) => write.iops,
      unit: 'operations/s',
    },
  ];
}

export async function measureIo({ runs = 15, small, say }: BenchOptions): Promise<Figure[]> {
  await using lab = await BenchLab.start(small ? '512M' : '4G');
  const host = lab.source;
  await lab.plugin(host).create(volume);
  await startContainer(host, 'ours', ['--volume-driver', 'supercargo', '-v', `${volume}:/data`]);
  await mountByHand(lab);
  await startContainer(host, 'rival', ['-v', `${handMount}:/data`]);
  return await compareContainers(
    host,
    { bench: 'io', rivalName: 'the same subvolume mounted by hand', target: { ratio: 0.98 } },
    { runs, small, say },
  );
}

/** All works in the containers `ours` and `rival` of a host, in turn. */
export async function compareContainers(
  host: Host,
  compared: Pick<Measure, 'bench' | 'rivalName' | 'target'>,
  { runs, small, say }: Pick<BenchOptions, 'small' | 'say'> & { runs: number },
): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const work of works(small)) {
    const samples: Samples = { ours: [], rival: [] };
    // The first run of each is not counted: it makes the files.
    for (let run = -1; run < runs; run += 1) {
      const take = (container: string, values: number[]) => async (): Promise<void> => {
        const value = await fio(host, container, work);
        if (run >= 0) values.push(value);
      };
      await inTurn(run + 1, take('ours', samples.ours), take('rival', samples.rival));
    }
    figures.push(figure({ ...compared, measure: work.measure, unit: work.unit, better: 'higher' }, samples));
    say(`${compared.bench}: ${work.measure}, ratio ${figures.at(-1)?.ratio}`);
  }
  return figures;
}

/** fio comes from the host's own folders, the same for both. */
export async function startContainer(host: Host, name: string, volumeParameters: string[]): Promise<void> {
  const programs = ['/usr', '/lib', '/lib64'].flatMap((folder) => ['-v', `${folder}:${folder}:ro`]);
  await host.docker('run', '-d', '--name', name, '--network', 'none', ...programs, ...volumeParameters, TEST_IMAGE, 'sleep', '1000000');
}

async function mountByHand(lab: BenchLab): Promise<void> {
  const { source } = lab;
  const { stdout } = await source.run(['findmnt', '--noheadings', '--output', 'SOURCE', '--mountpoint', lab.inPool()]);
  const subvolume = `volumes/${await lab.volumeId(volume)}/live`;
  await source.run(['mkdir', '-p', handMount]);
  await source.run(['mount', '-t', 'btrfs', '-o', `noatime,nodiscard,subvol=${subvolume}`, stdout.trim(), handMount]);
}

async function fio(host: Host, container: string, { parameters, value }: Work): Promise<number> {
  const options = ['--name=bench', '--ioengine=psync', '--fallocate=none', '--output-format=json', ...parameters];
  const { stdout } = await host.docker('exec', container, '/usr/bin/fio', ...options);
  const report = JSON.parse(stdout.slice(stdout.indexOf('{'))) as { jobs: [FioJob] };
  return value(report.jobs[0]);
}
