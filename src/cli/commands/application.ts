import type { Command } from 'commander';
import { parseApplicationName } from '../../model/names.ts';
import { describeRevocation, titleOf } from '../access-text.ts';
import { applicationReference, examples, reference } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { formatAge, parseDuration } from '../format.ts';

/** The label by which a container shows its pass. */
const passLabel = 'supercargo.pass';

export function addApplicationCommands(program: Command, cli: Cli): void {
  const app = program.command('app').description('show and make applications, and give their containers proofs of whose they are');

  app
    .command('ls')
    .alias('list')
    .description('list all applications')
    .option('--project <project>', 'only those of this project', reference('project'))
    .addHelpText('after', examples('supercargo app ls', 'supercargo app ls --project shop --json'))
    .action((options: { project?: string }) => listApplications(cli, options));

  app
    .command('add')
    .description('make an application; asked again with the same options, it succeeds')
    .argument('<application>', 'PROJECT/NAME', applicationReference)
    .option('--privileged', 'its containers may be privileged, and so reach all that their host has')
    .addHelpText('after', examples('supercargo app add shop/web'))
    .action((title: string, options: { privileged?: boolean }) => addApplication(cli, title, options));

  app
    .command('rm')
    .alias('remove')
    .description('remove an application that has no grants in force')
    .argument('<application>', 'PROJECT/NAME or identifier', applicationReference)
    .addHelpText('after', examples('supercargo app rm shop/web'))
    .action((word: string) => removeApplication(cli, word));

  app
    .command('reinstate')
    .description('end the revocation of an application: its grants count again')
    .argument('<application>', 'PROJECT/NAME or identifier', applicationReference)
    .requiredOption('--reason <text>', 'why; recorded')
    .addHelpText('after', examples('supercargo app reinstate shop/web --reason "mended"', 'Revoking it: supercargo revoke app --help'))
    .action((word: string, options: { reason: string }) => reinstate(cli, word, options.reason));

  app
    .command('pass')
    .description('print a proof that a container on one host is the application’s, as a line of a label file; keep it secret')
    .argument('<application>', 'PROJECT/NAME or identifier', applicationReference)
    .option('--host <host>', 'host where the container will run (default: this one, if it has no name server)', reference('host'))
    .option('--reusable', 'for any number of containers, 12 hours at most; without it, for one, and an hour at most')
    .option('--life <duration>', 'how long it counts for new containers (default: 10m)', (text: string) => parseDuration('--life', text))
    .addHelpText(
      'after',
      examples('docker run --label-file <(supercargo app pass shop/web --host h1) …', 'supercargo app pass shop/web --host h1 --reusable --life 8h'),
    )
    .action((word: string, options: PassOptions) => printPass(cli, word, options));
}

async function listApplications(cli: Cli, { project }: { project?: string }): Promise<void> {
  const query = project === undefined ? {} : { project };
  const [{ items: applications }, { items: projects }] = await cli.api((api) => Promise.all([api.listApplications({ query }), api.listProjects({})]));
  const rows = applications.map(({ id, privileged, revocation, createdAt }) => [
    titleOf(id, { applications, projects }),
    privileged ? 'yes' : 'no',
    revocation === null ? 'active' : describeRevocation(revocation),
    formatAge(createdAt, Date.now()),
  ]);
  cli.output.table(applications, ['NAME', 'PRIVILEGED', 'STATE', 'AGE'], rows);
}

async function addApplication(cli: Cli, title: string, { privileged }: { privileged?: boolean }): Promise<void> {
  const body = { ...parseApplicationName(title), ...(privileged === undefined ? {} : { privileged }) };
  const application = await cli.api((api) => api.createApplication({ body }));
  cli.output.result(application, () => [title]);
}

async function removeApplication(cli: Cli, word: string): Promise<void> {
  await cli.api((api) => api.deleteApplication({ parameters: { application: word } }));
  cli.output.result({ application: word }, () => [word]);
}

async function reinstate(cli: Cli, word: string, reason: string): Promise<void> {
  const application = await cli.api((api) => api.reinstateApplication({ parameters: { application: word }, body: { reason } }));
  cli.output.result(application, () => [`${word} counts again, and so do its grants.`]);
}

interface PassOptions {
  host?: string;
  reusable?: boolean;
  life?: number;
}

async function printPass(cli: Cli, word: string, { host, reusable = false, life }: PassOptions): Promise<void> {
  const body = {
    uses: reusable ? ('many' as const) : ('once' as const),
    ...(host === undefined ? {} : { host }),
    ...(life === undefined ? {} : { lifetimeMilliseconds: life }),
  };
  const made = await cli.api((api) => api.createPass({ parameters: { application: word }, body }));
  cli.output.result(made, () => [`${passLabel}=${made.pass}`]);
}
