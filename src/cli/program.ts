import { Command, Option } from 'commander';
import { examples } from './cli.ts';
import type { Cli } from './cli.ts';
import { addAuditCommands } from './commands/audit.ts';
import { addApplicationCommands } from './commands/application.ts';
import { addAuthorityCommands } from './commands/authority.ts';
import { addClassCommands } from './commands/class.ts';
import { addClusterCommands } from './commands/cluster.ts';
import { addCompletionCommand } from './commands/completion.ts';
import { addDaemonCommands } from './commands/daemon.ts';
import { addDoctorCommand } from './commands/doctor.ts';
import { addEventCommands } from './commands/events.ts';
import { addGrantCommands } from './commands/grant.ts';
import { addHostCommands } from './commands/host.ts';
import { addKeyCommands } from './commands/key.ts';
import { addMoveCommands } from './commands/move.ts';
import { addProjectCommands } from './commands/project.ts';
import { addRevokeCommands } from './commands/revoke.ts';
import { addSnapshotCommands } from './commands/snapshot.ts';
import { addUserCommands } from './commands/user.ts';
import { addVersionCommand } from './commands/version.ts';
import { addVolumeCommands } from './commands/volume.ts';
import { addWhereCommand } from './commands/where.ts';
import { exitCodeHelp } from './exit-codes.ts';

/** The whole command line, without running anything. */
export function buildProgram(cli: Cli): Command {
  const { output, dependencies } = cli;
  const program = new Command('supercargo')
    .description('The data layer for containers: volumes that follow their container between hosts.')
    // Before the commands are added, because they inherit these.
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void dependencies.stdout.write(text),
      writeErr: (text) => void dependencies.stderr.write(text),
      outputError: () => {},
    })
    .configureHelp({ showGlobalOptions: true })
    .showSuggestionAfterError()
    .version(dependencies.version, '-V, --version')
    .addOption(new Option('--json', 'print results as JSON on standard output, errors as a problem document on standard error'))
    .addOption(new Option('--run-directory <path>', 'directory of the sockets').env('SUPERCARGO_RUN_DIRECTORY').default(cli.runDirectory))
    .addHelpText(
      'after',
      `${examples('supercargo up --detach', 'supercargo volume create pgdata --size 10G', 'docker run -v pgdata:/data --volume-driver supercargo …', 'supercargo where pgdata')}\n\n${exitCodeHelp}`,
    )
    .hook('preAction', (_, command) => {
      const options = command.optsWithGlobals<{ json?: boolean; runDirectory: string }>();
      output.json = options.json ?? false;
      cli.runDirectory = options.runDirectory;
    });
  const groups = [
    ['Hosts:', addDaemonCommands, addClusterCommands, addHostCommands, addAuthorityCommands, addDoctorCommand],
    ['Volumes:', addVolumeCommands, addSnapshotCommands, addMoveCommands, addWhereCommand, addClassCommands, addKeyCommands, addEventCommands],
    ['Who may use what:', addProjectCommands, addApplicationCommands, addGrantCommands, addRevokeCommands, addUserCommands, addAuditCommands],
    ['Other:', addCompletionCommand, addVersionCommand],
  ] as const;
  for (const [heading, ...adders] of groups) {
    program.commandsGroup(heading);
    for (const add of adders) add(program, cli);
  }
  return program;
}
