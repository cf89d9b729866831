import { expect, test } from 'vitest';
import { auditEntry, emptyLog, followChain, isAudited, sealDecision } from './audit.ts';
import type { AuditDecision, AuditEntry } from './audit.ts';

function decision(subject: string): AuditDecision {
  return {
    time: '2026-01-01T00:00:00.000Z',
    actor: 'shop/web',
    action: 'container.create',
    subject,
    verdict: 'deny',
    reason: 'no grant',
    revision: 7,
    times: 1,
  };
}

function chain(count: number): AuditEntry[] {
  const entries: AuditEntry[] = [];
  let head = emptyLog;
  for (let number = 1; number <= count; number += 1) {
    const entry = sealDecision(decision(`volume-${number}`), null, head);
    head = { sequence: entry.sequence, digest: entry.digest };
    entries.push(entry);
  }
  return entries;
}

test('a chain that was stored and read again can be followed to its end', () => {
  const read = chain(5).map((entry) => auditEntry.parse(JSON.parse(JSON.stringify(entry))));
  expect(followChain(read, emptyLog)).toEqual({ head: { sequence: 5, digest: read[4]!.digest } });
});

const members = Object.keys(chain(1)[0]!).filter((member) => member !== 'digest');
test.each(members)('a change of %s in one entry shows', (member) => {
  const entries: AuditEntry[] = chain(5);
  const changed: Record<string, unknown> = { ...entries[2]! };
  const before = changed[member];
  changed[member] = typeof before === 'number' ? before + 1 : `${String(before)}0`;
  entries[2] = changed as AuditEntry;
  expect(followChain(entries, emptyLog)).toEqual({ broken: entries[2] });
});

test('an entry that was taken out, put in or moved shows', () => {
  const entries = chain(5);
  const [a, b, c] = entries as [AuditEntry, AuditEntry, AuditEntry];
  expect(followChain([a, c], emptyLog)).toEqual({ broken: c });
  expect(followChain([a, a, b], emptyLog)).toEqual({ broken: a });
  expect(followChain([b, a], emptyLog)).toEqual({ broken: b });
  const forged = sealDecision(decision('forged'), null, { sequence: 1, digest: a.digest });
  expect(followChain([a, forged, c], emptyLog)).toEqual({ broken: c });
});

test('changes of who may what are audited, and what merely happens is not', () => {
  expect(['grant.created', 'project.changed', 'host.joined', 'volume.removed', 'key.released'].filter((type) => !isAudited(type))).toEqual([]);
  expect(['host.up', 'host.down', 'move.started', 'volume.held'].filter(isAudited)).toEqual([]);
});
