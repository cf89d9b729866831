import { Option } from 'commander';
import type { Command } from 'commander';
import { currentHost } from '../../model/holder.ts';
import type { Volume } from '../../model/records.ts';
import { parseSize } from '../../model/size.ts';
import { projectName } from '../access-text.ts';
import { examples, keyValues, named, reference, references } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { formatAge, formatLimit, parseDuration } from '../format.ts';
import { hostNames } from '../host-names.ts';
import type { HostNames } from '../host-names.ts';
import { countReplicas, visibleProblem } from '../volume-text.ts';
import { addFailoverCommand } from './volume-failover.ts';
import { addInspectCommand } from './volume-inspect.ts';
import { addKeptCommands } from './volume-kept.ts';
import { addRekeyCommand } from './key.ts';
import { addCloneCommand } from './volume-clone.ts';
import { addRevertCommand } from './volume-revert.ts';

/** How long a removal may take, in milliseconds: the holder first makes sure that nothing uses the volume. */
const removalTimeoutMilliseconds = 60_000;

export function addVolumeCommands(program: Command, cli: Cli): void {
  const volume = program.command('volume').description('make, show, move, remove and rescue volumes');

  volume
    .command('create')
    .description('make a volume; asked again with the same options, it succeeds')
    .argument('<name>', 'name of the volume', named('volume'))
    .option('--size <size>', 'size limit, for example 10G', (text: string) => parseSize('--size', text))
    .option('--class <class>', 'class of the volume')
    .option('--project <project>', 'project that it belongs to for ever (default: "default")', reference('project'))
    .option('--label <key=value>', 'label, may be given several times', keyValues('Option "--label"'))
    .option('--host <host>', 'host that gets it at once (default: the first that mounts it)', reference('host'))
    .addHelpText('after', examples('supercargo volume create pgdata --size 10G --label team=shop'))
    .action((name: string, options: CreateOptions) => createVolume(cli, name, options));

  volume
    .command('ls')
    .alias('list')
    .description('list all volumes')
    .addHelpText('after', examples('supercargo volume ls', 'supercargo volume ls --json'))
    .action(() => listVolumes(cli));

  addCloneCommand(volume, cli);
  addRevertCommand(volume, cli);
  addInspectCommand(volume, cli);

  volume
    .command('rm')
    .alias('remove')
    .description('remove volumes that nothing uses')
    .argument('<volume...>', 'names or identifiers', references('volume'))
    .addHelpText('after', examples('supercargo volume rm old1 old2'))
    .action((names: string[]) => removeVolumes(cli, names));

  volume
    .command('move')
    .description('move a volume to another host: copies while it is used, hands over when nothing uses it any more')
    .argument('<volume>', 'name or identifier', reference('volume'))
    .requiredOption('--to <host>', 'destination', reference('host'))
    .addOption(new Option('--detach', 'return at once; the move goes on').conflicts('timeout'))
    .option('--timeout <duration>', 'stop waiting after this time, for example 10m; the move goes on', (text: string) =>
      parseDuration('--timeout', text),
    )
    .addHelpText('after', examples('supercargo volume move pgdata --to h2', 'supercargo volume move pgdata --to h2 --detach --json'))
    .action((name: string, options: MoveOptions) => moveVolume(cli, name, options));

  addFailoverCommand(volume, cli);
  addKeptCommands(volume, cli);
  addRekeyCommand(volume, cli);
}

interface CreateOptions {
  size?: number;
  class?: string;
  project?: string;
  label?: Record<string, string>;
  host?: string;
}

async function createVolume(cli: Cli, name: string, options: CreateOptions): Promise<void> {
  const { size, class: className, project, label, host } = options;
  const body = {
    name,
    ...(size === undefined ? {} : { sizeBytes: size }),
    ...(className === undefined ? {} : { class: className }),
    ...(project === undefined ? {} : { project }),
    ...(label === undefined ? {} : { labels: label }),
    ...(host === undefined ? {} : { host }),
  };
  const volume = await cli.api((api) => api.createVolume({ body }));
  cli.output.result(volume, () => [volume.name]);
}

async function listVolumes(cli: Cli): Promise<void> {
  const { defaultProject } = await import('../../model/records.ts');
  const { volumes, hosts, projects } = await cli.api(async (api) => {
    const [{ items }, { items: all }] = await Promise.all([api.listVolumes({}), api.listHosts({})]);
    // Where everything is in the default project, nobody wants to read of it.
    const isDivided = items.some(({ project }) => project !== defaultProject.id);
    return { volumes: items, hosts: all, projects: isDivided ? (await api.listProjects({})).items : null };
  });
  const name = hostNames(hosts);
  const rows = volumes.map((volume) => [
    volume.name,
    ...(projects === null ? [] : [projectName(volume, projects)]),
    volume.class,
    formatLimit(volume.sizeBytes),
    name(currentHost(volume.placement)),
    describeState(volume, name, visibleProblem(volume, hosts)),
    countReplicas(volume, hosts),
    formatAge(volume.createdAt, Date.now()),
  ]);
  cli.output.table(volumes, ['NAME', ...(projects === null ? [] : ['PROJECT']), 'CLASS', 'SIZE', 'HOLDER', 'STATE', 'REPLICAS', 'AGE'], rows);
}

/** Tries every one, so that a volume in use does not keep the others; the errors are thrown together at the end. */
async function removeVolumes(cli: Cli, names: readonly string[]): Promise<void> {
  await cli.api(async (api) => {
    const removed: string[] = [];
    const failures: unknown[] = [];
    for (const name of names) {
      try {
        await api.removeVolume({ parameters: { volume: name } }, { timeoutMilliseconds: removalTimeoutMilliseconds });
        removed.push(name);
      } catch (error) {
        failures.push(error);
      }
    }
    cli.output.result(removed, () => removed);
    if (failures.length > 0) throw new AggregateError(failures);
  });
}

interface MoveOptions {
  to: string;
  detach?: boolean;
  timeout?: number;
}

async function moveVolume(cli: Cli, name: string, { to, detach, timeout }: MoveOptions): Promise<void> {
  const { output } = cli;
  const { followAndReport } = await import('../follow-move.ts');
  await cli.api(async (api) => {
    const { move, volume } = await api.createMove({ body: { volume: name, to } });
    if (move === null) return output.result(null, () => [`Volume ${volume.name} is on ${to} already.`]);
    if (detach === true) {
      output.result(move, () => [move.id]);
      if (!output.json) output.note(`The move goes on. Follow it: supercargo move follow ${move.id}`);
      return;
    }
    await followAndReport(move, { api, output, timeoutMilliseconds: timeout });
  });
}

function describeState(volume: Volume, name: HostNames, problem: string | null): string {
  const { placement } = volume;
  const state = placement.state === 'moving' ? `moving to ${name(placement.to)}` : placement.state;
  return problem === null ? state : `${state} ! ${problem}`;
}
