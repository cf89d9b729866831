import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { unlimitedQuota } from '../model/access.ts';
import type { AccessGrant, Application, Project } from '../model/access.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { endOf, judgeContainer, powerOver } from './admission-plan.ts';
import type { ContainerFacts, GuardedPlace } from './admission-plan.ts';

const time = (hour: number): string => new Date(Date.UTC(2026, 0, 1, hour)).toISOString();
const now = Date.parse(time(12));
const closed: Project = { id: newIdentifier('prj'), name: 'shop', requireGrants: true, quota: unlimitedQuota, createdAt: time(0) };
const open: Project = { ...closed, id: newIdentifier('prj'), requireGrants: false };
const web: Application = { id: newIdentifier('app'), project: closed.id, name: 'web', privileged: false, createdAt: time(0), revocation: null };
const revoked = (policy: 'now' | 'graceful', hour = 11) => ({ at: time(hour), actor: 'operator', reason: 'test', policy });
const volumes = [closed, closed, open].map((project, index) => ({
  volume: { id: newIdentifier('vol'), name: `v${index}`, project: project.id },
  project,
}));
const [first] = volumes as [(typeof volumes)[number]];

function grant(change: Partial<AccessGrant> = {}): AccessGrant {
  const right = { application: web.id, volume: first.volume.id, mode: 'read-write', from: time(0), until: null } as const;
  return { id: newIdentifier('grt'), ...right, reason: 'r', actor: 'operator', createdAt: time(0), revocation: null, ...change };
}

const anyGrant = fc.record({
  volume: fc.constantFrom(null, ...volumes.map(({ volume }) => volume.id)),
  mode: fc.constantFrom('read-only' as const, 'read-write' as const),
  from: fc.constantFrom(time(0), time(13)),
  until: fc.constantFrom(null, time(11), time(14)),
  revocation: fc.constantFrom(null, revoked('now')),
});
const anyFacts: fc.Arbitrary<ContainerFacts> = fc.record({
  volumes: fc.array(
    fc.tuple(fc.constantFrom(...volumes), fc.constantFrom('read-only' as const, 'read-write' as const)).map(([use, mode]) => ({ ...use, mode })),
  ),
  powers: fc.constantFrom([], [], ['is privileged']),
  application: fc.constantFrom(null, web, { ...web, privileged: true }, { ...web, revocation: revoked('graceful') }),
  grants: fc.array(anyGrant.map(grant)),
  now: fc.constant(now),
});

describe('a container', () => {
  it('gets all that it asks for or nothing: each volume of a closed project by a grant in force that reaches that far', () => {
    fc.assert(
      fc.property(anyFacts, (facts) => {
        fc.pre(judgeContainer(facts).allowed);
        expect(facts.application?.revocation ?? null).toBeNull();
        for (const { volume, mode, project } of facts.volumes) {
          const fits = facts.grants.some(
            (each) =>
              (each.volume === volume.id || (each.volume === null && volume.project === web.project)) &&
              each.revocation === null &&
              each.from === time(0) &&
              each.until !== time(11) &&
              (each.mode === 'read-write' || mode === 'read-only'),
          );
          expect(!project.requireGrants || (facts.application !== null && fits)).toBe(true);
        }
        expect(facts.powers.length === 0 || facts.application?.privileged).toBe(true);
      }),
    );
  });

  it('never gets more by asking for more, by having less, or by proving nothing', () => {
    fc.assert(
      fc.property(anyFacts, (facts) => {
        fc.pre(!judgeContainer(facts).allowed);
        expect(judgeContainer({ ...facts, volumes: [...facts.volumes, ...facts.volumes] }).allowed).toBe(false);
        expect(judgeContainer({ ...facts, grants: facts.grants.slice(1) }).allowed).toBe(false);
        expect(judgeContainer({ ...facts, powers: [...facts.powers, 'sees everything'] }).allowed).toBe(false);
      }),
    );
  });

  it('that asks for nothing protected needs nothing', () => {
    const use = { ...volumes[2]!, mode: 'read-write' as const };
    expect(judgeContainer({ volumes: [use], powers: [], application: null, grants: [], now })).toEqual({ allowed: true, grant: null });
  });
});

describe('a path on the host', () => {
  const places: GuardedPlace[] = [
    { path: '/var/lib/supercargo', holds: 'what Supercargo keeps', readable: false },
    { path: '/etc', holds: 'a part of its system', readable: true },
  ];
  test.each(['/', '/var', '/var/lib/supercargo', '/var/lib/supercargo/mounts/x'])('%s reaches a secret place', (path) =>
    expect(powerOver(path, 'read-only', places)).toContain('what Supercargo keeps'),
  );
  test.each(['/srv', '/var/lib/supercargo2', '/var/lib/super', '/etcetera'])('%s reaches none', (path) =>
    expect(powerOver(path, 'read-write', places)).toBeNull(),
  );
  test('of the system is only for reading', () => {
    expect(powerOver('/etc/localtime', 'read-only', places)).toBeNull();
    expect(powerOver('/etc/localtime', 'read-write', places)).toContain('a part of its system');
  });
});

describe('a use whose right is gone', () => {
  const use = { ...first, mode: 'read-write' as const };
  test.each<[string, AccessGrant[], Application | null, ReturnType<typeof endOf>]>([
    ['is none while the grant is in force', [grant()], web, null],
    ['is none while another grant is', [grant({ revocation: revoked('now') }), grant({ volume: null })], web, null],
    ['ends at once', [grant({ revocation: revoked('now') })], web, 'now'],
    ['is left', [grant({ revocation: revoked('graceful') })], web, 'graceful'],
    ['is left when it runs out', [grant({ until: time(11) })], web, 'graceful'],
    ['is left by what ended last', [grant({ until: time(11) }), grant({ revocation: revoked('now', 9) })], web, 'graceful'],
    ['ends at once by what ended last', [grant({ until: time(9) }), grant({ revocation: revoked('now') })], web, 'now'],
    ['is left if a grant of less is revoked', [grant({ mode: 'read-only', revocation: revoked('now') })], web, 'graceful'],
    ['ends at once with its application', [grant()], { ...web, revocation: revoked('now') }, 'now'],
    ['is left with its application', [grant()], { ...web, revocation: revoked('graceful') }, 'graceful'],
    ['is left without one', [], null, 'graceful'],
  ])('%s', (_, grants, application, expected) => expect(endOf(use, application, grants, now)).toBe(expected));
});
