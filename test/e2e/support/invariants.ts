import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { expect } from 'vitest';
import type { Host } from '../../../testbed/lab.ts';
import { waitUntil } from '../../../testbed/process.ts';
import type { Move, Volume } from '../../../src/model/records.ts';
import type { Cluster } from './cluster.ts';

const pool = '/var/lib/supercargo/pool';

/** Generous, because several labs may share the machine; a healthy cluster settles in a second. */
const settleMilliseconds = 60_000;

/** What the name server has on record, asked through a host. */
export async function volumeRecord(cluster: Cluster, host: Host, name: string): Promise<Volume> {
  return cluster.query<Volume>(host, `/v1/volumes/${name}`);
}

/** The name of a host that a record names by its identifier; the identifier itself if there is no such host. */
export async function hostName(cluster: Cluster, asked: Host, identifier: string): Promise<string> {
  const { items } = await cluster.query<{ items: { id: string; name: string }[] }>(asked, '/v1/hosts');
  return items.find(({ id }) => id === identifier)?.name ?? identifier;
}

export async function openMoves(cluster: Cluster, host: Host): Promise<Move[]> {
  const { items } = await cluster.query<{ items: Move[] }>(host, '/v1/moves');
  return items.filter((move) => move.phase !== 'committed' && move.phase !== 'aborted');
}

/** Waits until no move is open and the volume has one holder. @returns its name */
async function settledHolder(cluster: Cluster, host: Host, name: string): Promise<string> {
  let holder = '';
  await waitUntil(
    `volume ${name} is settled`,
    async () => {
      const { placement } = await volumeRecord(cluster, host, name);
      if (placement.state !== 'held') return false;
      holder = placement.host;
      return true;
    },
    settleMilliseconds,
  );
  return hostName(cluster, host, holder);
}

/** Everything of a volume that is on a host and should not be there while nothing uses it; empty if all is in order. */
async function leftovers(cluster: Cluster, host: Host, name: string, holder: string): Promise<string[]> {
  const volume = await cluster.volumeOn(host, name);
  const found: string[] = [];
  if (volume !== undefined) {
    if (volume.references !== 0) found.push(`${volume.references} references`);
    if (volume.mounted) found.push('its mount');
    if (volume.uses.length > 0) found.push(`uses ${JSON.stringify(volume.uses)}`);
    if (volume.problem !== null) found.push(`the problem "${volume.problem}"`);
    if (host.name === holder && volume.live !== 'writable') found.push(`a live copy that is ${volume.live}`);
    if (host.name !== holder && volume.live !== 'absent') found.push(`a live copy that is ${volume.live}, though ${holder} holds it`);
    const granted = volume.grant?.startsWith('held') === true;
    if (granted !== (host.name === holder)) found.push(`the grant ${volume.grant}, though ${holder} holds it`);
    const mounts = readFileSync(`/proc/${host.pid}/mountinfo`, 'utf8').split('\n');
    if (mounts.some((line) => line.includes(`/mounts/${volume.id}`))) found.push('a mount at its mount point');
  } else if (host.name === holder) found.push('nothing, though it holds the volume');
  const incoming = host.path(`${pool}/incoming`);
  if (existsSync(incoming) && readdirSync(incoming).length > 0) found.push(`incoming ${readdirSync(incoming).join()}`);
  return found.map((each) => `${host.name} has ${each}`);
}

/**
 * Nothing uses the volume: it is on exactly one host, no move is open, and no host has anything left of what went on.
 * Agents tidy up a moment after they answered, so this waits; what is still there in the end is named.
 */
export async function expectClean(cluster: Cluster, name: string): Promise<string> {
  const hosts = cluster.lab.hosts.filter((host) => host.isUp);
  const first = hosts[0]!;
  const holder = await settledHolder(cluster, first, name);
  let left: string[] = [];
  await waitUntil(
    'nothing is left over',
    async () => {
      // A host that cannot be asked at this moment counts as unclean, and is named if it stays so.
      const found = hosts.map((host) => leftovers(cluster, host, name, holder).catch((error: unknown) => [`${host.name} says ${String(error)}`]));
      left = (await Promise.all(found)).flat();
      return left.length === 0;
    },
    settleMilliseconds,
  ).catch(() => undefined);
  expect(left).toEqual([]);
  expect((await openMoves(cluster, first)).filter((move) => move.volumeName === name)).toEqual([]);
  return holder;
}
