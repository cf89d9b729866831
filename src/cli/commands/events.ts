import type { Command } from 'commander';
import { SupercargoError } from '../../model/errors.ts';
import type { EventView } from '../../protocol/routes.ts';
import { examples } from '../cli.ts';
import type { Cli } from '../cli.ts';
import type { Api } from '../connection.ts';
import { printable } from '../format.ts';

const maximumEvents = 1000;

export function addEventCommands(program: Command, cli: Cli): void {
  program
    .command('events')
    .description('show what happened in the cluster')
    .option('-f, --follow', 'go on with what happens from now on, until Ctrl-C')
    .option('-n, --last <count>', 'how many past events', parseCount, 10)
    .addHelpText('after', examples('supercargo events --last 100', 'supercargo events --follow --json'))
    .action(({ follow, last }: { follow?: boolean; last: number }) => showEvents(cli, follow ?? false, last));
}

function parseCount(text: string): number {
  const count = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!(count <= maximumEvents)) {
    throw new SupercargoError('invalid-option', `Option "--last" is not a number from 0 to ${maximumEvents}: ${JSON.stringify(text)}.`);
  }
  return count;
}

async function showEvents(cli: Cli, follow: boolean, last: number): Promise<void> {
  const show = (event: EventView): void => cli.output.item(event, () => describeEvent(event));
  await cli.api(async (api) => {
    if (!follow) return (await lastEvents(api, last)).forEach(show);
    for await (const event of api.followEvents({ query: { last } })) {
      if (event !== null) show(event);
    }
  });
}

/** The history is asked for in pages from its beginning, and only its end is kept. */
async function lastEvents(api: Api, count: number): Promise<EventView[]> {
  let kept: EventView[] = [];
  let after = 0;
  for (;;) {
    const { items } = await api.listEvents({ query: { after, limit: maximumEvents } });
    const newest = items.at(-1);
    if (newest === undefined) return kept;
    kept = count === 0 ? [] : [...kept, ...items].slice(-count);
    if (items.length < maximumEvents) return kept;
    after = newest.sequence;
  }
}

function describeEvent({ time, type, subject, actor, message }: EventView): string {
  return printable(`${time}  ${type}  ${subject}  ${message} (${actor})`);
}
