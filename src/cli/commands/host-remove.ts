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
import { heldBy, plural } from '../volume-text.ts';

const removeTimeoutMilliseconds = 60_000;

export function addRemoveHostCommand(host: Command, cli: Cli): void {
  host
    .command('rm')
    .alias('remove')
    .description('take a host out of the cluster: an empty one, or with --lost one that does not run and does not come back')
    .argument('<host>', 'name or identifier', reference('host'))
    .option('--lost', 'your word that the host does not run: replicas take its volumes over')
    .option('--reason <text>', 'why; recorded, and needed with --lost')
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
  yes?: boolean;
}

async function removeHost(cli: Cli, word: string, { lost = false, reason = '', yes = false }: RemoveOptions): Promise<void> {
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
    const held = heldBy(host.id, volumes);
    if (!lost) refuseIfNotEmpty(host, held, volumes);
    const preview = [
      ...(lost ? lostRemarks(host) : [`${host.name} leaves the cluster. It holds no volumes and no replicas.`]),
      ...(await describeHeld(api, held, hostNames(hosts))),
      ...describeRest(host, volumes),
    ];
    await requireConsent(cli, { preview, question: `Remove host ${host.name}?`, yes });
    const body = { lost, ...(reason.trim() === '' ? {} : { reason }) };
    const outcome = await api.removeHost({ parameters: { host: word }, body }, { timeoutMilliseconds: removeTimeoutMilliseconds });
    output.result({ host: host.name, ...outcome }, () => [
      `Host ${host.name} is removed.`,
      ...(outcome.failedOver.length > 0 ? [`Taken over by replicas: ${outcome.failedOver.join(', ')}`] : []),
      ...(outcome.withoutCopy.length > 0 ? [`Without any copy now: ${outcome.withoutCopy.join(', ')}`] : []),
    ]);
  });
}

/** @throws wrong-state with the list of what is still there */
function refuseIfNotEmpty({ id, name, status }: HostView, held: readonly Volume[], volumes: readonly Volume[]): void {
  const replicas = volumes.filter((volume) => volume.replicas.includes(id) && !held.includes(volume));
  if (held.length === 0 && replicas.length === 0) return;
  const parts = [...(held.length > 0 ? [`holds ${names(held)}`] : []), ...(replicas.length > 0 ? [`has replicas of ${names(replicas)}`] : [])];
  const drain = `supercargo host drain ${name} --wait`;
  throw new SupercargoError('wrong-state', `Host ${name} ${parts.join(' and ')}.`, {
    hint:
      status === 'up'
        ? `Move them away first: ${drain}`
        : `Start it and move them away: ${drain}; if it never comes back: supercargo host rm ${name} --lost --reason TEXT`,
  });
}

function lostRemarks({ name, status }: HostView): string[] {
  return [
    ...(status === 'up'
      ? [`${name} ANSWERS at this moment. --lost is for a host that does not run: if it does, its containers write on into copies that do not count.`]
      : []),
    `You say that ${name} does not run and does not come back: it leaves the cluster, with whatever is on its disk.`,
  ];
}

/** What becomes of each volume that the host holds. */
async function describeHeld(api: Api, held: readonly Volume[], hostName: (word: string) => string): Promise<string[]> {
  const lines: string[] = [];
  for (const volume of held) lines.push(`  ${volume.name}: ${await describeFate(api, volume, hostName)}`);
  return lines;
}

async function describeFate(api: Api, { id }: Volume, hostName: (word: string) => string): Promise<string> {
  try {
    const [best] = (await api.previewFailover({ parameters: { volume: id } })).candidates;
    if (best === undefined) return 'has NO copy elsewhere; its data is lost';
    return `${hostName(best.host)} takes it over; lost at most what was written in the last ${formatDuration(best.lossMilliseconds)}`;
  } catch (error) {
    // One that is moving or being removed at this moment cannot be judged beforehand.
    if (isSupercargoError(error, 'wrong-state', 'move-in-progress', 'not-found')) return `cannot be told now: ${error.message}`;
    throw error;
  }
}

/** What else was there. */
function describeRest({ id, name }: HostView, volumes: readonly Volume[]): string[] {
  const replicas = volumes.filter((volume) => volume.replicas.includes(id));
  const kept = volumes.flatMap(({ name: volumeName, diverged }) =>
    diverged.filter(({ host }) => host === id).map(({ snapshot }) => `${volumeName} ${snapshot}`),
  );
  return [
    ...(replicas.length > 0 ? [`  ${plural(replicas.length, 'replica')} made anew elsewhere: ${names(replicas)}`] : []),
    ...(kept.length > 0 ? [`  kept snapshots that are on ${name} alone and go with it: ${kept.join(', ')}`] : []),
  ];
}

function names(volumes: readonly Volume[]): string {
  return volumes.map(({ name }) => name).join(', ');
}
