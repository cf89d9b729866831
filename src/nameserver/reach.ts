import { z } from 'zod';
import { applicationRecord, grantRecord } from '../model/access.ts';
import { judgeUse } from '../model/judge-use.ts';
import { SupercargoError } from '../model/errors.ts';
import { currentHost } from '../model/holder.ts';
import type { Volume } from '../model/records.ts';
import { findProject, hostName } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import type { Transaction } from './repository.ts';

/** An operator's word, by a pass, that an application may run on a host. What a host says of itself is none: its certificate may be stolen. */
const admissionRecord = z.object({ application: z.string(), expires: z.int() });

/** @param expires wall-clock milliseconds since 1970 */
export function recordAdmission(transaction: Transaction, host: string, application: string, expires: number): void {
  transaction.put(keys.admission(host, application), { application, expires } satisfies z.infer<typeof admissionRecord>);
}

/**
 * A volume of a project that requires grants comes to a host that has nothing of it only by an operator's word: his own move, or a pass for an application that
 * may use it there. In open projects any host may have any volume.
 * @throws forbidden
 */
export async function requireReach({ repository, clock }: NameServerContext, transaction: Transaction, volume: Volume, host: string): Promise<void> {
  if (volume.placement.state === 'free' || hasPart(volume, host)) return;
  const project = await findProject(transaction, volume.project);
  if (!project.requireGrants) return;
  const now = clock.wallMilliseconds();
  const grants = await repository.list(keys.grants, grantRecord);
  for (const { application: id, expires } of await repository.list(keys.admissions(host), admissionRecord)) {
    const application = expires > now ? await transaction.get(keys.application(id), applicationRecord) : undefined;
    if (application === undefined) continue;
    const own = grants.filter((grant) => grant.application === id);
    if (judgeUse({ volume, project, application, grants: own, mode: 'read-only', now }).allowed) return;
  }
  const name = await hostName(transaction, host);
  throw new SupercargoError(
    'forbidden',
    `Volume "${volume.name}" does not come to host "${name}": no application that may use it is admitted there.`,
    {
      hint: `On the host of the name server: supercargo app pass PROJECT/NAME --host ${name}, or supercargo volume move ${volume.name} --to ${name}`,
    },
  );
}

function hasPart({ placement, replicas, copies }: Volume, host: string): boolean {
  if (currentHost(placement) === host || (placement.state === 'moving' && placement.to === host)) return true;
  return replicas.includes(host) || copies.some((copy) => copy.host === host);
}
