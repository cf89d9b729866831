import type { Command } from 'commander';
import { parseSnapshotName } from '../../model/names.ts';
import { parseSize } from '../../model/size.ts';
import { examples, keyValues, named, reference, volumeOrSnapshot } from '../cli.ts';
import type { Cli } from '../cli.ts';

/** How long it may take until a snapshot of a volume in use was taken, in milliseconds. */
const cloneTimeoutMilliseconds = 30_000;

export function addCloneCommand(volume: Command, cli: Cli): void {
  volume
    .command('clone')
    .description('make a volume of a snapshot, or of what a volume holds now; it shares the data, and follows its container as any volume')
    .argument('<source>', 'VOLUME@SNAPSHOT, or VOLUME: a snapshot is then taken first', volumeOrSnapshot)
    .argument('<name>', 'name of the new volume', named('volume'))
    .option('--size <size>', 'size limit (default: that of the source)', (text: string) => parseSize('--size', text))
    .option('--class <class>', 'class (default: that of the source)')
    .option('--label <key=value>', 'label, may be given several times', keyValues('Option "--label"'))
    .option('--host <host>', 'which of the hosts that have the snapshot makes it', reference('host'))
    .addHelpText('after', examples('supercargo volume clone pgdata@nightly pgdata-test', 'supercargo volume clone pgdata pgdata-now'))
    .action((source: string, name: string, options: CloneOptions) => clone(cli, source, name, options));
}

interface CloneOptions {
  size?: number;
  class?: string;
  label?: Record<string, string>;
  host?: string;
}

async function clone(cli: Cli, source: string, name: string, { size, class: className, label, host }: CloneOptions): Promise<void> {
  const { volume, snapshot } = parseSnapshotName(source);
  const body = {
    name,
    from: snapshot === null ? { volume } : { volume, snapshot },
    ...(size === undefined ? {} : { sizeBytes: size }),
    ...(className === undefined ? {} : { class: className }),
    ...(label === undefined ? {} : { labels: label }),
    ...(host === undefined ? {} : { host }),
  };
  const made = await cli.api((api) => api.createVolume({ body }, { timeoutMilliseconds: cloneTimeoutMilliseconds }));
  cli.output.result(made, () => [made.name]);
}
