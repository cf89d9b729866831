import { Argument } from 'commander';
import type { Command } from 'commander';
import { examples } from '../cli.ts';

export function addCompletionCommand(program: Command): void {
  program
    .command('completion')
    .description('print a script that makes the shell complete commands, volumes and hosts')
    .addArgument(new Argument('<shell>').choices(['bash', 'zsh', 'fish']))
    .addHelpText('after', examples('source <(supercargo completion bash)', 'supercargo completion fish > ~/.config/fish/completions/supercargo.fish'))
    .action(async (shell: string) => {
      const { default: completion } = await import('@bomb.sh/tab');
      completion.setup(program.name(), program.name(), shell);
    });
}
