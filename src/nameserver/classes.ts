import { SupercargoError } from '../model/errors.ts';
import { withProtection } from '../model/failover.ts';
import { checkName } from '../model/names.ts';
import { unprotected, volumeClass, volumeRecord } from '../model/records.ts';
import type { Volume, VolumeClass } from '../model/records.ts';
import type { Handlers } from '../protocol/server.ts';
import type { Routes } from '../protocol/routes.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import type { Repository } from './repository.ts';

export const defaultClassName = 'default';

/** Fewer take longer, more are more often in the way of what agents report meanwhile. */
const changedAtOnce = 50;

const builtInClasses: VolumeClass[] = [
  {
    name: defaultClassName,
    description: 'A volume on the hosts’ own disks that follows its container; limited by the pool only.',
    driver: 'btrfs',
    sizeBytes: null,
    maximumSizeBytes: null,
    protection: unprotected,
  },
];

/** Classes that every cluster has; an operator may replace them, so what is there stays. */
export async function ensureBuiltInClasses(repository: Repository): Promise<void> {
  await repository.transact(async (transaction) => {
    for (const each of builtInClasses) {
      if ((await transaction.get(keys.class(each.name), volumeClass)) === undefined) transaction.put(keys.class(each.name), each);
    }
  });
}

export function classHandlers({ repository }: NameServerContext): Pick<Handlers<Routes>, 'listClasses' | 'putClass'> {
  return {
    listClasses: async () => ({ items: await repository.list(keys.classes, volumeClass) }),
    putClass: async ({ parameters, body }) => {
      const record = { name: checkName('class', parameters.class), ...body };
      if (record.sizeBytes !== null && record.maximumSizeBytes !== null && record.sizeBytes > record.maximumSizeBytes) {
        throw new SupercargoError('invalid-option', `Class "${record.name}": the default size is above the maximum.`);
      }
      await repository.transact(async (transaction) => {
        await transaction.get(keys.class(record.name), volumeClass);
        transaction.put(keys.class(record.name), record);
        transaction.record('class.changed', record.name, 'operator', `Class "${record.name}" was set.`);
      });
      await protectVolumes(repository, record);
      return record;
    },
  };
}

/** Volumes follow their class, so many in one transaction. Should this end in the middle, setting the class again goes on. */
async function protectVolumes(repository: Repository, { name, protection }: VolumeClass): Promise<void> {
  const differs = (volume: Volume): boolean => volume.class === name && JSON.stringify(volume.protection) !== JSON.stringify(protection);
  const members = (await repository.list(keys.volumes, volumeRecord)).filter(differs);
  for (let first = 0; first < members.length; first += changedAtOnce) {
    await repository.transact(async (transaction) => {
      for (const { id } of members.slice(first, first + changedAtOnce)) {
        const volume = await transaction.get(keys.volume(id), volumeRecord);
        if (volume !== undefined && differs(volume)) transaction.put(keys.volume(id), withProtection(volume, protection));
      }
    });
  }
}
