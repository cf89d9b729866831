import { Option } from 'commander';
import type { Command } from 'commander';
import { SupercargoError } from '../../model/errors.ts';
import type { EncryptionEngine, Protection, VolumeClass } from '../../model/records.ts';
import { parseSize } from '../../model/size.ts';
import { examples, named } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { formatLimit, parseDuration } from '../format.ts';
import { describeProtection } from '../volume-text.ts';

const defaultDriver = 'btrfs';
/** What a class of that name has if nothing else was said: nothing is protected. */
const fallback: Omit<VolumeClass, 'name'> = {
  description: '',
  driver: defaultDriver,
  sizeBytes: null,
  maximumSizeBytes: null,
  protection: { replicas: 0, intervalMilliseconds: 10_000, failover: 'manual' },
};
const maximumReplicas = 5;
const shortestIntervalMilliseconds = 1000;

export function addClassCommands(program: Command, cli: Cli): void {
  const classes = program.command('class').description('show and set the classes of volumes');

  classes
    .command('ls')
    .alias('list')
    .description('list all classes')
    .addHelpText('after', examples('supercargo class ls', 'supercargo class ls --json'))
    .action(() => listClasses(cli));

  classes
    .command('set')
    .description('make a class, or change what is given of one that exists; its volumes follow')
    .argument('<name>', 'name of the class', named('class'))
    .option('--replicas <count>', 'copies on other hosts that are kept fresh, 0 to 5', parseReplicas)
    .option('--interval <duration>', 'how often changes are shipped to them, for example 10s', parseInterval)
    .addOption(
      new Option(
        '--failover <mode>',
        'auto: a replica takes over when the holder is lost, which stops its users by itself; manual: by order only',
      ).choices(['manual', 'auto']),
    )
    .addOption(
      new Option('--encryption <engine>', 'luks: new volumes of it are encrypted on every disk; none: as they are').choices(['none', 'luks']),
    )
    .option('--size <size>', 'size limit of volumes that ask for none, or "none"', (text: string) => parseLimit('--size', text))
    .option('--max-size <size>', 'largest size limit that a volume may ask for, or "none"', (text: string) => parseLimit('--max-size', text))
    .option('--description <text>', 'what it is for')
    .option('--driver <driver>', `what keeps the data (default: "${defaultDriver}")`)
    .addHelpText(
      'after',
      examples('supercargo class set database --replicas 2 --interval 10s --failover auto', 'supercargo class set database --max-size 100G'),
    )
    .action((name: string, options: SetOptions) => setClass(cli, name, options));
}

type Limit = number | 'none';

interface SetOptions extends Partial<Pick<Protection, 'replicas' | 'failover'>> {
  interval?: number;
  size?: Limit;
  maxSize?: Limit;
  description?: string;
  driver?: string;
  encryption?: EncryptionEngine;
}

function parseReplicas(text: string): number {
  const count = /^\d$/.test(text) ? Number(text) : NaN;
  if (!(count <= maximumReplicas)) {
    throw new SupercargoError('invalid-option', `Option "--replicas" is not a number from 0 to ${maximumReplicas}: ${JSON.stringify(text)}.`, {
      hint: 'Each replica is a copy on one more host.',
    });
  }
  return count;
}

function parseInterval(text: string): number {
  const milliseconds = parseDuration('--interval', text);
  if (milliseconds < shortestIntervalMilliseconds) {
    throw new SupercargoError('invalid-option', `Option "--interval" is less than a second: ${JSON.stringify(text)}.`, {
      hint: 'Write for example 10s.',
    });
  }
  return milliseconds;
}

function parseLimit(option: string, text: string): Limit {
  return text === 'none' ? text : parseSize(option, text);
}

function changedLimit(given: Limit | undefined, before: number | null): number | null {
  return given === 'none' ? null : (given ?? before);
}

async function listClasses(cli: Cli): Promise<void> {
  const { items } = await cli.api((api) => api.listClasses({}));
  const rows = items.map(({ name, driver, sizeBytes, maximumSizeBytes, protection, encryption, description }) => [
    name,
    driver,
    formatLimit(sizeBytes),
    formatLimit(maximumSizeBytes),
    String(protection.replicas),
    protection.replicas === 0 ? '' : `${protection.intervalMilliseconds / 1000}s`,
    protection.failover,
    encryption ?? 'none',
    description,
  ]);
  cli.output.table(items, ['NAME', 'DRIVER', 'DEFAULT SIZE', 'MAXIMUM SIZE', 'REPLICAS', 'INTERVAL', 'FAILOVER', 'ENCRYPTION', 'DESCRIPTION'], rows);
}

async function setClass(cli: Cli, name: string, options: SetOptions): Promise<void> {
  const { output } = cli;
  const set = await cli.api(async (api) => {
    const before = (await api.listClasses({})).items.find((each) => each.name === name) ?? { name, ...fallback };
    const { name: _, ...body } = changed(before, options);
    return api.putClass({ parameters: { class: name }, body });
  });
  output.result(set, () => [`${set.name}: ${describeProtection(set.protection)}`]);
  if (!output.json && set.protection.failover === 'auto' && set.protection.replicas === 0) {
    output.note(
      'Nothing can take over without a replica, but users are stopped all the same while the name server is away. Give --replicas 1 or more.',
    );
  }
}

/** What is not given stays. */
function changed(before: VolumeClass, { size, maxSize, replicas, interval, failover, description, driver, encryption }: SetOptions): VolumeClass {
  return {
    ...before,
    description: description ?? before.description,
    driver: driver ?? before.driver,
    ...(encryption === undefined ? {} : { encryption }),
    sizeBytes: changedLimit(size, before.sizeBytes),
    maximumSizeBytes: changedLimit(maxSize, before.maximumSizeBytes),
    protection: {
      replicas: replicas ?? before.protection.replicas,
      intervalMilliseconds: interval ?? before.protection.intervalMilliseconds,
      failover: failover ?? before.protection.failover,
    },
  };
}
