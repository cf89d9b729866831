import { Option } from 'commander';
import type { Command } from 'commander';
import type { RevocationPolicy } from '../../model/access.ts';
import { SupercargoError } from '../../model/errors.ts';
import { readAccess, titleOf } from '../access-text.ts';
import { awaitAcknowledgements, describeAcknowledgements, shortfallOf } from '../await-acknowledgements.ts';
import { applicationReference, examples, grantIdentifier } from '../cli.ts';
import type { Cli } from '../cli.ts';
import type { Api } from '../connection.ts';
import { requireConsent } from '../consent.ts';
import { parseDuration, printable } from '../format.ts';
import { addRevokeIdentityCommands } from './revoke-identity.ts';

/** How long --wait waits unless told otherwise, in milliseconds. */
const defaultWaitMilliseconds = 10_000;

export function addRevokeCommands(program: Command, cli: Cli): void {
  const revoke = program.command('revoke').description('take rights away again, and say how what rests on them ends');

  withPolicy(revoke.command('grant').description('take a grant back'))
    .argument('<grant>', 'identifier (supercargo grant ls)', grantIdentifier)
    .addHelpText('after', examples('supercargo revoke grant grt_0123456789abcdef01234567 --graceful --reason "ticket 4711 is done"'))
    .action((id: string, options: RevokeOptions) => revokeGrant(cli, id, options));

  withPolicy(revoke.command('app').description('take all rights of an application away, until it is reinstated'))
    .argument('<application>', 'PROJECT/NAME or identifier', applicationReference)
    .addHelpText(
      'after',
      examples('supercargo revoke app shop/web --now --wait --reason "broken into"', 'Giving them back: supercargo app reinstate --help'),
    )
    .action((word: string, options: RevokeOptions) => revokeApplication(cli, word, options));

  addRevokeIdentityCommands(revoke, cli);
}

function withPolicy(command: Command): Command {
  return command
    .addOption(new Option('--now', 'freeze and kill the containers that use the volumes by this right').conflicts('graceful'))
    .option('--graceful', 'leave them until they stop by themselves; new ones are refused at once')
    .requiredOption('--reason <text>', 'why; recorded')
    .option('--wait', 'return when every host that is up has put it into effect, and say who has')
    .option('--timeout <duration>', 'with --wait: for how long at most (default: 10s)', (text: string) => parseDuration('--timeout', text))
    .option('--yes', 'with --now: do not ask');
}

interface RevokeOptions {
  now?: boolean;
  graceful?: boolean;
  reason: string;
  wait?: boolean;
  timeout?: number;
  yes?: boolean;
}

function policyOf({ now = false, graceful = false }: RevokeOptions): RevocationPolicy {
  if (now || graceful) return now ? 'now' : 'graceful';
  throw new SupercargoError('invalid-option', 'How what rests on it ends is not given.', {
    hint: '--now kills the containers that use the volumes by this right; --graceful leaves them until they stop by themselves.',
  });
}

async function revokeGrant(cli: Cli, id: string, options: RevokeOptions): Promise<void> {
  const policy = policyOf(options);
  await cli.api(async (api) => {
    const access = await readAccess(api);
    const grant = access.grants.find((each) => each.id === id);
    const application = access.applications.find((each) => each.id === grant?.application);
    if (grant === undefined || application === undefined) {
      throw new SupercargoError('not-found', `There is no grant ${id}.`, { hint: 'supercargo grant ls lists all grants.' });
    }
    const title = titleOf(application.id, access);
    const { describeGrantRevocation } = await import('../access-effects.ts');
    const preview = describeGrantRevocation(grant, application, access);
    await agree(cli, options, { preview, question: 'Take it back, and kill what uses it?' });
    const answer = await api.revokeGrant({ parameters: { grant: id }, body: { policy, reason: options.reason } });
    await report(cli, api, options, answer, `Grant ${id} of ${title} is taken back.`);
  });
}

async function revokeApplication(cli: Cli, word: string, options: RevokeOptions): Promise<void> {
  const policy = policyOf(options);
  await cli.api(async (api) => {
    const access = await readAccess(api);
    const application = access.applications.find(({ id }) => id === word || titleOf(id, access) === word);
    if (application === undefined) {
      throw new SupercargoError('not-found', `There is no application "${word}".`, { hint: 'supercargo app ls lists all applications.' });
    }
    const title = titleOf(application.id, access);
    const { describeApplicationRevocation } = await import('../access-effects.ts');
    const preview = describeApplicationRevocation(application, access);
    await agree(cli, options, { preview, question: `Revoke ${title}, and kill its containers?` });
    const answer = await api.revokeApplication({ parameters: { application: word }, body: { policy, reason: options.reason } });
    await report(cli, api, options, answer, `Application ${title} is revoked.`);
  });
}

/** Only what kills containers is asked for; the rest is said all the same. */
async function agree(cli: Cli, { now = false, yes = false }: RevokeOptions, consent: { preview: string[]; question: string }): Promise<void> {
  if (now) return requireConsent(cli, { ...consent, yes });
  if (!cli.output.json) for (const line of consent.preview) cli.output.note(printable(line));
}

async function report(cli: Cli, api: Api, options: RevokeOptions, answer: { revision: number }, done: string): Promise<void> {
  const { output } = cli;
  const { wait = false, timeout = defaultWaitMilliseconds } = options;
  if (!wait) return output.result(answer, () => [done]);
  const hosts = await awaitAcknowledgements(api, answer.revision, timeout);
  output.result({ ...answer, hosts }, () => [done, ...describeAcknowledgements(hosts)]);
  const shortfall = shortfallOf(hosts, timeout);
  if (shortfall !== null) throw shortfall;
}
