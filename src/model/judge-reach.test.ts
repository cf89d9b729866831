import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { unlimitedQuota } from './access.ts';
import type { AccessGrant, Application, Project } from './access.ts';
import { newIdentifier } from './identifiers.ts';
import { isTold, mayKnowApplication, mayReach, nextReachChange, partiesOf } from './judge-reach.ts';
import type { ReachRequest } from './judge-reach.ts';
import { newVolume } from './new-volume.ts';
import type { Volume } from './records.ts';

const at = new Date(0).toISOString();
const shop: Project = { id: newIdentifier('prj'), name: 'shop', requireGrants: true, quota: unlimitedQuota, createdAt: at };
const web: Application = { id: newIdentifier('app'), project: shop.id, name: 'web', privileged: false, createdAt: at, revocation: null };
const [host, other] = [newIdentifier('hst'), newIdentifier('hst')];
const orders: Volume = {
  ...newVolume({ id: newIdentifier('vol'), name: 'orders', createdAt: at, epoch: 1 }),
  project: shop.id,
  placement: { state: 'held', host: other, base: null },
};
const right = { application: web.id, volume: orders.id, mode: 'read-only', from: at, until: null } as const;
const grant: AccessGrant = { id: newIdentifier('grt'), ...right, reason: 'r', actor: 'operator', createdAt: at, revocation: null };
const admitted = { application: web, grants: [grant], expires: 100 };
const request: ReachRequest = { volume: orders, project: shop, host, admitted: [], now: 50 };
const nobody: ReadonlySet<string> = new Set();

describe('a host that has nothing of a volume', () => {
  it.each<[string, Partial<ReachRequest>, boolean]>([
    ['of an open project', { project: { ...shop, requireGrants: false } }, true],
    ['of a project that requires grants', {}, false],
    ['of a project that is gone', { project: undefined }, false],
    ['whose application is admitted there', { admitted: [admitted] }, true],
    ['whose application was admitted there for a time that is over', { admitted: [{ ...admitted, expires: 50 }] }, false],
    ['whose application was revoked', { admitted: [{ ...admitted, application: { ...web, revocation: revoked() } }] }, false],
    ['whose grant was revoked', { admitted: [{ ...admitted, grants: [{ ...grant, revocation: revoked() }] }] }, false],
    ['whose grant is over', { admitted: [{ ...admitted, grants: [{ ...grant, until: new Date(50).toISOString() }] }] }, false],
    ['whose grant is yet to begin', { admitted: [{ ...admitted, grants: [{ ...grant, from: new Date(51).toISOString() }] }] }, false],
    ['that the admitted application has no grant for', { admitted: [{ ...admitted, grants: [{ ...grant, volume: newIdentifier('vol') }] }] }, false],
  ])('%s: reaches it, and is told of it, or neither', (_, change, expected) => {
    expect(mayReach({ ...request, ...change })).toBe(expected);
    expect(isTold({ ...request, ...change }, nobody)).toBe(expected);
  });

  it('that nobody has yet may have it by its name, and is not told of it', () => {
    const free = { ...request, volume: { ...orders, placement: { state: 'free' } as const } };
    expect([mayReach(free), isTold(free, nobody)]).toEqual([true, false]);
  });
});

it('a host that has, or may have, anything of a volume is told of it, whatever anybody may use', () => {
  const snapshot = newIdentifier('snp');
  const move = newIdentifier('mov');
  const failover = { from: host, to: other, fromEpoch: 1, snapshot: null, snapshotTakenAt: null, actor: 'a', reason: 'r', at };
  const traces: Partial<Volume>[] = [
    { placement: { state: 'held', host, base: null } },
    { placement: { state: 'moving', from: host, to: other, move, base: null } },
    { placement: { state: 'moving', from: other, to: host, move, base: null } },
    { placement: { state: 'removing', host, base: null, confirmed: true } },
    { replicas: [host] },
    { copies: [{ host, kind: 'live', snapshots: [] }] },
    { copies: [{ host, kind: 'replica', snapshots: [snapshot] }] },
    { diverged: [{ host, snapshot, epoch: 1, keptAt: at }] },
    { lastFailover: failover },
  ];
  const access = fc.record({
    project: fc.constantFrom(shop, undefined, { ...shop, requireGrants: false }),
    admitted: fc.constantFrom([], [admitted], [{ ...admitted, expires: 0 }], [{ ...admitted, application: { ...web, revocation: revoked() } }]),
    now: fc.nat(200),
  });
  fc.assert(
    fc.property(fc.constantFrom(...traces), access, (trace, anybody) => {
      const volume = { ...orders, ...trace };
      expect(isTold({ ...request, ...anybody, volume }, nobody)).toBe(true);
      expect(partiesOf(volume)).toContain(host);
    }),
  );
  expect(isTold(request, new Set([host])), 'by a move that has ended').toBe(true);
});

it('an application is told of where it may have containers, or a right to what is there', () => {
  const known = { host, volumes: new Set<string>(), projects: new Set<string>(), introduced: new Set<string>() };
  expect(mayKnowApplication(web, shop, [grant], known)).toBe(false);
  expect(mayKnowApplication(web, { ...shop, requireGrants: false }, [], known)).toBe(true);
  expect(mayKnowApplication(web, shop, [], { ...known, introduced: new Set([web.id]) })).toBe(true);
  expect(mayKnowApplication(web, shop, [{ ...grant, revocation: revoked() }], { ...known, volumes: new Set([orders.id]) })).toBe(true);
  const toAll = { ...grant, volume: null };
  expect(mayKnowApplication(web, shop, [toAll], known)).toBe(false);
  expect(mayKnowApplication(web, shop, [toAll], { ...known, projects: new Set([shop.id]) })).toBe(true);
});

it('time alone changes what is reached when a pass or a grant begins to count or ends', () => {
  const time = (milliseconds: number): string => new Date(milliseconds).toISOString();
  const later = { ...grant, from: time(60), until: time(70) };
  expect(nextReachChange([], 0)).toBeNull();
  expect(nextReachChange([{ ...admitted, grants: [later] }], 50)).toBe(60);
  expect(nextReachChange([{ ...admitted, grants: [later] }], 60)).toBe(70);
  expect(nextReachChange([{ ...admitted, grants: [later] }], 70)).toBe(100);
  expect(nextReachChange([{ ...admitted, grants: [later] }], 100)).toBeNull();
});

function revoked(): NonNullable<AccessGrant['revocation']> {
  return { at, actor: 'operator', reason: 'r', policy: 'now' };
}
