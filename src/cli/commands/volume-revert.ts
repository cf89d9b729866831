import type { Command } from 'commander';
import { parseSnapshotName } from '../../model/names.ts';
import { examples, snapshotReference } from '../cli.ts';
import type { Cli } from '../cli.ts';

/** How long the holder may take, in milliseconds: it first makes sure that nothing uses the volume. */
const revertTimeoutMilliseconds = 30_000;

export function addRevertCommand(volume: Command, cli: Cli): void {
  volume
    .command('revert')
    .description('let a volume that nothing uses go back to one of its snapshots; what it holds now is kept as another one')
    .argument('<snapshot>', 'VOLUME@SNAPSHOT', snapshotReference)
    .addHelpText('after', examples('supercargo volume revert pgdata@before-upgrade'))
    .action((text: string) => revert(cli, text));
}

async function revert(cli: Cli, text: string): Promise<void> {
  const { volume: word, snapshot } = parseSnapshotName(text);
  const call = { parameters: { volume: word }, body: { snapshot: snapshot ?? '' } };
  const volume = await cli.api((api) => api.revertVolume(call, { timeoutMilliseconds: revertTimeoutMilliseconds }));
  const kept = volume.snapshots.findLast(({ kind, takenAt }) => kind === 'safety' && takenAt !== null);
  cli.output.result(volume, () => [`Volume ${volume.name} is as it was at ${text}. What it held before: ${volume.name}@${kept?.name ?? ''}`]);
}
