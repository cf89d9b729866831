import { CommanderError } from 'commander';
import { SupercargoError, toSupercargoError } from '../model/errors.ts';
import { Cli } from './cli.ts';
import type { CliDependencies } from './dependencies.ts';
import { ExitRequest, exitCodeOf, exitCodes } from './exit-codes.ts';
import { buildProgram } from './program.ts';

/**
 * Runs one command.
 * @param argv the words after the program's name
 * @returns the exit code; errors have been told to the user
 */
export async function runCli(argv: readonly string[], dependencies: CliDependencies): Promise<number> {
  const cli = new Cli(argv, dependencies);
  // A reader that has seen enough (`supercargo events --follow | head`) is no failure; where nobody reads errors, they are lost.
  dependencies.stdout.on?.('error', () => process.exit(exitCodes.ok));
  dependencies.stderr.on?.('error', () => undefined);
  // A usage error comes before the options are known.
  cli.output.json = argv.includes('--json');
  try {
    const program = buildProgram(cli);
    if (argv[0] === 'complete') {
      const { installCompletion } = await import('./completion.ts');
      await installCompletion(program, cli);
    }
    await program.parseAsync([...argv], { from: 'user' });
    return exitCodes.ok;
  } catch (error) {
    return reportError(cli, error);
  }
}

async function reportError(cli: Cli, error: unknown): Promise<number> {
  if (error instanceof ExitRequest) return error.exitCode;
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return exitCodes.ok;
    // A command group without a command: its help has been shown.
    if (error.code === 'commander.help') return exitCodes.usage;
    return reportError(cli, usageError(error));
  }
  if (error instanceof AggregateError) {
    const codes: number[] = [];
    for (const each of error.errors) codes.push(await reportError(cli, each));
    return codes[0] ?? exitCodes.failure;
  }
  const failure = toSupercargoError(error);
  const { toProblem } = cli.output.json ? await import('../protocol/problem.ts') : { toProblem: () => undefined };
  cli.output.error(failure, () => toProblem(failure));
  return exitCodeOf(failure.code);
}

function usageError({ message }: CommanderError): SupercargoError {
  const [words = '', suggestion] = message.replace(/^error: /, '').split('\n');
  return new SupercargoError('invalid-request', words, { hint: suggestion?.replaceAll(/[()]/g, '') ?? 'See: supercargo --help' });
}
