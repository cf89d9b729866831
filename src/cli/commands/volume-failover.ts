import { Option } from 'commander';
import type { Command } from 'commander';
import { formatDuration } from '../../model/duration.ts';
import { SupercargoError } from '../../model/errors.ts';
import type { FailoverPreview } from '../../protocol/protection-routes.ts';
import { examples, reference } from '../cli.ts';
import type { Cli } from '../cli.ts';
import type { Api } from '../connection.ts';
import { requireConsent } from '../consent.ts';
import { printable } from '../format.ts';
import { hostNames } from '../host-names.ts';
import { describeLoss } from './volume-inspect.ts';

type Candidate = FailoverPreview['candidates'][number];

export function addFailoverCommand(volume: Command, cli: Cli): void {
  volume
    .command('failover')
    .description('let a replica take the place of a holder that is lost; says first what is lost by it')
    .argument('<volume>', 'name or identifier', reference('volume'))
    .option('--to <host>', 'host that takes over (default: the one with the newest copy)', reference('host'))
    .option('--reason <text>', 'why; recorded')
    .option('--holder-is-off', 'your word that the holder does not run')
    .addOption(new Option('--dry-run', 'only say what would happen').conflicts('yes'))
    .option('--yes', 'do not ask')
    .addHelpText(
      'after',
      examples(
        'supercargo volume failover pgdata --dry-run',
        'supercargo volume failover pgdata --reason "h1 has a broken disk" --holder-is-off',
        'supercargo volume failover pgdata --to h3 --reason "h1 burnt down" --holder-is-off --yes --json',
      ),
    )
    .action((word: string, options: FailoverOptions) => failOver(cli, word, options));
}

interface FailoverOptions {
  to?: string;
  reason?: string;
  holderIsOff?: boolean;
  dryRun?: boolean;
  yes?: boolean;
}

async function failOver(cli: Cli, word: string, options: FailoverOptions): Promise<void> {
  const { output } = cli;
  const { to, reason = '', holderIsOff = false, dryRun = false, yes = false } = options;
  await cli.api(async (api) => {
    const { preview, hostName } = await previewOf(api, word);
    const wanted = to === undefined ? undefined : hostName(to);
    const candidate = wanted === undefined ? preview.candidates[0] : preview.candidates.find(({ host }) => host === wanted);
    const lines = describePreview(preview, candidate, holderIsOff);
    if (dryRun) return output.result(preview, () => lines.map(printable));
    if (candidate === undefined) throw noCandidate(preview, wanted);
    const refusal = refusalOf(preview, candidate, { reason, holderIsOff });
    if (refusal !== null) {
      if (!output.json) for (const line of lines) output.note(printable(line));
      throw refusal;
    }
    await requireConsent(cli, { preview: lines, question: `Let ${candidate.host} take ${preview.volume} over?`, yes });
    const after = await api.failOver({
      parameters: { volume: word },
      // Named, so that it is the host of the preview also if another has become newer since.
      body: { epoch: preview.epoch, to: candidate.host, reason, holderIsOff },
    });
    const { lastFailover } = after;
    output.result(after, () => [
      `${after.name} is held by ${candidate.host} under epoch ${after.epoch}.${lastFailover === null ? '' : ` Lost: ${describeLoss(lastFailover)}.`}`,
    ]);
  });
}

/** What the name server would refuse; said before anybody is asked. */
function refusalOf(
  { volume, holder, holderStatus, automatic }: FailoverPreview,
  { host }: Candidate,
  { reason, holderIsOff }: { reason: string; holderIsOff: boolean },
): SupercargoError | null {
  if (holderStatus === 'up') {
    return new SupercargoError('wrong-state', `Host "${holder}" is up, so volume "${volume}" leaves it by a move.`, {
      hint: `supercargo volume move ${volume} --to ${host}; if ${holder} has just gone, try again when supercargo host ls shows it as down.`,
    });
  }
  if (!holderIsOff) {
    return automatic
      ? new SupercargoError('wrong-state', `Volume "${volume}" fails over by itself as soon as the lease of ${holder} has run out.`, {
          hint: `Wait for it, or, if you know that ${holder} does not run, say so: --holder-is-off`,
        })
      : new SupercargoError('wrong-state', `${holder} does not answer, but its containers may still run and write to volume "${volume}".`, {
          hint: `Make sure that ${holder} is switched off, then say so: --holder-is-off`,
        });
  }
  if (reason.trim() !== '') return null;
  return new SupercargoError('invalid-option', 'A failover needs a reason, which is recorded.', {
    hint: `Give --reason TEXT; to look only: supercargo volume failover ${volume} --dry-run`,
  });
}

/** The preview, with the names of hosts throughout. */
async function previewOf(api: Api, word: string): Promise<{ preview: FailoverPreview; hostName: (word: string) => string }> {
  const [preview, { items: hosts }] = await Promise.all([api.previewFailover({ parameters: { volume: word } }), api.listHosts({})]);
  const hostName = hostNames(hosts);
  const candidates = preview.candidates.map((candidate) => ({ ...candidate, host: hostName(candidate.host) }));
  return { preview: { ...preview, holder: hostName(preview.holder), candidates }, hostName };
}

/** What a failover would do, in words. */
function describePreview(preview: FailoverPreview, candidate: Candidate | undefined, holderIsOff: boolean): string[] {
  const { volume, holder, holderStatus, automatic, candidates } = preview;
  if (candidate === undefined) return [`${volume} is held by ${holder}, which is ${holderStatus}. ${describeCandidates(candidates)}`];
  const lines = [
    `${candidate.host} takes ${volume} over from ${holder}, which is ${holderStatus}.`,
    `Lost at most: what was written in the last ${formatDuration(candidate.lossMilliseconds)} (after ${candidate.takenAt}).`,
  ];
  const others = candidates.filter((each) => each !== candidate);
  if (others.length > 0) lines.push(`Instead: ${others.map(describeCandidate).join('; ')}.`);
  if (holderStatus === 'up') {
    lines.push(`While ${holder} is up this is refused. Nothing is lost by: supercargo volume move ${volume} --to ${candidate.host}`);
    return lines;
  }
  if (automatic) lines.push(`The name server does this by itself when the lease of ${holder} has run out.`);
  if (holderIsOff) {
    lines.push(`You say that ${holder} does not run. If it does, its containers write on, into a copy that does not count any more.`);
  } else if (!automatic) {
    lines.push(`${holder} does not stop its containers by itself. Make sure that it does not run, and say so: --holder-is-off`);
  }
  lines.push(`What ${holder} has written beyond that is kept there as a snapshot when it comes back (supercargo volume inspect ${volume}).`);
  return lines;
}

function describeCandidate({ host, lossMilliseconds }: Candidate): string {
  return `${host} (${formatDuration(lossMilliseconds)})`;
}

function describeCandidates(candidates: readonly Candidate[]): string {
  return candidates.length === 0
    ? 'No other host that is up has a copy that could take over.'
    : `These could take over: ${candidates.map(describeCandidate).join('; ')}.`;
}

function noCandidate({ volume, holder, candidates }: FailoverPreview, wanted: string | undefined): SupercargoError {
  const subject = wanted === undefined ? `Nothing can take volume "${volume}" over.` : `Host ${wanted} cannot take volume "${volume}" over.`;
  return new SupercargoError('wrong-state', `${subject} ${describeCandidates(candidates)}`, {
    hint:
      candidates.length > 0
        ? 'Choose one of them with --to HOST.'
        : `Bring ${holder} back, or a host with a replica; supercargo volume inspect ${volume} shows its copies.`,
  });
}
