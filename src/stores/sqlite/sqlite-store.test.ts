import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ManualClock } from '../../ports/manual-clock.ts';
import { describeStoreContract } from '../../ports/store.contract.ts';
import type { Store, StoreEvent } from '../../ports/store.ts';
import { openSqliteStore } from './sqlite-store.ts';

const directories: string[] = [];

afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

function newPath(): string {
  const directory = mkdtempSync(join(tmpdir(), 'supercargo-store-'));
  directories.push(directory);
  return join(directory, 'store.db');
}

describeStoreContract('sqlite', async () => {
  const path = newPath();
  const clock = new ManualClock();
  let store = openSqliteStore({ path, clock });
  return {
    get store() {
      return store;
    },
    async reopen() {
      await store.close();
      store = openSqliteStore({ path, clock });
      return store;
    },
    advanceTime: (milliseconds: number) => clock.advance(milliseconds),
    dispose: () => store.close(),
  };
});

describe('sqlite store', () => {
  const opened: Store[] = [];
  const open = (path: string, historyLimit?: number, clock = new ManualClock()): Store => {
    const store = openSqliteStore({ path, clock, ...(historyLimit === undefined ? {} : { historyLimit }) });
    opened.push(store);
    return store;
  };
  afterEach(async () => {
    for (const store of opened.splice(0)) await store.close();
  });

  it('has lost no acknowledged transaction after kill -9', async () => {
    const path = newPath();
    const writer = spawn(process.execPath, [fileURLToPath(new URL('durability-writer.ts', import.meta.url)), path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = once(writer, 'exit');
    const acknowledged: [number, number][] = [];
    for await (const line of createInterface({ input: writer.stdout })) {
      const [revision, number] = line.split(' ').map(Number);
      acknowledged.push([revision ?? 0, number ?? 0]);
      if (acknowledged.length === 200) writer.kill('SIGKILL');
    }
    await exited;
    const store = open(path);
    for (const [revision, number] of acknowledged) expect(await store.get(`n/${number}`)).toEqual({ key: `n/${number}`, value: number, revision });
    const { entries } = await store.list('n/');
    expect((await store.get('last'))?.value).toBe(entries.length - 1); // both keys of the last transaction, or neither
  });

  it('refuses a second opener in another process, and admits it once the first is gone', async () => {
    const path = newPath();
    const writer = spawn(process.execPath, [fileURLToPath(new URL('durability-writer.ts', import.meta.url)), path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = once(writer, 'exit');
    await once(writer.stdout, 'data');
    try {
      expect(() => openSqliteStore({ path, clock: new ManualClock() })).toThrow(/in use by another process/);
    } finally {
      writer.kill('SIGKILL');
      await exited;
    }
    expect((await open(path).get('last'))?.value).toBeTypeOf('number');
  });

  it('refuses a second opener in the same process', () => {
    const path = newPath();
    open(path);
    expect(() => openSqliteStore({ path, clock: new ManualClock() })).toThrow(/in use/);
  });

  it('refuses a file of a newer release, and leaves it as it was', async () => {
    const path = newPath();
    await open(path).close();
    const database = new DatabaseSync(path);
    database.exec('PRAGMA user_version = 99');
    database.close();
    expect(() => openSqliteStore({ path, clock: new ManualClock() })).toThrow(/schema version 99/);
    const unchanged = new DatabaseSync(path);
    expect(unchanged.prepare('PRAGMA user_version').get()).toEqual({ user_version: 99 });
    unchanged.close();
  });

  it('is readable by its owner only', () => {
    const path = newPath();
    open(path);
    for (const suffix of ['', '-wal']) expect(statSync(path + suffix).mode & 0o777).toBe(0o600);
  });

  it('keeps the newest history, says so to a watch from before, and serves one from the edge', async () => {
    const store = open(':memory:', 10);
    for (let number = 1; number <= 100; number += 1) await store.transact([], [{ put: 'k', value: number }]);
    await expect(firstOf(store, 0)).rejects.toMatchObject({ code: 'revision-compacted' });
    await expect(firstOf(store, 80)).rejects.toMatchObject({ code: 'revision-compacted' });
    expect(await firstOf(store, 90)).toMatchObject([{ value: 91 }]);
  });

  it('knows after a restart what has been compacted', async () => {
    const path = newPath();
    const store = open(path, 5);
    for (let number = 1; number <= 50; number += 1)
      await store.transact(
        [],
        [
          { put: `k${number}`, value: number },
          { put: 'l', value: number },
        ],
      );
    await store.close();
    await expect(firstOf(open(path, 5), 0)).rejects.toMatchObject({ code: 'revision-compacted' });
  });

  it('writes nothing to keep a lease alive', async () => {
    const path = newPath();
    const store = open(path);
    await store.grantLease('session', 1_000);
    const before = statSync(`${path}-wal`);
    for (let beat = 0; beat < 10; beat += 1) await store.keepLeaseAlive('session');
    expect(statSync(`${path}-wal`)).toEqual(before);
  });

  it('ends a lease even if its timer is late', async () => {
    const clock = new ManualClock();
    const store = open(':memory:', undefined, clock);
    await store.grantLease('session', 1_000);
    await store.transact([], [{ put: 's', value: 1, lease: 'session' }]);
    vi.spyOn(clock, 'monotonicMilliseconds').mockReturnValue(2_000); // time has passed, no timer has fired
    expect(await store.keepLeaseAlive('session')).toBe(false);
    expect(await store.get('s')).toBeUndefined();
  });

  it('tells a watch and every other call that the store was closed', async () => {
    const store = open(':memory:');
    const pending = firstOf(store, 0);
    await store.close();
    await expect(pending).rejects.toMatchObject({ code: 'wrong-state' });
    await expect(store.get('a')).rejects.toMatchObject({ code: 'wrong-state' });
  });

  async function firstOf(store: Store, afterRevision: number): Promise<StoreEvent[] | undefined> {
    for await (const events of store.watch('', afterRevision, new AbortController().signal)) return events;
    return undefined;
  }
});
