import { SupercargoError } from '../model/errors.ts';
import type { Project } from '../model/access.ts';
import { isNamed } from '../model/placement.ts';
import { defaultProject, volumeRecord } from '../model/records.ts';
import type { Volume } from '../model/records.ts';
import { formatSize } from '../model/size.ts';
import type { ProjectView } from '../protocol/access-routes.ts';
import { comeInto } from './newcomers.ts';
import { keys } from './keys.ts';
import type { Repository, Transaction } from './repository.ts';

/** What a project has, by the records of its volumes: counted anew each time, so that no sum can go wrong. */
export function usageOf(project: string, volumes: readonly Volume[]): ProjectView['usage'] {
  const own = volumes.filter((volume) => volume.project === project && isNamed(volume));
  const limited = own.flatMap(({ sizeBytes }) => sizeBytes ?? []);
  return { volumes: own.length, bytes: limited.reduce((sum, bytes) => sum + bytes, 0), unlimited: own.length - limited.length };
}

/**
 * Takes a new volume into its project, in the transaction that makes it.
 * @throws quota-exceeded with the numbers; invalid-option if the project's quota needs a size limit and the volume has none
 */
export async function admitVolume(
  repository: Repository,
  transaction: Transaction,
  project: Project,
  { id, name, sizeBytes }: Pick<Volume, 'id' | 'name' | 'sizeBytes'>,
): Promise<void> {
  const { quota } = project;
  const isLimited = quota.bytes !== null || quota.volumes !== null;
  // Nobody counts what is in the default project, or takes it away: its volumes are made without regard to each other.
  if (project.id === defaultProject.id && !isLimited) return;
  await comeInto(transaction, project.id, id);
  if (!isLimited) return;
  const used = usageOf(project.id, await repository.list(keys.volumes, volumeRecord));
  if (quota.volumes !== null && used.volumes >= quota.volumes) {
    throw exceeded(project, `has ${used.volumes} volumes and may have ${quota.volumes}`, `volume "${name}"`);
  }
  if (quota.bytes === null) return;
  if (sizeBytes === null) {
    throw new SupercargoError(
      'invalid-option',
      `Volume "${name}" needs a size limit: all volumes of project "${project.name}" may have ${formatSize(quota.bytes)} together.`,
      { hint: 'Give it one: --size 1G (with Docker -o size=1G), or use a class that has one.' },
    );
  }
  if (used.bytes + sizeBytes > quota.bytes) {
    const has = `has volumes of ${formatSize(used.bytes)} and may have ${formatSize(quota.bytes)}`;
    throw exceeded(project, has, `volume "${name}" of ${formatSize(sizeBytes)}`);
  }
}

function exceeded({ name }: Project, has: string, newcomer: string): SupercargoError {
  return new SupercargoError('quota-exceeded', `Project "${name}" ${has}: there is no room for ${newcomer}.`, {
    hint: `Remove volumes of the project, or raise its quota: supercargo project set ${name}`,
  });
}
