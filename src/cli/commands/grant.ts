import { Option } from 'commander';
import type { Command } from 'commander';
import { SupercargoError } from '../../model/errors.ts';
import { readAccess, targetOf, titleOf } from '../access-text.ts';
import { applicationReference, examples, reference } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { parseDuration, parseTime, printable } from '../format.ts';

export function addGrantCommands(program: Command, cli: Cli): void {
  const grant = program
    .command('grant')
    .description('let an application use a volume, or all volumes of its project; prints the identifier of the grant')
    .argument('[application]', 'PROJECT/NAME or identifier', applicationReference)
    .argument('[volume]', 'name or identifier', reference('volume'))
    .option('--all-volumes', 'all volumes of the application’s project, also those to come')
    .option('--read-only', 'it may read only')
    .option('--from <time>', 'when it begins (default: now)', (text: string) => parseTime('--from', text))
    .option('--until <time>', 'when it ends, for example 2026-12-24T18:00 (default: when it is revoked)', (text: string) =>
      parseTime('--until', text),
    )
    .addOption(
      new Option('--for <duration>', 'how long it lasts, for example 8h')
        .argParser((text: string) => parseDuration('--for', text))
        .conflicts('until'),
    )
    .option('--reason <text>', 'why; recorded, and always needed')
    .addHelpText(
      'after',
      examples(
        'supercargo grant shop/web orders --reason "the shop itself"',
        'supercargo grant shop/report --all-volumes --read-only --for 8h --reason "ticket 4711"',
        'Taking it back: supercargo revoke grant --help',
      ),
    )
    .action((application: string | undefined, volume: string | undefined, options: GrantOptions) => createGrant(cli, application, volume, options));

  grant
    .command('ls')
    .alias('list')
    .description('list grants: who may use what, from when and until when')
    .option('--app <application>', 'only those of this application', applicationReference)
    .option('--volume <volume>', 'only those that reach this volume', reference('volume'))
    .option('--project <project>', 'only those of the project’s applications and to its volumes', reference('project'))
    .addHelpText('after', examples('supercargo grant ls', 'supercargo grant ls --volume orders --json'))
    .action((options: ListOptions) => listGrants(cli, options));
}

interface GrantOptions {
  allVolumes?: boolean;
  readOnly?: boolean;
  from?: string;
  until?: string;
  for?: number;
  reason?: string;
}

async function createGrant(cli: Cli, application: string | undefined, volume: string | undefined, options: GrantOptions): Promise<void> {
  const { allVolumes = false, readOnly = false, from, reason } = options;
  if (application === undefined) throw usage('Which application is not given.');
  if ((volume === undefined) !== allVolumes) throw usage('Give one volume, or --all-volumes.');
  if (reason === undefined) throw usage('A grant needs a reason, which is recorded: --reason TEXT.');
  const until = endOf(options);
  const { output } = cli;
  await cli.api(async (api) => {
    const grant = await api.createGrant({
      body: {
        application,
        volume: volume ?? null,
        mode: readOnly ? 'read-only' : 'read-write',
        reason,
        ...(from === undefined ? {} : { from }),
        ...(until === undefined ? {} : { until }),
      },
    });
    output.result(grant, () => [grant.id]);
    if (output.json) return;
    const access = await readAccess(api);
    const owner =
      access.volumes.find(({ id }) => id === grant.volume)?.project ?? access.applications.find(({ id }) => id === grant.application)?.project;
    const project = access.projects.find(({ id }) => id === owner);
    if (project?.requireGrants !== false) return;
    output.note(
      printable(
        `Project ${project.name} does not require grants: so far every container may use its volumes. To change that: supercargo project set ${project.name} --require-grants`,
      ),
    );
  });
}

function usage(message: string): SupercargoError {
  return new SupercargoError('invalid-request', message, { hint: 'See: supercargo grant --help' });
}

function endOf({ from, until, for: duration }: GrantOptions): string | undefined {
  if (duration === undefined) return until;
  return new Date((from === undefined ? Date.now() : Date.parse(from)) + duration).toISOString();
}

interface ListOptions {
  app?: string;
  volume?: string;
  project?: string;
}

async function listGrants(cli: Cli, { app, volume, project }: ListOptions): Promise<void> {
  const query = {
    ...(app === undefined ? {} : { application: app }),
    ...(volume === undefined ? {} : { volume }),
    ...(project === undefined ? {} : { project }),
  };
  const [{ items: grants }, access] = await cli.api((api) => Promise.all([api.listGrants({ query }), readAccess(api)]));
  const { describeGrantState } = await import('../access-effects.ts');
  const rows = grants.map((grant) => [
    grant.id,
    titleOf(grant.application, access),
    targetOf(grant, access),
    grant.mode,
    describeGrantState(grant, Date.now()),
    grant.until ?? '',
    grant.reason,
  ]);
  cli.output.table(grants, ['GRANT', 'APPLICATION', 'VOLUME', 'MODE', 'STATE', 'UNTIL', 'REASON'], rows);
}
