import type { Command } from 'commander';
import { examples, reference } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { parseDuration } from '../format.ts';
import { listNames, plural } from '../volume-text.ts';

/** The name server looks first where everything fits. */
const drainTimeoutMilliseconds = 60_000;

export function addDrainCommands(host: Command, cli: Cli): void {
  host
    .command('drain')
    .description('move all volumes and replicas away; given again, it goes on. What is in use moves when its users have stopped')
    .argument('<host>', 'name or identifier', reference('host'))
    .option('--wait', 'show the progress and return when the host is empty')
    .option('--timeout <duration>', 'wait no longer than this, for example 1h; the draining goes on', (text: string) =>
      parseDuration('--timeout', text),
    )
    .addHelpText('after', examples('supercargo host drain h1 --wait', 'supercargo host drain h1 --timeout 30m', 'supercargo host drain h1 --json'))
    .action((word: string, { wait, timeout }: { wait?: boolean; timeout?: number }) =>
      drainHost(cli, word, { wait: wait === true || timeout !== undefined, timeoutMilliseconds: timeout }),
    );

  host
    .command('activate')
    .description('end the draining of a host: it gets volumes and replicas again')
    .argument('<host>', 'name or identifier', reference('host'))
    .addHelpText('after', examples('supercargo host activate h1'))
    .action(async (word: string) => {
      await cli.api((api) => api.activateHost({ parameters: { host: word } }));
      cli.output.result({ host: word, state: 'active' }, () => [`Host ${word} is active.`]);
    });
}

interface Waiting {
  wait: boolean;
  timeoutMilliseconds: number | undefined;
}

async function drainHost(cli: Cli, word: string, { wait, timeoutMilliseconds }: Waiting): Promise<void> {
  const { output } = cli;
  await cli.api(async (api) => {
    const counts = await api.drainHost({ parameters: { host: word } }, { timeoutMilliseconds: drainTimeoutMilliseconds });
    const host = await api.getHost({ parameters: { host: word } });
    const { name } = host;
    if (!wait) {
      output.result({ host: name, ...counts }, () => [
        `${plural(counts.held, 'volume')} and ${plural(counts.replicas, 'replica')} move away from ${name}, which gets nothing new.`,
      ]);
      if (!output.json) output.note(`Follow it: supercargo host drain ${name} --wait; end it: supercargo host activate ${name}`);
      return;
    }
    const [{ followDrain }, { withInterrupt }] = await Promise.all([import('../follow-drain.ts'), import('../interrupt.ts')]);
    const kept = await withInterrupt((interrupt) => followDrain(host, { api, output, interrupt, timeoutMilliseconds }));
    output.result({ host: name, held: 0, replicas: 0, kept: kept.map((volume) => volume.name) }, () => [
      kept.length === 0 ? `Host ${name} is empty and gets nothing new.` : `Host ${name} is empty but for what is kept there of ${listNames(kept)}.`,
    ]);
    if (output.json) return;
    if (kept.length > 0) output.note('Restore or forget it before the host is removed: supercargo volume inspect NAME shows what it is.');
    output.note(`Take it out of the cluster: supercargo host rm ${name}; give it work again: supercargo host activate ${name}`);
  });
}
