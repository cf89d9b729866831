import { Option } from 'commander';
import type { Command } from 'commander';
import type { User, UserRole } from '../../model/access.ts';
import { examples, named, reference } from '../cli.ts';
import type { Cli } from '../cli.ts';
import type { Api } from '../connection.ts';
import { parseDuration } from '../format.ts';
import { checkFingerprint, readToken } from '../token.ts';

const roles: readonly UserRole[] = ['admin', 'operator', 'viewer'];

interface RightOptions {
  role?: UserRole;
  project?: string;
  wholeCluster?: boolean;
}

export function addUserCommands(program: Command, cli: Cli): void {
  const users = program.command('user').description('people who work with the cluster, and what they may do');
  const roleOption = (): Option =>
    new Option('--role <role>', 'admin: everything; operator: volumes, applications, grants; viewer: looks').choices(roles);

  users
    .command('ls')
    .alias('list')
    .description('list all users')
    .addHelpText('after', examples('supercargo user ls'))
    .action(() => listUsers(cli));

  users
    .command('add')
    .description('make a user, and print the command with which it logs in')
    .argument('<name>', 'name of the user', named('user'))
    .addOption(roleOption().makeOptionMandatory())
    .option('--project <name>', 'the one project that the role counts for', reference('project'))
    .addHelpText('after', examples('supercargo user add anna --role admin', 'supercargo user add ben --role operator --project shop'))
    .action(async (name: string, { role = 'viewer', project }: RightOptions) => {
      await cli.api((api) => api.createUser({ body: { name, role, project: project ?? null } }));
      await invite(cli, name, 600_000);
    });

  users
    .command('set')
    .description('change what a user may do; counts from its next command')
    .argument('<name>', 'name of the user', reference('user'))
    .addOption(roleOption())
    .addOption(new Option('--project <name>', 'the one project that the role counts for').argParser(reference('project')).conflicts('wholeCluster'))
    .option('--whole-cluster', 'the role counts for the whole cluster')
    .addHelpText('after', examples('supercargo user set ben --role viewer', 'supercargo user set ben --project shop'))
    .action((name: string, options: RightOptions) => setUser(cli, name, options));

  users
    .command('invite')
    .description('make a single-use token and print the command with which a user logs in')
    .argument('<name>', 'name of the user', reference('user'))
    .option('--lifetime <duration>', 'how long the token can be used', (value: string) => parseDuration('--lifetime', value), 600_000)
    .addHelpText('after', examples('supercargo user invite anna', 'supercargo user invite anna --lifetime 1h --json'))
    .action((name: string, { lifetime }: { lifetime: number }) => invite(cli, name, lifetime));

  users
    .command('rm')
    .description('remove a user: its login counts no more, at once')
    .argument('<name>', 'name of the user', reference('user'))
    .addHelpText('after', examples('supercargo user rm ben'))
    .action((name: string) => removeUser(cli, name));

  addLoginCommands(program, cli);
}

function addLoginCommands(program: Command, cli: Cli): void {
  program
    .command('login')
    .description('get a certificate for yourself, with which the other commands then work from this machine')
    .argument('<address>', 'host:port where the name server takes new members')
    .option('--token <token>', 'the token, or "-" to read it from standard input; or set SUPERCARGO_JOIN_TOKEN, which no process list shows')
    .requiredOption('--ca-fingerprint <fingerprint>', 'fingerprint of the cluster’s CA, sha256:…')
    .addHelpText('after', examples('supercargo login 10.0.0.1:7471 --token TOKEN --ca-fingerprint sha256:…'))
    .action((address: string, options: { token?: string; caFingerprint: string }) => logIn(cli, address, options));

  program
    .command('logout')
    .description('forget your certificate and key on this machine')
    .addHelpText('after', examples('supercargo logout'))
    .action(async () => {
      await cli.dependencies.logout(cli.loginDirectory);
      cli.output.result({}, () => ['Logged out.']);
    });

  program
    .command('whoami')
    .description('show who you are to the cluster')
    .addHelpText('after', examples('supercargo whoami'))
    .action(async () => {
      const user = await cli.asUser((api) => api.whoAmI({}));
      cli.output.details(user, [
        ['user', user.name],
        ['role', user.role],
        ['project', user.project ?? 'all'],
      ]);
    });
}

async function listUsers(cli: Cli): Promise<void> {
  const { users, nameOf } = await cli.api(async (api) => ({ users: (await api.listUsers({})).items, nameOf: await projectNames(api) }));
  cli.output.table(
    users,
    ['NAME', 'ROLE', 'PROJECT', 'SINCE'],
    users.map((user) => [user.name, user.role, nameOf(user), user.createdAt]),
  );
}

async function projectNames(api: Api): Promise<(user: User) => string> {
  const names = new Map((await api.listProjects({})).items.map(({ id, name }) => [id, name]));
  return ({ project }) => (project === null ? 'all' : (names.get(project) ?? project));
}

async function setUser(cli: Cli, name: string, { role, project, wholeCluster }: RightOptions): Promise<void> {
  const reach = wholeCluster ? { project: null } : project === undefined ? {} : { project };
  const user = await cli.api((api) => api.updateUser({ parameters: { user: name }, body: { ...(role === undefined ? {} : { role }), ...reach } }));
  cli.output.result(user, () => [`User ${user.name} is ${user.role} now.`]);
}

async function invite(cli: Cli, name: string, lifetimeMilliseconds: number): Promise<void> {
  const made = await cli.api((api) => api.createLogin({ parameters: { user: name }, body: { lifetimeMilliseconds } }));
  const command = `supercargo login ${made.joinAddress} --token ${made.token} --ca-fingerprint ${made.fingerprint}`;
  cli.output.result({ ...made, command }, () => [command]);
  if (!cli.output.json) cli.output.note(`For ${name}, to run on the machine it works from. It works once, until ${made.expiresAt}.`);
}

async function removeUser(cli: Cli, name: string): Promise<void> {
  await cli.api((api) => api.deleteUser({ parameters: { user: name } }));
  cli.output.result({}, () => [`User ${name} was removed.`]);
}

async function logIn(cli: Cli, address: string, { token, caFingerprint }: { token?: string; caFingerprint: string }): Promise<void> {
  // Overwrites the arguments that other users of this machine see, as early as can be.
  if (token !== undefined) process.title = 'supercargo login';
  checkFingerprint(caFingerprint, 'supercargo user invite');
  const summary = await cli.dependencies.login({ address, token: await readToken(cli, token), caFingerprint, directory: cli.loginDirectory });
  cli.output.result(summary, () => [
    `You are ${summary.user} of cluster ${summary.cluster}, until ${summary.until}; each use after half of that time renews it.`,
  ]);
}
