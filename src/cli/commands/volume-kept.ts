import type { Command } from 'commander';
import { SupercargoError } from '../../model/errors.ts';
import { examples, named, reference, snapshotIdentifier } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { requireConsent } from '../consent.ts';
import { hostNames } from '../host-names.ts';

/** What to do with what a replaced holder had kept. */
export function addKeptCommands(volume: Command, cli: Cli): void {
  volume
    .command('restore')
    .description('make a new volume of what a replaced holder has kept; it begins on that host')
    .argument('<volume>', 'name or identifier', reference('volume'))
    .argument('<snapshot>', 'identifier of the snapshot (supercargo volume inspect)', snapshotIdentifier)
    .argument('<new-name>', 'name of the new volume', named('volume'))
    .option('--class <class>', 'class of the new volume')
    .addHelpText('after', examples('supercargo volume restore pgdata snp_0123456789abcdef01234567 pgdata-before'))
    .action((word: string, snapshot: string, name: string, options: { class?: string }) => restore(cli, word, snapshot, { name, ...options }));

  volume
    .command('forget')
    .description('delete what a replaced holder has kept')
    .argument('<volume>', 'name or identifier', reference('volume'))
    .argument('<snapshot>', 'identifier of the snapshot (supercargo volume inspect)', snapshotIdentifier)
    .option('--yes', 'do not ask')
    .addHelpText('after', examples('supercargo volume forget pgdata snp_0123456789abcdef01234567 --yes'))
    .action((word: string, snapshot: string, options: { yes?: boolean }) => forget(cli, word, snapshot, options.yes ?? false));
}

async function restore(cli: Cli, word: string, snapshot: string, made: { name: string; class?: string }): Promise<void> {
  const volume = await cli.api((api) => api.createVolume({ body: { ...made, from: { volume: word, snapshot } } }));
  cli.output.result(volume, () => [volume.name]);
}

async function forget(cli: Cli, word: string, snapshot: string, yes: boolean): Promise<void> {
  await cli.api(async (api) => {
    const [volume, { items: hosts }] = await Promise.all([api.getVolume({ parameters: { volume: word } }), api.listHosts({})]);
    const kept = volume.diverged.find((each) => each.snapshot === snapshot);
    if (kept === undefined) {
      throw new SupercargoError('not-found', `Volume "${volume.name}" has no kept copy ${snapshot}.`, {
        hint: `supercargo volume inspect ${volume.name} lists them.`,
      });
    }
    const preview = [
      `What ${hostNames(hosts)(kept.host)} wrote to ${volume.name} under epoch ${kept.epoch}, and no other copy has, is deleted for ever.`,
      `To keep it as a volume instead: supercargo volume restore ${volume.name} ${snapshot} NEWNAME`,
    ];
    await requireConsent(cli, { preview, question: 'Delete it?', yes });
    await api.forgetDiverged({ parameters: { volume: word, snapshot } });
    cli.output.result({ volume: volume.name, snapshot }, () => [snapshot]);
  });
}
