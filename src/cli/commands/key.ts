import type { Command } from 'commander';
import { examples, reference } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { plural } from '../volume-text.ts';

export function addRekeyCommand(volume: Command, cli: Cli): void {
  volume
    .command('rekey')
    .description('give an encrypted volume a new key; its holder changes it while the volume is used')
    .argument('<volume>', 'name or identifier', reference('volume'))
    .addHelpText('after', examples('supercargo volume rekey pgdata'))
    .action((word: string) => rekey(cli, word));
}

export function addKeyCommands(program: Command, cli: Cli): void {
  program
    .command('key')
    .description('look after the master key of encrypted volumes')
    .command('rotate-master')
    .description('wrap the keys of all volumes under a new master key; given again, it goes on where it ended')
    .addHelpText('after', examples('supercargo key rotate-master'))
    .action(() => rotateMaster(cli));
}

async function rekey(cli: Cli, word: string): Promise<void> {
  const volume = await cli.api((api) => api.rekeyVolume({ parameters: { volume: word } }));
  cli.output.result(volume, () => [volume.name]);
  if (cli.output.json) return;
  cli.output.note('Snapshots and replicas from before still open with the older key, and whoever has both can read newer data as well.');
  cli.output.note(`supercargo volume inspect ${volume.name} shows when the live copy has the new key.`);
}

async function rotateMaster(cli: Cli): Promise<void> {
  const rotated = await cli.api((api) => api.rotateMasterKey({}));
  cli.output.result(rotated, () => [`master key ${rotated.master}: the keys of ${plural(rotated.volumes, 'volume')} were wrapped anew`]);
  if (cli.output.json || !rotated.kept) return;
  cli.output.note('It is the first of the keys that you give; the older ones are not needed any more. To rotate, put a new one before it first.');
}
