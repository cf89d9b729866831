import { Option } from 'commander';
import type { Command } from 'commander';
import { defaultPluginSocket, examples } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { ExitRequest, exitCodes } from '../exit-codes.ts';
import { printable } from '../format.ts';
import type { Finding } from '../doctor/finding.ts';

export function addDoctorCommand(program: Command, cli: Cli): void {
  program
    .command('doctor')
    .description('find what is wrong with Supercargo on this host and say what to do; exit code 1 if something is')
    .addOption(new Option('--plugin-socket <path>', 'socket for Docker').env('SUPERCARGO_PLUGIN_SOCKET').default(defaultPluginSocket))
    .addOption(new Option('--docker-socket <path>', 'socket of Docker').env('SUPERCARGO_DOCKER_SOCKET').default('/run/docker.sock'))
    .addOption(new Option('--docker-pid-file <path>', 'file with the process number of Docker').default('/run/docker.pid'))
    .addHelpText('after', examples('sudo supercargo doctor', 'sudo supercargo doctor --json'))
    .action((options: DoctorOptions) => examine(cli, options));
}

interface DoctorOptions {
  pluginSocket: string;
  dockerSocket: string;
  dockerPidFile: string;
}

async function examine(cli: Cli, options: DoctorOptions): Promise<void> {
  const { examineHost } = await import('../doctor/examine.ts');
  const findings = await examineHost({
    ...options,
    runDirectory: cli.runDirectory,
    execute: cli.dependencies.execute,
    askAgent: (work) => cli.agent(work),
  });
  cli.output.result(findings, () => findings.flatMap((finding) => describe(cli, finding)));
  if (findings.some(({ level }) => level === 'problem')) throw new ExitRequest(exitCodes.failure);
}

const colours = { ok: 'green', warning: 'yellow', problem: 'red' } as const;

function describe({ output }: Cli, { level, text, advice }: Finding): string[] {
  const line = `${output.coloured(colours[level], level.padEnd('problem'.length))}  ${printable(text)}`;
  return advice === null ? [line] : [line, `${' '.repeat('problem'.length)}  -> ${printable(advice)}`];
}
