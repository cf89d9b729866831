import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { Option } from 'commander';
import type { Command } from 'commander';
import { defaultStateDirectory, examples, named } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { parseDuration } from '../format.ts';
import { addressOption } from '../host-address.ts';
import type { HostAddress } from '../host-address.ts';
import { checkFingerprint, readToken, tokenVariable } from '../token.ts';

export function addClusterCommands(program: Command, cli: Cli): void {
  program
    .command('invite')
    .description('make a single-use token and print the command that another host joins with')
    .option('--lifetime <duration>', 'how long the token can be used', (value: string) => parseDuration('--lifetime', value), 600_000)
    .option('--host <name>', 'for a host of the cluster whose certificate ran out: it comes back under its identity')
    .addHelpText('after', examples('supercargo invite', 'supercargo invite --lifetime 1h --json', 'supercargo invite --host h2'))
    .action(({ lifetime, host }: { lifetime: number; host?: string }) => invite(cli, lifetime, host));

  program
    .command('join')
    .description('make this host a member of a cluster')
    .argument('<address>', 'host:port of the name server')
    .option('--token <token>', `the token, or "-" to read it from standard input; or set ${tokenVariable}, which no process list shows`)
    .requiredOption('--ca-fingerprint <fingerprint>', 'fingerprint of the cluster’s CA, sha256:…')
    .addOption(new Option('--name <name>', 'name of this host in the cluster').env('SUPERCARGO_NAME').default(hostname()).argParser(named('host')))
    .addOption(addressOption())
    .addOption(new Option('--state-directory <path>', 'directory of state and data').env('SUPERCARGO_STATE_DIRECTORY').default(defaultStateDirectory))
    .addHelpText(
      'after',
      examples(
        'supercargo join 10.0.0.1:7470 --token TOKEN --ca-fingerprint sha256:…',
        'supercargo join 10.0.0.1:7470 --token - --ca-fingerprint sha256:… < token-file',
      ),
    )
    .action((address: string, options: JoinCommandOptions) => join(cli, address, options));
}

async function invite(cli: Cli, lifetimeMilliseconds: number, host: string | undefined): Promise<void> {
  const made = await cli.api((api) => api.createInvite({ body: { lifetimeMilliseconds, ...(host === undefined ? {} : { host }) } }));
  const command = `supercargo join ${made.joinAddress} --token ${made.token} --ca-fingerprint ${made.fingerprint}`;
  cli.output.result({ ...made, command }, () => [command]);
  if (!cli.output.json) cli.output.note(`Run it on the new host. It works once, until ${made.expiresAt}.`);
}

interface JoinCommandOptions {
  token?: string;
  caFingerprint: string;
  name: string;
  address: HostAddress;
  stateDirectory: string;
}

async function join(cli: Cli, joinAddress: string, options: JoinCommandOptions): Promise<void> {
  // Overwrites the arguments that other users of this host see, as early as can be.
  if (options.token !== undefined) process.title = 'supercargo join';
  checkFingerprint(options.caFingerprint, 'supercargo invite');
  const { host, port } = options.address;
  const summary = await cli.dependencies.join({
    joinAddress,
    token: await readToken(cli, options.token),
    caFingerprint: options.caFingerprint,
    stateDirectory: resolve(options.stateDirectory),
    name: options.name,
    address: host,
    port,
  });
  cli.output.result(summary, () => [`Host ${summary.host} is a member of cluster ${summary.cluster}.`]);
  if (!cli.output.json) cli.output.note('Start it: supercargo up --detach');
}
