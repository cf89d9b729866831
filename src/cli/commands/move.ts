import type { Command } from 'commander';
import { isOver } from '../../model/placement.ts';
import { examples } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { formatAge, parseDuration } from '../format.ts';
import { describeMove } from '../move-text.ts';

export function addMoveCommands(program: Command, cli: Cli): void {
  const move = program.command('move').description('show and cancel moves (begin one: supercargo volume move)');

  move
    .command('ls')
    .alias('list')
    .description('list the moves that go on')
    .option('--all', 'list those that ended as well')
    .addHelpText('after', examples('supercargo move ls', 'supercargo move ls --all --json'))
    .action((options: { all?: boolean }) => listMoves(cli, options.all ?? false));

  move
    .command('follow')
    .description('show a move until it ends')
    .argument('<move>', 'identifier of the move')
    .option('--timeout <duration>', 'stop waiting after this time; the move goes on', (text: string) => parseDuration('--timeout', text))
    .addHelpText('after', examples('supercargo move follow mov_0123456789abcdef01234567'))
    .action((id: string, options: { timeout?: number }) => followOne(cli, id, options.timeout));

  move
    .command('cancel')
    .description('end a move before the destination holds the volume; the volume stays where it is')
    .argument('<move>', 'identifier of the move')
    .addHelpText('after', examples('supercargo move cancel mov_0123456789abcdef01234567'))
    .action((id: string) => cancelMove(cli, id));
}

async function listMoves(cli: Cli, all: boolean): Promise<void> {
  const [{ items }, { items: hosts }] = await cli.api((api) => Promise.all([api.listMoves({}), api.listHosts({})]));
  const names = new Map(hosts.map(({ id, name }) => [id, name]));
  const moves = all ? items : items.filter((move) => !isOver(move));
  const rows = moves.map((move) => [
    move.id,
    move.reason,
    move.phase,
    formatAge(move.startedAt, Date.now()),
    describeMove(move, (id) => names.get(id) ?? id),
  ]);
  cli.output.table(moves, ['MOVE', 'REASON', 'PHASE', 'AGE', 'PROGRESS'], rows);
}

async function followOne(cli: Cli, id: string, timeoutMilliseconds: number | undefined): Promise<void> {
  const { followAndReport } = await import('../follow-move.ts');
  await cli.api(async (api) => {
    const move = await api.getMove({ parameters: { move: id } });
    await followAndReport(move, { api, output: cli.output, timeoutMilliseconds });
  });
}

async function cancelMove(cli: Cli, id: string): Promise<void> {
  const move = await cli.api((api) => api.cancelMove({ parameters: { move: id } }));
  cli.output.result(move, () => [`Cancelled; volume ${move.volumeName} stays where it is.`]);
}
