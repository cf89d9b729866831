import { Option } from 'commander';
import type { Command } from 'commander';
import type { ProjectQuota } from '../../model/access.ts';
import { SupercargoError } from '../../model/errors.ts';
import { formatSize, parseSize } from '../../model/size.ts';
import type { ProjectView } from '../../protocol/access-routes.ts';
import { describeRevocation, readAccess } from '../access-text.ts';
import { examples, named, reference } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { formatAge, formatLimit, printable } from '../format.ts';

export function addProjectCommands(program: Command, cli: Cli): void {
  const project = program.command('project').description('show and set projects: what volumes belong to, and whether they are used by grant only');

  project
    .command('ls')
    .alias('list')
    .description('list all projects, what they have and what they may have')
    .addHelpText('after', examples('supercargo project ls', 'supercargo project ls --json'))
    .action(() => listProjects(cli));

  project
    .command('inspect')
    .description('show a project with its applications')
    .argument('<project>', 'name or identifier', reference('project'))
    .addHelpText('after', examples('supercargo project inspect shop'))
    .action((word: string) => inspectProject(cli, word));

  withSettings(project.command('add').description('make a project; asked again with the same options, it succeeds'))
    .argument('<name>', 'name of the project', named('project'))
    .addHelpText('after', examples('supercargo project add shop', 'supercargo project add shop --require-grants --quota-bytes 100G'))
    .action((name: string, options: SettingOptions) => addProject(cli, name, options));

  withSettings(project.command('set').description('change what is given of a project: whether grants are required, and its quota'))
    .argument('<project>', 'name or identifier', reference('project'))
    .addOption(new Option('--no-require-grants', 'let every container on every host use its volumes'))
    .addOption(new Option('--no-quota', 'no limits').conflicts(['quotaBytes', 'quotaVolumes']))
    .option('--reason <text>', 'why; recorded')
    .addHelpText(
      'after',
      `${examples('supercargo project set shop --require-grants', 'supercargo project set shop --quota-bytes 10G --quota-volumes 5', 'supercargo project set shop --no-quota')}\n\n${meaning}`,
    )
    .action((word: string, options: SettingOptions) => setProject(cli, word, options));

  project
    .command('rm')
    .alias('remove')
    .description('remove a project that has neither volumes nor applications')
    .argument('<project>', 'name or identifier', reference('project'))
    .addHelpText('after', examples('supercargo project rm shop'))
    .action((word: string) => removeProject(cli, word));
}

const meaning = `Without --require-grants, every container on every host may use the volumes of the project. With it, a container is started with one of them only
if it proves whose it is (supercargo app pass) and that application has a grant. Docker has to be told to ask: "Requiring grants" in docs/docker.md.`;

interface SettingOptions {
  requireGrants?: boolean;
  quotaBytes?: number;
  quotaVolumes?: number;
  /** false: no limits. */
  quota?: boolean;
  reason?: string;
}

function withSettings(command: Command): Command {
  return command
    .option('--require-grants', 'let only applications with a grant use its volumes')
    .option('--quota-bytes <size>', 'sum of the size limits of its volumes, each of which then needs one', (text: string) =>
      parseSize('--quota-bytes', text),
    )
    .option('--quota-volumes <count>', 'how many volumes it may have', parseCount);
}

function parseCount(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new SupercargoError('invalid-option', `Option "--quota-volumes" is not a number: ${JSON.stringify(text)}.`, { hint: 'Write for example 5.' });
}

async function listProjects(cli: Cli): Promise<void> {
  const { items } = await cli.api((api) => api.listProjects({}));
  const rows = items.map(({ name, requireGrants, usage, quota, createdAt }) => [
    name,
    requireGrants ? 'required' : 'not required',
    describeVolumes(usage, quota),
    describeBytes(usage, quota),
    formatAge(createdAt, Date.now()),
  ]);
  cli.output.table(items, ['NAME', 'GRANTS', 'VOLUMES', 'SIZE LIMITS', 'AGE'], rows);
}

