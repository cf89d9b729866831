import type { Command } from 'commander';
import type { AuditEntry, AuditHead } from '../../model/audit.ts';
import { SupercargoError } from '../../model/errors.ts';
import type { CheckpointView } from '../../protocol/audit-routes.ts';
import { examples } from '../cli.ts';
import type { Cli } from '../cli.ts';
import type { Api } from '../connection.ts';
import { printable } from '../format.ts';

const pageSize = 500;

interface Filter {
  denied?: boolean;
  actor?: string;
  subject?: string;
  last: number;
}

export function addAuditCommands(program: Command, cli: Cli): void {
  const audit = program.command('audit').description('who did what, who was refused, and proof that nothing of it was changed');

  audit
    .command('ls')
    .alias('list')
    .description('show the newest entries of the audit log')
    .option('-n, --last <count>', 'how many', parseCount, 50)
    .option('--denied', 'only what was refused')
    .option('--actor <text>', 'only entries whose actor contains this')
    .option('--subject <text>', 'only entries whose subject contains this')
    .addHelpText('after', examples('supercargo audit ls --denied', 'supercargo audit ls --subject orders --json'))
    .action((filter: Filter) => listEntries(cli, filter));

  audit
    .command('verify')
    .description('follow the chain of the whole log, and compare it with every signed checkpoint')
    .addHelpText('after', examples('supercargo audit verify', 'supercargo audit verify --json'))
    .action(() => verifyLog(cli));
}

function parseCount(text: string): number {
  const count = /^\d+$/.test(text) ? Number(text) : 0;
  if (Number.isSafeInteger(count) && count > 0) return count;
  throw new SupercargoError('invalid-option', `Option "--last" is not a number from 1: ${JSON.stringify(text)}.`);
}

async function listEntries(cli: Cli, { denied, actor = '', subject = '', last }: Filter): Promise<void> {
  const kept: AuditEntry[] = [];
  await cli.api(async (api) => {
    for await (const entry of allEntries(api)) {
      if ((denied && entry.verdict !== 'deny') || !entry.actor.includes(actor) || !entry.subject.includes(subject)) continue;
      kept.push(entry);
      if (kept.length > last) kept.shift();
    }
  });
  cli.output.table(
    kept,
    ['TIME', 'VERDICT', 'ACTOR', 'ACTION', 'SUBJECT', 'REASON'],
    kept.map((entry) => [entry.time, entry.verdict, entry.actor, entry.action, entry.subject, printable(reasonOf(entry))]),
  );
}

function reasonOf({ reason, times }: AuditEntry): string {
  return times === 1 ? reason : `${reason} (${times} times)`;
}

async function* allEntries(api: Api): AsyncGenerator<AuditEntry> {
  for (let after = 0; ;) {
    const { items } = await api.listAudit({ query: { after, limit: pageSize } });
    yield* items;
    const newest = items.at(-1);
    if (newest === undefined) return;
    after = newest.sequence;
  }
}

async function verifyLog(cli: Cli): Promise<void> {
  const { head, checkpoints } = await cli.api(async (api) => {
    const pending = await allCheckpoints(api);
    return { checkpoints: pending.items.length, head: await follow(cli, api, pending) };
  });
  cli.output.result({ entries: head.sequence, digest: head.digest, checkpoints }, () => [
    `The log is whole: ${head.sequence} entries, ${checkpoints} signed checkpoints, all of which fit.`,
    `Its end: entry ${head.sequence}, ${head.digest}`,
  ]);
}

interface Checkpoints {
  items: CheckpointView[];
  authorities: string[];
}

async function allCheckpoints(api: Api): Promise<Checkpoints> {
  const all: Checkpoints = { items: [], authorities: [] };
  for (let after = 0; ;) {
    const { items, authorities } = await api.listCheckpoints({ query: { after, limit: pageSize } });
    all.items.push(...items);
    all.authorities = authorities;
    const newest = items.at(-1);
    if (newest === undefined) return all;
    after = newest.sequence;
  }
}

/** @throws stream-corrupt that names the first entry or checkpoint that does not fit */
async function follow(cli: Cli, api: Api, { items, authorities }: Checkpoints): Promise<AuditHead> {
  const { emptyLog, followChain } = await import('../../model/audit.ts');
  let head: AuditHead | null = null;
  const pending = new Map(items.map((checkpoint) => [checkpoint.sequence, checkpoint]));
  for await (const entry of allEntries(api)) {
    // The oldest that is kept says what came before it.
    head ??= entry.sequence === 1 ? emptyLog : { sequence: entry.sequence - 1, digest: entry.previous };
    const followed = followChain([entry], head);
    if ('broken' in followed) throw changed(`entry ${entry.sequence} does not follow from the one before`);
    head = followed.head;
    const checkpoint = pending.get(head.sequence);
    if (checkpoint === undefined) continue;
    const signed = await cli.dependencies.readCheckpoint(checkpoint.statement, authorities, checkpoint.at);
    if (signed.sequence !== head.sequence || signed.digest !== head.digest)
      throw changed(`entry ${head.sequence} is not what was signed at ${signed.at}`);
  }
  const end = head ?? emptyLog;
  const beyond = items.find(({ sequence }) => sequence > end.sequence);
  if (beyond !== undefined) throw changed(`it was signed up to entry ${beyond.sequence}, but ends at ${end.sequence}`);
  return end;
}

function changed(what: string): SupercargoError {
  return new SupercargoError('stream-corrupt', `The audit log was changed: ${what}.`, {
    hint: 'Compare it with a copy that was kept elsewhere; whoever changed it could write to the name server’s directory.',
  });
}
