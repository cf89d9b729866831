import type { Completed, Host } from '../../../testbed/lab.ts';
import type { Cluster } from './cluster.ts';

const checkAndCount = `
[ -e /data/records ] && last=$(tail -n 1 /data/records)
i=\${last:-0}
[ $i -eq 0 ] || seq 1 $i | cmp - /data/records || exit 9
echo $i`;

const appendOne = 'i=$((i+1)); echo $i >> /data/records && sync /data/records && echo $i || exit 8';

/** For a shell with the volume at /data: checks all records, says how many it found, and appends more until it is ended. */
export const writerScript = `${checkAndCount}\nwhile :; do ${appendOne}; usleep 5000; done`;

/**
 * Numbered records in a volume, each acknowledged only after its fsync returned. Every reader checks that the file is 1, 2, 3, … without a gap,
 * and that nothing that was ever acknowledged is missing.
 */
export class Records {
  readonly volume: string;
  acknowledged = 0;
  readonly #cluster: Cluster;

  constructor(cluster: Cluster, volume: string) {
    this.#cluster = cluster;
    this.volume = volume;
  }

  /** Runs a container on the host that checks all records and appends some. @throws CommandError if the container does not start or finds a gap */
  async append(host: Host, count = 3): Promise<void> {
    this.note(await this.tryAppend(host, count), true);
  }

  /** As `append`, but hands the result back instead of judging it: see `note`. */
  tryAppend(host: Host, count = 3): Promise<Completed> {
    const script = `${checkAndCount}\nend=$((i+${count})); while [ $i -lt $end ]; do ${appendOne}; done`;
    return this.#cluster.inContainer(host, this.volume, script, true);
  }

  /** Takes over what a container acknowledged. @throws if it missed what was acknowledged before, or failed although it must not */
  note({ stdout, stderr, exitCode }: Completed, mustSucceed = false): void {
    if (mustSucceed && exitCode !== 0) throw new Error(`The container ended with ${exitCode}: ${stderr}`);
    if (exitCode === 9 || exitCode === 8) throw new Error(`Volume "${this.volume}" is damaged: ${stderr}${stdout.slice(-200)}`);
    const numbers = stdout.trim().split('\n').filter(Boolean).map(Number);
    const [found] = numbers;
    if (found === undefined) return;
    if (found < this.acknowledged) throw new Error(`Volume "${this.volume}" has ${found} records of ${this.acknowledged} that were acknowledged.`);
    this.acknowledged = numbers.at(-1) ?? found;
  }

  /** Starts a container that checks all records and appends more until it is ended. */
  async startWriter(host: Host, container: string): Promise<void> {
    await this.#cluster.startContainer(host, container, this.volume, writerScript);
  }

  /** Ends and removes the writer, which may have died with its host; what it acknowledged counts. */
  async stopWriter(host: Host, container: string): Promise<void> {
    await host.docker('stop', '--time', '0', container);
    this.note(await host.docker('logs', container));
    await host.docker('rm', '-f', container);
  }
}