/** "3", "3 of 5". */
function describeVolumes({ volumes }: ProjectView['usage'], quota: ProjectQuota): string {
  return quota.volumes === null ? String(volumes) : `${volumes} of ${quota.volumes}`;
}

/** "8.0 GiB of 10.0 GiB"; "8.0 GiB and 2 unlimited". */
function describeBytes({ bytes, unlimited }: ProjectView['usage'], quota: ProjectQuota): string {
  const limit = quota.bytes === null ? '' : ` of ${formatSize(quota.bytes)}`;
  return `${formatSize(bytes)}${limit}${unlimited === 0 ? '' : ` and ${unlimited} unlimited`}`;
}

async function inspectProject(cli: Cli, word: string): Promise<void> {
  const [project, { items: applications }] = await cli.api((api) =>
    Promise.all([api.getProject({ parameters: { project: word } }), api.listApplications({ query: { project: word } })]),
  );
  cli.output.details({ ...project, applications }, [
    ['name', project.name],
    ['identifier', project.id],
    ['grants', project.requireGrants ? 'required' : 'not required: every container may use its volumes'],
    ['volumes', describeVolumes(project.usage, project.quota)],
    ['size limits', describeBytes(project.usage, project.quota)],
    ['quota', `${formatLimit(project.quota.bytes)}, ${project.quota.volumes ?? 'any number of'} volumes`],
    ['created', project.createdAt],
    ...applications.map(({ name, revocation }) => {
      return ['application', `${project.name}/${name}${revocation === null ? '' : `, ${describeRevocation(revocation)}`}`] as const;
    }),
  ]);
}

function settingsOf({ requireGrants, quotaBytes, quotaVolumes, quota }: SettingOptions) {
  const limits = {
    ...(quotaBytes === undefined ? {} : { bytes: quotaBytes }),
    ...(quotaVolumes === undefined ? {} : { volumes: quotaVolumes }),
    ...(quota === false ? { bytes: null, volumes: null } : {}),
  };
  return { ...(requireGrants === undefined ? {} : { requireGrants }), ...(Object.keys(limits).length === 0 ? {} : { quota: limits }) };
}

async function addProject(cli: Cli, name: string, options: SettingOptions): Promise<void> {
  const project = await cli.api((api) => api.createProject({ body: { name, ...settingsOf(options) } }));
  cli.output.result(project, () => [project.name]);
}

async function setProject(cli: Cli, word: string, { reason, ...options }: SettingOptions): Promise<void> {
  const { output } = cli;
  const settings = settingsOf(options);
  if (Object.keys(settings).length === 0) {
    throw new SupercargoError('invalid-option', 'Nothing is given that is to be set.', { hint: 'See: supercargo project set --help' });
  }
  await cli.api(async (api) => {
    const body = { ...settings, ...(reason === undefined ? {} : { reason }) };
    const project = await api.updateProject({ parameters: { project: word }, body });
    output.result(project, () => [
      `${project.name}: grants are ${project.requireGrants ? 'required' : 'not required'}, ${describeQuota(project.quota)}`,
    ]);
    if (settings.requireGrants !== true || output.json) return;
    const { describeRequirement } = await import('../access-effects.ts');
    for (const line of describeRequirement(project, await readAccess(api))) output.note(printable(line));
  });
}

function describeQuota({ bytes, volumes }: ProjectQuota): string {
  const limits = [bytes === null ? '' : formatSize(bytes), volumes === null ? '' : `${volumes} volumes`].filter((each) => each !== '');
  return limits.length === 0 ? 'no quota' : `at most ${limits.join(', ')}`;
}

async function removeProject(cli: Cli, word: string): Promise<void> {
  await cli.api((api) => api.deleteProject({ parameters: { project: word } }));
  cli.output.result({ project: word }, () => [word]);
}
