import type { Command } from 'commander';
import type { AuthorityView } from '../../protocol/certificate-routes.ts';
import { examples } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { requireConsent } from '../consent.ts';

const phases: Record<AuthorityView['phase'], string> = {
  none: 'one authority',
  introducing: 'the next one signs as soon as all hosts trust it',
  retiring: 'the last one goes as soon as all hosts have certificates of the new one',
};

export function addAuthorityCommands(program: Command, cli: Cli): void {
  const authority = program.command('authority').description('show and replace the authority that signs the certificates of the cluster');

  authority
    .command('show')
    .description('show the authorities of the cluster, and which hosts trust which')
    .addHelpText('after', examples('supercargo authority show'))
    .action(() => showAuthority(cli));

  authority
    .command('rotate')
    .description('replace the authority; every step waits by itself until all hosts are ready for it')
    .option('--force', 'take the next step of a rotation now: hosts that are not ready are cut, and have to join again')
    .option('--yes', 'with --force: do not ask')
    .addHelpText('after', `${examples('supercargo authority rotate')}\n\nsupercargo authority show tells how far it is.`)
    .action((options: { force?: boolean; yes?: boolean }) => rotateAuthority(cli, options));
}

const unreadyOf = ({ hosts }: AuthorityView): string[] => hosts.filter(({ isReady }) => !isReady).map(({ host }) => host);

async function showAuthority(cli: Cli): Promise<void> {
  tell(cli, await cli.api((api) => api.getAuthority({})));
}

function tell({ output }: Cli, view: AuthorityView): void {
  const nameOf = (fingerprint: string): string => fingerprint.slice(0, 'sha256:'.length + 16);
  output.result(view, () => [
    ...view.authorities.map(({ fingerprint, expiresAt }, index) => `${index === 0 ? 'signs: ' : 'counts:'} ${fingerprint}, until ${expiresAt}`),
    `state:  ${phases[view.phase]}`,
    ...view.hosts.map(({ host, trust, isReady }) => {
      const trusts = trust === null ? 'has not said what it trusts' : `trusts ${trust.authorities.map(nameOf).join(', ')}`;
      const issuer = trust?.issuer === null || trust === null ? '' : `, has a certificate of ${nameOf(trust.issuer)}`;
      return `${host}: ${trusts}${issuer}${isReady ? '' : '; NOT READY'}`;
    }),
  ]);
}

async function rotateAuthority(cli: Cli, { force = false, yes = false }: { force?: boolean; yes?: boolean }): Promise<void> {
  const view = await cli.api(async (api) => {
    if (!force) return api.rotateAuthority({ body: {} });
    const cut = unreadyOf(await api.getAuthority({}));
    const preview =
      cut.length === 0 ? ['All hosts are ready for the next step.'] : [`These hosts are cut, and have to join again: ${cut.join(', ')}`];
    await requireConsent(cli, { preview, question: 'Take the next step of the rotation?', yes });
    return api.rotateAuthority({ body: { cut } });
  });
  tell(cli, view);
}
