import type { Command } from 'commander';
import { formatDuration } from '../../model/duration.ts';
import { isSupercargoError, SupercargoError } from '../../model/errors.ts';
import type { Volume } from '../../model/records.ts';
import type { HostView } from '../../protocol/routes.ts';
import { examples, reference } from '../cli.ts';
import type { Cli } from '../cli.ts';
import type { Api } from '../connection.ts';
import { requireConsent } from '../consent.ts';
import { hostNames } from '../host-names.ts';
import { contentOf, listNames, plural } from '../volume-text.ts';
import type { HostContent } from '../volume-text.ts';

const removeTimeoutMilliseconds = 60_000;

export function addRemoveHostCommand(host: Command, cli: Cli): void {
  host
    .command('rm')
    .alias('remove')
    .description('take a host out of the cluster: an empty one, or with --lost one that does not run and does not come back')
    .argument('<host>', 'name or identifier', reference('host'))
    .option('--lost', 'your word that the host does not run: replicas take its volumes over')
    .option('--reason <text>', 'why; recorded, and needed with --lost')
    .option('--abandon-volumes', 'with --lost: also give up the volumes whose only copy is on that host')
    .option('--yes', 'do not ask')
    .addHelpText(
      'after',
      examples('supercargo host drain h3 --wait && supercargo host rm h3 --yes', 'supercargo host rm h2 --lost --reason "power supply burnt"'),
    )
    .action((word: string, options: RemoveOptions) => removeHost(cli, word, options));
}

interface RemoveOptions {
  lost?: boolean;
  reason?: string;
  abandonVolumes?: boolean;
  yes?: boolean;
}

async function removeHost(cli: Cli, word: string, { lost = false, reason = '', abandonVolumes = false, yes = false }: RemoveOptions): Promise<void> {
  const { output } = cli;
  if (lost && reason.trim() === '') {
    throw new SupercargoError('invalid-option', 'A lost host is removed on your word alone, which needs a reason; it is recorded.', {
      hint: 'Give --reason TEXT.',
    });
  }
  await cli.api(async (api) => {
    const [host, { items: volumes }, { items: hosts }] = await Promise.all([
      api.getHost({ parameters: { host: word } }),
      api.listVolumes({}),
      api.listHosts({}),
    ]);
    const content = contentOf(host.id, volumes);
    const preview = lost
      ? await describeLost(api, host, content, { volumes, hostName: hostNames(hosts) })
      : [`${host.name} leaves the cluster. Nothing is on it. To come back it joins as a new host.`];
    const refusal = lost ? null : refusalOf(host, content);
    if (refusal !== null) throw refusal;
    await requireConsent(cli, { preview, question: `Remove host ${host.name}?`, yes });
    const body = { lost, abandonVolumes, ...(reason.trim() === '' ? {} : { reason }) };
    const outcome = await api.removeHost({ parameters: { host: word }, body }, { timeoutMilliseconds: removeTimeoutMilliseconds });
    output.result({ host: host.name, ...outcome }, () => [
      `Host ${host.name} is removed.`,
      ...(outcome.failedOver.length > 0 ? [`Taken over by replicas: ${outcome.failedOver.join(', ')}`] : []),
      ...(outcome.withoutCopy.length > 0 ? [`Given up, with their data: ${outcome.withoutCopy.join(', ')}`] : []),
    ]);
  });
}

/** What is still there, and what to do about it; null if the host can go. */
function refusalOf({ name, status }: HostView, { held, arriving, replicas, kept, leftovers }: HostContent): SupercargoError | null {
  const copies = [...replicas, ...leftovers];
  const parts = [
    held.length > 0 ? `holds ${listNames(held)}` : '',
    arriving.length > 0 ? `is about to get ${listNames(arriving)}` : '',
    copies.length > 0 ? `has copies of ${listNames(copies)}` : '',
    kept.length > 0 ? `keeps what was written there to ${listNames(kept)}` : '',
  ].filter((each) => each !== '');
  if (parts.length === 0) return null;
  const drain = `supercargo host drain ${name} --wait`;
  const onlyKept = parts.length === 1 && kept.length > 0;
  const hint = onlyKept
    ? 'Restore or forget it: supercargo volume inspect NAME shows how.'
    : status === 'up'
      ? `Move them away first: ${drain}`
      : `Start it and move them away: ${drain}; if it never comes back: supercargo host rm ${name} --lost --reason TEXT`;
  return new SupercargoError('wrong-state', `Host "${name}" ${parts.join(', and ')}.`, { hint });
}

/** What the loss of a host means, volume by volume. @throws wrong-state where the name server would refuse, before anybody is asked */
async function describeLost(
  api: Api,
  { id, name, status }: HostView,
  { held, replicas }: HostContent,
  { volumes, hostName }: { volumes: readonly Volume[]; hostName: (word: string) => string },
): Promise<string[]> {
  if (status === 'up') {
    throw new SupercargoError('wrong-state', `Host "${name}" is up; --lost is for one that does not run.`, {
      hint: `supercargo host drain ${name} --wait empties it; if it has just gone, try again when supercargo host ls shows it as down.`,
    });
  }
  const kept = volumes.flatMap((volume) => volume.diverged.filter(({ host }) => host === id).map(({ snapshot }) => `${volume.name} ${snapshot}`));
  const fates: string[] = [];
  for (const volume of held) fates.push(`  ${volume.name}: ${await describeFate(api, volume, hostName)}`);
  return [
    `You say that ${name} does not run and does not come back: it leaves the cluster, with whatever is on its disk.`,
    ...fates,
    ...(replicas.length > 0 ? [`  ${plural(replicas.length, 'replica')} to be made anew elsewhere: ${listNames(replicas)}`] : []),
    ...(kept.length > 0 ? [`  kept snapshots that are on ${name} alone and go with it: ${kept.join(', ')}`] : []),
  ];
}

async function describeFate(api: Api, { id }: Volume, hostName: (word: string) => string): Promise<string> {
  try {
    const [best] = (await api.previewFailover({ parameters: { volume: id } })).candidates;
    if (best === undefined) return 'NO other host that is up has a copy';
    return `${hostName(best.host)} takes it over; lost at most what was written in the last ${formatDuration(best.lossMilliseconds)}`;
  } catch (error) {
    // One that is moving or being removed at this moment cannot be judged beforehand.
    if (isSupercargoError(error, 'wrong-state', 'move-in-progress', 'not-found')) return `cannot be told now: ${error.message}`;
    throw error;
  }
}
