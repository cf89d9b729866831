import { denialRecord } from '../model/access.ts';
import { normalSerial } from '../model/deny-list.ts';
import { SupercargoError } from '../model/errors.ts';
import type { Routes } from '../protocol/routes.ts';
import type { Handlers } from '../protocol/server.ts';
import { deny } from './deny-list.ts';
import { certificatesOf, denyHost, trustOnly } from './host-certificates.ts';
import { findHost } from './lookup.ts';
import { endMovesOfDenied } from './moves.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';

export function denialHandlers(context: NameServerContext): Pick<Handlers<Routes>, 'listDenials' | 'denyHost' | 'denyCertificate' | 'readmitHost'> {
  const { repository } = context;
  return {
    listDenials: async () => ({ items: await repository.list(keys.denials, denialRecord) }),
    denyHost: async ({ parameters, body }) => {
      const { id } = await findHost(repository, parameters.host);
      requireRemote(context, id);
      const denial = await repository.transact(async (transaction) => {
        const host = await findHost(transaction, id);
        transaction.record('host.denied', host.name, 'operator', `Host "${host.name}" is denied: ${body.reason}`);
        return denyHost(context, transaction, id, body.reason);
      });
      await endMovesOfDenied(context, id);
      return denial;
    },
    denyCertificate: async ({ parameters, body }) => {
      const serial = normalSerial(parameters.serial);
      // One that is not in the records was issued before they were put back, or by somebody who has the authority's key.
      const until = new Date(context.clock.wallMilliseconds() + context.issuer.lifetimeMilliseconds).toISOString();
      return repository.transact(async (transaction) => {
        transaction.record('certificate.denied', serial, 'operator', `Certificate ${serial} is denied: ${body.reason}`);
        return deny(context, transaction, { subject: 'certificate', value: serial, reason: body.reason, actor: 'operator', until });
      });
    },
    readmitHost: async ({ parameters, body }) =>
      repository.transact(async (transaction) => {
        const host = await findHost(transaction, parameters.host);
        const known = await certificatesOf(transaction, host.id);
        if (known === undefined || Date.parse(known.latest.expiresAt) <= context.clock.wallMilliseconds()) {
          throw new SupercargoError('wrong-state', `Host "${host.name}" has no certificate that has not run out.`, {
            hint: `Give it a new one: supercargo invite --host ${host.name}`,
          });
        }
        const denied = await trustOnly(context, transaction, host.id, known.latest, body.reason);
        transaction.record('host.readmitted', host.name, 'operator', `Host "${host.name}" is readmitted: ${body.reason}`);
        return { serial: known.latest.serial, expiresAt: known.latest.expiresAt, denied };
      }),
  };
}

/** @throws wrong-state: who denied the host of the name server would saw off the branch that the cluster sits on */
function requireRemote({ localHost }: NameServerContext, host: string): void {
  if (host !== localHost) return;
  throw new SupercargoError('wrong-state', 'The name server itself runs on this host.', {
    hint: 'Deny one of its certificates (supercargo revoke certificate); a restart of Supercargo there makes new keys.',
  });
}
