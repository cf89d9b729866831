import { z } from 'zod';
import { applicationRecord, grantRecord, projectRecord } from '../model/access.ts';
import { SupercargoError } from '../model/errors.ts';
import { hasPart, isTold, mayReach } from '../model/judge-reach.ts';
import type { AdmittedApplication, ReachRequest } from '../model/judge-reach.ts';
import { moveRecord } from '../model/records.ts';
import type { Volume } from '../model/records.ts';
import { hostName } from './lookup.ts';
import type { Reader } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import type { Transaction } from './repository.ts';

/**
 * That an application was given passes for a host. It brings its volumes within reach until `expires`, if an operator gave one; a host's word for itself brings none, and
 * is there so that the host goes on being told of an application whose containers it may have.
 */
export const admissionRecord = z.object({ application: z.string(), expires: z.int() });

/** @param expires wall-clock milliseconds since 1970; 0 for what a host did for itself */
export async function recordAdmission(transaction: Transaction, host: string, application: string, expires: number): Promise<void> {
  const key = keys.admission(host, application);
  const before = await transaction.get(key, admissionRecord);
  if (before !== undefined && before.expires >= expires) return;
  transaction.put(key, { application, expires } satisfies z.infer<typeof admissionRecord>);
}

/**
 * A volume of a project that requires grants comes to a host that has nothing of it only by an operator's word: his own move, or a pass for an application that
 * may use it there. In open projects any host may have any volume.
 * @throws forbidden
 */
export async function requireReach(context: NameServerContext, transaction: Transaction, volume: Volume, host: string): Promise<void> {
  if (mayReach(await requestOf(context, transaction, volume, host))) return;
  const name = await hostName(transaction, host);
  throw new SupercargoError(
    'forbidden',
    `Volume "${volume.name}" does not come to host "${name}": no application that may use it is admitted there.`,
    {
      hint: hintFor(name),
    },
  );
}

/** Whether a volume that the host names is there for it. */
export async function isThereFor(context: NameServerContext, reader: Reader, volume: Volume, host: string): Promise<boolean> {
  const request = await requestOf(context, reader, volume, host);
  if (mayReach(request) || isTold(request, new Set())) return true;
  const moves = (await context.repository.list(keys.moves, moveRecord)).filter((move) => move.volume === volume.id);
  return isTold(request, new Set(moves.flatMap(({ from, to }) => [from, to])));
}

/** How a person lets a volume come to a host. */
export function hintFor(host: string): string {
  return `On the host of the name server: supercargo app pass PROJECT/NAME --host ${host}, or supercargo volume move VOLUME --to ${host}`;
}

/** All that the decision rests on; admissions only where it may come to them. */
async function requestOf(context: NameServerContext, reader: Reader, volume: Volume, host: string): Promise<ReachRequest> {
  const project = await reader.get(keys.project(volume.project), projectRecord);
  const isPlain = project?.requireGrants === false || hasPart(volume, host);
  const admitted = isPlain ? [] : await admittedOn(context, reader, host);
  return { volume, project, host, admitted, now: context.clock.wallMilliseconds() };
}

async function admittedOn({ repository }: NameServerContext, reader: Reader, host: string): Promise<AdmittedApplication[]> {
  const admissions = await repository.list(keys.admissionsOf(host), admissionRecord);
  if (admissions.length === 0) return [];
  const grants = await repository.list(keys.grants, grantRecord);
  const all = admissions.map(async ({ application: id, expires }) => {
    const application = await reader.get(keys.application(id), applicationRecord);
    return application === undefined ? [] : [{ application, expires, grants: grants.filter((grant) => grant.application === id) }];
  });
  return (await Promise.all(all)).flat();
}

/** Takes out what was noted of hosts and applications that are gone. */
export async function pruneAdmissions({ store }: NameServerContext): Promise<void> {
  const { entries } = await store.list(keys.state);
  const present = new Set(entries.map(({ key }) => key));
  const surplus = entries.filter(({ key }) => {
    if (!key.startsWith(keys.admissions)) return false;
    const [host = '', application = ''] = key.slice(keys.admissions.length).split('/');
    return !present.has(keys.host(host)) || !present.has(keys.application(application));
  });
  if (surplus.length === 0) return;
  await store.transact(
    [],
    surplus.map(({ key }) => ({ delete: key })),
  );
}
