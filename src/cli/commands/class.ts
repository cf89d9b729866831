import type { Command } from 'commander';
import { examples } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { formatLimit } from '../format.ts';

export function addClassCommands(program: Command, cli: Cli): void {
  program
    .command('class')
    .description('show the classes of volumes')
    .command('ls')
    .alias('list')
    .description('list all classes')
    .addHelpText('after', examples('supercargo class ls', 'supercargo class ls --json'))
    .action(async () => {
      const { items } = await cli.api((api) => api.listClasses({}));
      const rows = items.map((each) => [each.name, each.driver, formatLimit(each.sizeBytes), formatLimit(each.maximumSizeBytes), each.description]);
      cli.output.table(items, ['NAME', 'DRIVER', 'DEFAULT SIZE', 'MAXIMUM SIZE', 'DESCRIPTION'], rows);
    });
}
