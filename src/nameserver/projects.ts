import { projectRecord, unlimitedQuota } from '../model/access.ts';
import { defaultProject } from '../model/records.ts';
import { keys } from './repository.ts';
import type { Repository } from './repository.ts';

/** The project that everything belongs to unless told otherwise: nothing is required of whoever uses its volumes. */
export async function ensureDefaultProject(repository: Repository): Promise<void> {
  await repository.transact(async (transaction) => {
    if ((await transaction.get(keys.project(defaultProject.id), projectRecord)) !== undefined) return;
    transaction.put(keys.projectName(defaultProject.name), { id: defaultProject.id });
    transaction.put(keys.project(defaultProject.id), {
      ...defaultProject,
      requireGrants: false,
      quota: unlimitedQuota,
      createdAt: repository.now(),
    });
  });
}
