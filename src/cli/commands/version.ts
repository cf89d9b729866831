import type { Command } from 'commander';
import type { Cli } from '../cli.ts';

export function addVersionCommand(program: Command, cli: Cli): void {
  program
    .command('version')
    .description('show the version of this program')
    .action(() => {
      const { version } = cli.dependencies;
      cli.output.result({ version, node: process.versions.node }, () => [`supercargo ${version} (Node ${process.versions.node})`]);
    });
}
