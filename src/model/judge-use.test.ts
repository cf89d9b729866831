import { describe, expect, test } from 'vitest';
import { unlimitedQuota } from './access.ts';
import { judgeUse } from './judge-use.ts';
import type { AccessGrant, Application, Project } from './access.ts';
import type { UseRequest } from './judge-use.ts';
import { newIdentifier } from './identifiers.ts';

const time = (hour: number): string => new Date(Date.UTC(2026, 0, 1, hour)).toISOString();
const now = Date.parse(time(12));
const project: Project = { id: newIdentifier('prj'), name: 'shop', requireGrants: true, quota: unlimitedQuota, createdAt: time(0) };
const web: Application = { id: newIdentifier('app'), project: project.id, name: 'web', privileged: false, createdAt: time(0), revocation: null };
const volume = { id: newIdentifier('vol'), name: 'orders', project: project.id };
const revocation = { at: time(11), actor: 'operator', reason: 'test', policy: 'now' } as const;

function grant(change: Partial<AccessGrant> = {}): AccessGrant {
  return {
    id: newIdentifier('grt'),
    application: web.id,
    volume: volume.id,
    mode: 'read-write',
    from: time(0),
    until: null,
    reason: 'test',
    actor: 'operator',
    createdAt: time(0),
    revocation: null,
    ...change,
  };
}

function judge(change: Partial<UseRequest>): string {
  const verdict = judgeUse({ volume, project, application: web, grants: [grant()], mode: 'read-write', now, ...change });
  return verdict.allowed ? 'allowed' : verdict.reason;
}

describe('a project that requires grants', () => {
  test.each<[string, Partial<UseRequest>]>([
    ['a grant for the volume', {}],
    ['a grant for all volumes of its own project', { grants: [grant({ volume: null })] }],
    ['a grant to write, of which only reading is used', { mode: 'read-only' }],
    ['a grant to read', { mode: 'read-only', grants: [grant({ mode: 'read-only' })] }],
    ['one grant that counts beside those that do not', { grants: [grant({ revocation }), grant(), grant({ until: time(1) })] }],
  ])('allows %s', (_, change) => expect(judge(change)).toBe('allowed'));

  test.each<[string, Partial<UseRequest>, string]>([
    ['nobody in particular', { application: null }, 'does not prove whose it is'],
    ['an application without a grant', { grants: [] }, 'has no grant for volume "orders"'],
    ['the grant of another application', { grants: [grant({ application: newIdentifier('app') })] }, 'has no grant'],
    ['a grant for another volume', { grants: [grant({ volume: newIdentifier('vol') })] }, 'has no grant'],
    [
      'a grant for all volumes of another project',
      { grants: [grant({ volume: null })], application: { ...web, project: newIdentifier('prj') } },
      'has no grant',
    ],
    ['a grant that has not begun', { grants: [grant({ from: time(13) })] }, `it begins at ${time(13)}`],
    ['a grant at its very end', { grants: [grant({ until: time(12) })] }, `it ended at ${time(12)}`],
    ['a revoked grant', { grants: [grant({ revocation })] }, `it was revoked at ${time(11)}`],
    ['a revoked application', { application: { ...web, revocation } }, 'application "web" was revoked'],
    ['writing with a grant to read', { grants: [grant({ mode: 'read-only' })] }, 'may only read volume "orders"'],
  ])('refuses %s', (_, change, reason) => expect(judge(change)).toContain(reason));
});

describe('a project that requires none', () => {
  const open = { ...project, requireGrants: false };

  test('allows whoever asks', () => expect(judge({ project: open, application: null, grants: [] })).toBe('allowed'));

  test('refuses a revoked application all the same', () =>
    expect(judge({ project: open, application: { ...web, revocation }, grants: [] })).toContain('was revoked'));
});
