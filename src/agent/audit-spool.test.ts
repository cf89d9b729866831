import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AuditDecision } from '../model/audit.ts';
import { SupercargoError } from '../model/errors.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import type { Client } from '../protocol/client.ts';
import type { Routes } from '../protocol/routes.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { AuditSpool } from './audit-spool.ts';

type Told = { spool: string; first: number; decisions: AuditDecision[] };

let clock: ManualClock;
let store: Store;
let told: Told[];
let away: boolean;
let stopped: AbortController;

beforeEach(() => {
  clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  told = [];
  away = false;
  stopped = new AbortController();
});
afterEach(async () => {
  stopped.abort();
  await store.close();
});

const nameServer = {
  recordDecisions: async ({ body }: { body: Told }) => {
    if (away) throw new SupercargoError('name-server-unreachable', 'away');
    told.push(body);
    return { known: body.first + body.decisions.length - 1 };
  },
} as unknown as Client<Routes>;

function decision(subject: string): AuditDecision {
  return { time: '2026-01-01T00:00:00.000Z', actor: 'shop/web', action: 'start', subject, verdict: 'allow', reason: '', revision: 1, times: 1 };
}

const openSpool = (): Promise<AuditSpool> => AuditSpool.open(store, randomBytes, (error) => expect.fail(String(error)));
const subjects = (): [number, ...string[]][] => told.map(({ first, decisions }) => [first, ...decisions.map(({ subject }) => subject)]);
const settled = async (spool: AuditSpool): Promise<void> => {
  while (spool.size > 0) await new Promise((resolve) => setImmediate(resolve));
};

describe('the spool of a host', () => {
  it('tells what was decided, in order, once', async () => {
    const spool = await openSpool();
    for (const subject of ['a', 'b']) await spool.note(decision(subject));
    const telling = spool.keepTold({ nameServer, clock }, stopped.signal);
    await settled(spool);
    await spool.note(decision('c'));
    await settled(spool);
    expect(subjects()).toEqual([
      [1, 'a', 'b'],
      [3, 'c'],
    ]);
    stopped.abort();
    await telling;
  });

  it('keeps what was decided while the name server is away, over a restart', async () => {
    away = true;
    const before = await openSpool();
    const telling = before.keepTold({ nameServer, clock }, stopped.signal);
    await before.note(decision('a'));
    await before.note(decision('b'));
    stopped.abort();
    await telling;
    away = false;
    stopped = new AbortController();
    const after = await openSpool();
    void after.keepTold({ nameServer, clock }, stopped.signal);
    await settled(after);
    expect(subjects()).toEqual([[1, 'a', 'b']]);
  });

  it('goes on counting after a restart, under the same name', async () => {
    const before = await openSpool();
    await before.note(decision('a'));
    const telling = before.keepTold({ nameServer, clock }, stopped.signal);
    await settled(before);
    stopped.abort();
    await telling;
    stopped = new AbortController();
    const after = await openSpool();
    await after.note(decision('b'));
    void after.keepTold({ nameServer, clock }, stopped.signal);
    await settled(after);
    expect(subjects()).toEqual([
      [1, 'a'],
      [2, 'b'],
    ]);
    expect(new Set(told.map(({ spool }) => spool)).size).toBe(1);
  });

  it('tells many in pages', async () => {
    const spool = await openSpool();
    for (let number = 1; number <= 1001; number += 1) await spool.note(decision(String(number)));
    void spool.keepTold({ nameServer, clock }, stopped.signal);
    await settled(spool);
    expect(told.map(({ first, decisions }) => [first, decisions.length])).toEqual([
      [1, 500],
      [501, 500],
      [1001, 1],
    ]);
  });
});
