import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { emptyLog, followChain } from '../model/audit.ts';
import type { AuditDecision, AuditEntry } from '../model/audit.ts';
import { SupercargoError } from '../model/errors.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { makeCheckpoint } from './audit.ts';
import { TestNameServer } from './test-name-server.ts';

let store: Store;
let server: TestNameServer;
let h1: string;

beforeEach(async () => {
  const clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  server = await TestNameServer.start(store, clock);
  h1 = await server.addHost('h1');
});
afterEach(() => store.close());

const log = async (): Promise<AuditEntry[]> => (await server.as(null).listAudit({ query: { after: 0, limit: 500 } })).items;
const expectWhole = async (): Promise<void> => {
  expect(followChain(await log(), emptyLog)).toHaveProperty('head');
};
const decision = (subject: string): AuditDecision => ({
  time: '2026-01-01T00:00:00.000Z',
  actor: 'shop/web',
  action: 'container.create',
  subject,
  verdict: 'deny',
  reason: 'no grant',
  revision: 7,
  times: 1,
});

describe('the audit log', () => {
  it('holds changes in one chain, with who made them', async () => {
    await server.as(h1).createVolume({ body: { name: 'a' } });
    await server.as(null).removeVolume({ parameters: { volume: 'a' } });
    const told = (await log()).map(({ action, subject, actor, verdict }) => [action, subject, actor, verdict]);
    expect(told.slice(-2)).toEqual([
      ['volume.created', 'a', 'h1', 'change'],
      ['volume.removed', 'a', 'operator', 'change'],
    ]);
    await expectWhole();
  });

  it('stays one chain under many changes at once', async () => {
    const before = (await log()).length;
    await Promise.all(Array.from({ length: 120 }, (_, index) => server.as(h1).createVolume({ body: { name: `v${index}` } })));
    expect(await log()).toHaveLength(before + 120);
    await expectWhole();
  });

  it('is read in pages', async () => {
    for (const name of ['a', 'b', 'c']) await server.as(h1).createVolume({ body: { name } });
    const all = await log();
    const pages = [];
    for (let after = 0; after < all.length; after += 2) pages.push(...(await server.as(null).listAudit({ query: { after, limit: 2 } })).items);
    expect(pages).toEqual(all);
    expect((await server.as(null).listAudit({ query: { after: all.length, limit: 2 } })).items).toEqual([]);
  });
});

describe('decisions of a host', () => {
  const spool = newIdentifier('spl');
  const tell = (first: number, ...subjects: string[]) => server.as(h1).recordDecisions({ body: { spool, first, decisions: subjects.map(decision) } });
  const told = async () => (await log()).filter(({ host }) => host !== null).map(({ host, action, subject }) => [host, action, subject]);

  it('are taken over once, however often they are told', async () => {
    expect(await tell(1, 'a', 'b')).toEqual({ known: 2 });
    expect(await tell(1, 'a', 'b')).toEqual({ known: 2 });
    expect(await tell(2, 'b', 'c')).toEqual({ known: 3 });
    expect(await told()).toEqual(['a', 'b', 'c'].map((subject) => [h1, 'container.create', subject]));
    await expectWhole();
  });

  it('show where some were lost', async () => {
    await tell(1, 'a');
    await tell(5, 'e');
    expect((await told()).map(([, action]) => action)).toEqual(['container.create', 'audit.gap', 'container.create']);
    expect((await log()).find(({ action }) => action === 'audit.gap')?.reason).toContain('2 to 4');
  });

  it('begin anew with a new spool, and are kept apart from those of other hosts', async () => {
    await tell(1, 'a', 'b');
    await server.as(h1).recordDecisions({ body: { spool: newIdentifier('spl'), first: 1, decisions: [decision('c')] } });
    const h2 = await server.addHost('h2');
    await server.as(h2).recordDecisions({ body: { spool, first: 1, decisions: [decision('d')] } });
    expect((await told()).map(([host, , subject]) => [host, subject])).toEqual([
      [h1, 'a'],
      [h1, 'b'],
      [h1, 'c'],
      [h2, 'd'],
    ]);
  });
});

describe('checkpoints', () => {
  const checkpoints = async () => (await server.as(null).listCheckpoints({ query: { after: 0, limit: 500 } })).items;

  it('sign the end of the log once for each end', async () => {
    await makeCheckpoint(server.context);
    await makeCheckpoint(server.context);
    const end = (await log()).at(-1)!;
    expect((await checkpoints()).map(({ statement }) => JSON.parse(statement) as unknown)).toMatchObject([
      { sequence: end.sequence, digest: end.digest },
    ]);
    await server.as(h1).createVolume({ body: { name: 'a' } });
    await makeCheckpoint(server.context);
    expect((await checkpoints()).map(({ sequence }) => sequence)).toEqual([end.sequence, end.sequence + 1]);
  });
});

describe('refused calls', () => {
  const refuse = (subject: string) =>
    server.context.refusals.note(
      { identity: { caller: 'host', host: h1, certificate: null }, route: 'moveVolume', subject, error: new SupercargoError('forbidden', 'No.') },
      server.context.repository.now(),
    );
  const denied = async () => (await log()).filter(({ verdict }) => verdict === 'deny');

  it('are told with who was refused what, alike ones once', async () => {
    for (const subject of ['a', 'a', 'b']) refuse(subject);
    await server.context.refusals.record(server.context);
    expect(await denied()).toMatchObject([
      { actor: 'host h1', action: 'moveVolume', subject: 'a', times: 2, reason: 'forbidden: No.' },
      { actor: 'host h1', action: 'moveVolume', subject: 'b', times: 1 },
    ]);
    await server.context.refusals.record(server.context);
    expect(await denied()).toHaveLength(2);
  });

  it('do not fill the log, whatever an attacker thinks of', async () => {
    for (let number = 0; number < 1000; number += 1) refuse(`volume-${number}`);
    await server.context.refusals.record(server.context);
    const entries = await denied();
    expect(entries).toHaveLength(201);
    expect(entries.reduce((sum, { times }) => sum + times, 0)).toBe(1000);
  });
});
