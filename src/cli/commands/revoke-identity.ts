import type { Command } from 'commander';
import { examples, reference } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { requireConsent } from '../consent.ts';
import { contentOf, listNames } from '../volume-text.ts';

interface Options {
  reason: string;
  yes?: boolean;
}

/** Hosts and certificates that are to count no more. */
export function addRevokeIdentityCommands(revoke: Command, cli: Cli): void {
  revoke
    .command('host')
    .description('refuse a host everywhere from now on, and cut its connections: it may be in the wrong hands')
    .argument('<host>', 'name or identifier', reference('host'))
    .requiredOption('--reason <text>', 'why; recorded')
    .option('--yes', 'do not ask')
    .addHelpText('after', examples('supercargo revoke host h2 --reason "stolen"', 'Letting it in again: supercargo host readmit --help'))
    .action((word: string, options: Options) => revokeHost(cli, word, options));

  revoke
    .command('certificate')
    .description('refuse one certificate everywhere from now on, and cut its connections')
    .argument('<serial>', 'its serial number, hexadecimal')
    .requiredOption('--reason <text>', 'why; recorded')
    .addHelpText('after', examples('supercargo revoke certificate 4F1C… --reason "was on a stolen backup"'))
    .action((serial: string, options: Options) => revokeCertificate(cli, serial, options));
}

export function addReadmitCommand(host: Command, cli: Cli): void {
  host
    .command('readmit')
    .description('let a host in again that was denied or is in quarantine; of its certificates only the latest counts')
    .argument('<host>', 'name or identifier', reference('host'))
    .requiredOption('--reason <text>', 'why; recorded')
    .option('--yes', 'do not ask')
    .addHelpText('after', examples('supercargo host readmit h2 --reason "an old backup had been put back; nobody else has it"'))
    .action((word: string, options: Options) => readmit(cli, word, options));
}

async function revokeHost(cli: Cli, word: string, { reason, yes = false }: Options): Promise<void> {
  await cli.api(async (api) => {
    const [host, { items: volumes }] = await Promise.all([api.getHost({ parameters: { host: word } }), api.listVolumes({})]);
    const { held } = contentOf(host.id, volumes);
    const preview = [
      `${host.name} is refused by the name server and by all hosts, its connections are cut, and moves to and from it end.`,
      'What runs on it goes on, as on a host that is cut off.',
      ...(held.length > 0 ? [`It holds ${listNames(held)}; those with failover auto and a replica are taken over.`] : []),
    ];
    await requireConsent(cli, { preview, question: `Revoke host ${host.name}?`, yes });
    const denial = await api.denyHost({ parameters: { host: word }, body: { reason } });
    cli.output.result(denial, () => [`Host ${host.name} is denied until its last certificate runs out, at ${denial.until}.`]);
  });
}

async function revokeCertificate(cli: Cli, serial: string, { reason }: Options): Promise<void> {
  const denial = await cli.api((api) => api.denyCertificate({ parameters: { serial }, body: { reason } }));
  cli.output.result(denial, () => [`Certificate ${denial.value} is denied.`]);
}

async function readmit(cli: Cli, word: string, { reason, yes = false }: Options): Promise<void> {
  await cli.api(async (api) => {
    const { name } = await api.getHost({ parameters: { host: word } });
    const preview = [
      `You say that nobody but ${name} has the key of its latest certificate. Its others are denied.`,
      `If that is not sure, give it new keys instead: supercargo invite --host ${name}`,
    ];
    await requireConsent(cli, { preview, question: `Readmit host ${name}?`, yes });
    const answer = await api.readmitHost({ parameters: { host: word }, body: { reason } });
    cli.output.result(answer, () => [`Host ${name} is let in again, with certificate ${answer.serial}.`]);
  });
}
