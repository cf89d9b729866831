import { X509Certificate } from 'node:crypto';
import { denialRecord } from '../model/access.ts';
import { SupercargoError } from '../model/errors.ts';
import { hostRecord } from '../model/records.ts';
import type { Host } from '../model/records.ts';
import type { RotationPhase } from '../pki/authority-keeper.ts';
import { fingerprintOf } from '../pki/verification.ts';
import { trustReport } from '../protocol/certificate-routes.ts';
import type { AuthorityView, TrustReport } from '../protocol/certificate-routes.ts';
import type { Routes } from '../protocol/routes.ts';
import type { Handlers } from '../protocol/server.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import type { Transaction } from './repository.ts';

/** The authority of the cluster is replaced in steps, each taken when every host is ready for it, or when an operator gives those up that are not. */
export function authorityHandlers(context: NameServerContext): Pick<Handlers<Routes>, 'getAuthority' | 'rotateAuthority'> {
  return {
    getAuthority: () => viewOf(context),
    rotateAuthority: async ({ body }) => {
      if (context.issuer.phase() === 'none') await takeStep(context, 'none', 'operator');
      else if (body.cut !== undefined) {
        const from = context.issuer.phase();
        await giveUp(context, body.cut);
        await takeStep(context, from, 'operator');
      }
      return viewOf(context);
    },
  };
}

/** Goes on with a rotation as far as the hosts are ready. */
export async function takeSteps(context: NameServerContext): Promise<void> {
  const phase = context.issuer.phase();
  if (phase === 'none') return;
  const { hosts } = await viewOf(context);
  if (hosts.every(({ isReady }) => isReady)) await takeStep(context, phase, 'name server');
}

async function takeStep({ issuer, repository }: NameServerContext, from: RotationPhase, actor: string): Promise<void> {
  const { rotation } = issuer;
  const steps = {
    none: { take: () => rotation.introduce(), message: 'A new authority was made; it signs as soon as all hosts trust it.' },
    introducing: {
      take: () => rotation.promote(),
      message: 'The new authority signs; the last one goes as soon as all hosts have certificates of the new one.',
    },
    retiring: { take: () => rotation.retire(), message: 'The last authority is gone: what it signed counts no more.' },
  } satisfies Record<RotationPhase, unknown>;
  const { take, message } = steps[from];
  await take();
  await repository.transact(async (transaction) => transaction.record('authority.rotated', 'authority', actor, message));
}

/** @throws precondition-failed unless those are the hosts that are not ready: a host that is cut must be one that the operator has seen */
async function giveUp(context: NameServerContext, cut: readonly string[]): Promise<void> {
  const { hosts } = await viewOf(context);
  const unready = hosts.filter(({ isReady }) => !isReady).map(({ host }) => host);
  if (unready.toSorted().join() === cut.toSorted().join()) return;
  throw new SupercargoError('precondition-failed', `The hosts that would be cut are by now: ${unready.join(', ') || 'none'}.`, {
    hint: 'Look again: supercargo authority show',
  });
}

async function viewOf({ issuer, repository }: NameServerContext): Promise<AuthorityView> {
  const certificates = issuer.authorities().map((pem) => new X509Certificate(pem));
  const authorities = certificates.map((certificate) => ({
    fingerprint: fingerprintOf(certificate),
    expiresAt: certificate.validToDate.toISOString(),
  }));
  const denied = new Set((await repository.list(keys.denials, denialRecord)).map(({ value }) => value));
  const hosts = (await repository.list(keys.hosts, hostRecord)).sort((a, b) => a.name.localeCompare(b.name));
  const phase = issuer.phase();
  const view = async ({ id, name }: Host): Promise<AuthorityView['hosts'][number]> => {
    const trust = (await repository.get(keys.trust(id), trustReport)) ?? null;
    // Who is denied comes back with new keys only, and with them the authorities of that time.
    return {
      host: name,
      trust,
      isReady:
        denied.has(id) ||
        isReady(
          phase,
          trust,
          authorities.map(({ fingerprint }) => fingerprint),
        ),
    };
  };
  return { phase, authorities, hosts: await Promise.all(hosts.map(view)) };
}

/** Whether a host would stay in the cluster if the next step were taken now. */
function isReady(phase: RotationPhase, trust: TrustReport | null, [signing = '', other = '']: readonly string[]): boolean {
  if (phase === 'none') return true;
  if (phase === 'introducing') return trust?.authorities.includes(other) === true;
  return trust?.authorities.includes(signing) === true && trust.issuer === signing;
}

/** Keeps what a host says of its trust, when it changes. */
export async function noteTrust(transaction: Transaction, host: string, trust: TrustReport | undefined): Promise<void> {
  if (trust === undefined) return;
  const known = await transaction.get(keys.trust(host), trustReport);
  if (JSON.stringify(known) !== JSON.stringify(trust)) transaction.put(keys.trust(host), trust);
}

/** The authorities as a host is to trust them, PEM; nothing if it does already. */
export function newsFor({ issuer }: NameServerContext, trust: TrustReport | undefined): string[] {
  const authorities = issuer.authorities();
  if (trust === undefined || authorities.map(fingerprintOf).join() === trust.authorities.join()) return [];
  return authorities;
}
