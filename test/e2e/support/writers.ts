import type { Volume } from '../../../src/model/records.ts';
import { TEST_IMAGE } from '../../../testbed/lab.ts';
import type { Host } from '../../../testbed/lab.ts';

/** A record that a container was told is safe (its fsync returned), and when the engine heard of it. Nanoseconds since 1970, one clock for all hosts. */
export interface Acknowledgement {
  record: string;
  at: bigint;
}

/**
 * Appends "NAME NUMBER" to the records, syncs, and says so, again and again; first says what it found. The engine's log lies outside the volume: it keeps
 * what was acknowledged, whatever becomes of the data.
 */
function script(name: string): string {
  return `echo found $(wc -l < /data/records 2>/dev/null || echo 0); n=0
while :; do n=$((n+1)); echo "${name} $n" >> /data/records && sync /data/records && echo "${name} $n" || exit 8; usleep 2000; done`;
}

/** A container that writes numbered records to a volume until it is ended, and that is not taken away when it ends. */
export class Writer {
  readonly host: Host;
  readonly name: string;
  readonly #volume: string;

  constructor(host: Host, name: string, volume: string) {
    this.host = host;
    this.name = name;
    this.#volume = volume;
  }

  /** Resolves when the container runs, which waits for the volume. @throws CommandError if the engine refuses */
  async start(...options: string[]): Promise<void> {
    await this.host.engine.command(
      [
        'run',
        '-d',
        '--name',
        this.name,
        '--network',
        'none',
        ...options,
        '--volume-driver',
        'supercargo',
        '-v',
        `${this.#volume}:/data`,
        TEST_IMAGE,
      ].concat(['sh', '-c', script(this.name)]),
      { timeoutMilliseconds: 200_000 },
    );
  }

  /** How many records it found when it began, and what was acknowledged to it since, oldest first. */
  async outcome(): Promise<{ found: number; acknowledged: Acknowledgement[] }> {
    const { stdout } = await this.host.docker('logs', '--timestamps', this.name);
    let found = 0;
    const acknowledged: Acknowledgement[] = [];
    for (const line of stdout.split('\n').filter(Boolean)) {
      const space = line.indexOf(' ');
      const text = line.slice(space + 1);
      if (text.startsWith('found ')) found = Number(text.slice(6));
      else acknowledged.push({ record: text, at: nanoseconds(line.slice(0, space)) });
    }
    return { found, acknowledged };
  }

  async isRunning(): Promise<boolean> {
    const { stdout } = await this.host.docker('inspect', '--format', '{{.State.Running}}', this.name);
    return stdout.trim() === 'true';
  }

  async remove(): Promise<void> {
    await this.host.docker('rm', '-f', this.name);
  }
}

/** Those of the records that a failover lost that it does not tell of: they were acknowledged before its snapshot was taken. */
export function untoldLoss(lost: readonly Acknowledgement[], { lastFailover }: Pick<Volume, 'lastFailover'>): string[] {
  const takenAt = BigInt(Date.parse(lastFailover?.snapshotTakenAt ?? '')) * 1_000_000n;
  return lost.filter(({ at }) => at < takenAt).map(({ record }) => record);
}

/** RFC 3339 with nanoseconds, as the engine writes it. */
function nanoseconds(time: string): bigint {
  const [, whole = '', fraction = ''] = /^(.*?)(?:\.(\d+))?Z$/.exec(time) ?? [];
  return BigInt(Date.parse(`${whole}Z`)) * 1_000_000n + BigInt(fraction.padEnd(9, '0').slice(0, 9));
}
