import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Store, StoreEvent, StoreOperation } from './store.ts';
import { StoreModel, byCodePoints } from './store.model.ts';

/** What a test of one implementation gives to the contract. */
export interface StoreUnderTest {
  readonly store: Store;
  /** Closes the store as a stopping name server would, and opens the same data again. */
  reopen(): Promise<Store>;
  /** Lets time pass for leases, really or by a clock of its own. */
  advanceTime(milliseconds: number): Promise<void>;
  /** Closes the store and removes its data. */
  dispose(): Promise<void>;
}

/** Every implementation of Store must pass this; its own test file is one call with a way to open an empty store. */
export function describeStoreContract(name: string, openStore: () => Promise<StoreUnderTest>): void {
  describe(`${name} keeps the contract of a store`, () => {
    let subject: StoreUnderTest;
    beforeEach(async () => {
      subject = await openStore();
    });
    afterEach(() => subject.dispose());
    const current = () => subject;

    describe('transactions', () => describeTransactions(current));
    describe('lists', () => describeLists(current));
    describe('watches', () => describeWatches(current));
    describe('leases', () => describeLeases(current));
    it('behaves as the model does, whatever is done in whatever order', () => matchesModel(openStore));
  });
}

type Current = () => StoreUnderTest;

function describeTransactions(current: Current): void {
  it('puts only where the key is absent when compared with revision 0', async () => {
    const { store } = current();
    expect(await store.transact([{ key: 'a', revision: 0 }], [{ put: 'a', value: 1 }])).toMatchObject({ committed: true });
    const second = await store.transact([{ key: 'a', revision: 0 }], [{ put: 'a', value: 2 }]);
    expect(second).toEqual({ committed: false, failed: ['a'] });
    expect((await store.get('a'))?.value).toBe(1);
  });

  it('refuses a stale revision and names every key that failed', async () => {
    const { store } = current();
    const first = await put(store, 'a', 1);
    await put(store, 'a', 2);
    const b = await put(store, 'b', 1);
    const compares = [
      { key: 'a', revision: first },
      { key: 'b', revision: b },
      { key: 'c', revision: 7 },
    ];
    expect(await store.transact(compares, [{ delete: 'b' }])).toEqual({ committed: false, failed: ['a', 'c'] });
    expect(await store.get('b')).toEqual({ key: 'b', value: 1, revision: b });
  });

  it('does all operations or none', async () => {
    const { store } = current();
    await put(store, 'old', 'x');
    const { revision } = await store.list('');
    await store.transact([{ key: 'old', revision: revision + 1 }], [{ put: 'new', value: 1 }, { delete: 'old' }]);
    expect((await store.list('')).entries.map(({ key }) => key)).toEqual(['old']);
    await store.transact([{ key: 'old', revision }], [{ put: 'new', value: 1 }, { delete: 'old' }]);
    expect((await store.list('')).entries.map(({ key }) => key)).toEqual(['new']);
  });

  it('refuses a transaction as a whole when one of its operations cannot be done', async () => {
    const { store } = current();
    const impossible: StoreOperation[][] = [
      [{ put: 'a', value: 1 }, { delete: 'a' }],
      [
        { put: 'a', value: 1 },
        { put: 'b', value: undefined },
      ],
      [
        { put: 'a', value: 1 },
        { put: '', value: 1 },
      ],
      [
        { put: 'a', value: 1 },
        { put: 'b', value: 1, lease: 'unknown' },
      ],
    ];
    for (const operations of impossible) await expect(store.transact([], operations)).rejects.toMatchObject({ name: 'SupercargoError' });
    expect((await store.list('')).entries).toEqual([]);
  });

  it('loses none of many increments made at once', async () => {
    const { store } = current();
    const increment = async (): Promise<void> => {
      const entry = await store.get('count');
      const next = Number(entry?.value ?? 0) + 1;
      const result = await store.transact([{ key: 'count', revision: entry?.revision ?? 0 }], [{ put: 'count', value: next }]);
      if (!result.committed) await increment();
    };
    await Promise.all(Array.from({ length: 25 }, increment));
    expect((await store.get('count'))?.value).toBe(25);
  });

  it('keeps values and revisions over a restart, and never uses a revision twice', async () => {
    const value = { text: 'Größe', list: [1, null, { nested: true }], number: 1.5 };
    const revision = await put(current().store, 'a', value);
    const last = await current().store.transact([], [{ delete: 'gone' }, { put: 'gone2', value: 1 }]);
    const deleted = await current().store.transact([], [{ delete: 'gone2' }]);
    const store = await current().reopen();
    expect(await store.get('a')).toEqual({ key: 'a', value, revision });
    expect(await put(store, 'b', 1)).toBeGreaterThan(committed(deleted));
    expect(committed(deleted)).toBeGreaterThan(committed(last));
  });
}

function describeLists(current: Current): void {
  it('lists exactly the keys with the prefix, in order, whatever characters they have', async () => {
    const { store } = current();
    const keys = ['a', 'a%', 'a/', 'a/1', 'a/10', 'a/2', 'a/\u{ffff}', 'a/\u{10ffff}', 'a/\u{10ffff}z', 'a0', 'a_', 'A/1', 'b'];
    for (const key of keys) await put(store, key, key);
    const listed = (await store.list('a/')).entries.map(({ key }) => key);
    expect(listed).toEqual(['a/', 'a/1', 'a/10', 'a/2', 'a/\u{ffff}', 'a/\u{10ffff}', 'a/\u{10ffff}z']);
    expect((await store.list('a/\u{10ffff}')).entries).toHaveLength(2);
    expect((await store.list('')).entries).toHaveLength(keys.length);
    expect((await store.list('c')).entries).toEqual([]);
  });
}

function describeWatches(current: Current): void {
  it('delivers whole transactions in order, each once, those before and those after it began', async () => {
    const { store } = current();
    const start = await put(store, 'w/before', 0);
    await store.transact(
      [],
      [
        { put: 'w/1', value: 1 },
        { put: 'w/2', value: 2 },
        { put: 'other', value: 3 },
      ],
    );
    const watch = watchFrom(store, 'w/', start);
    expect(await watch.next()).toMatchObject([
      { key: 'w/1', value: 1 },
      { key: 'w/2', value: 2 },
    ]);
    const pending = watch.next();
    await put(store, 'elsewhere', 1);
    const revision = committed(await store.transact([], [{ delete: 'w/1' }]));
    expect(await pending).toEqual([{ key: 'w/1', value: undefined, revision }]);
    await watch.end();
  });

  it('misses nothing when many watchers read at their own pace while others write', async () => {
    const { store } = current();
    const count = 60;
    const writers = Promise.all(
      Array.from({ length: count }, (_, index) =>
        store.transact(
          [],
          [
            { put: `w/${index}`, value: index },
            { put: `w/x${index}`, value: index },
          ],
        ),
      ),
    );
    const watchers = Array.from({ length: 4 }, () => watchFrom(store, 'w/', 0));
    const seen = await Promise.all(
      watchers.map(async (watch, pace) => {
        const transactions: StoreEvent[][] = [];
        while (transactions.length < count) {
          transactions.push(await watch.next());
          for (let turn = 0; turn < pace; turn += 1) await new Promise((resolve) => setImmediate(resolve));
        }
        return transactions;
      }),
    );
    await writers;
    for (const transactions of seen) {
      expect(transactions.every((events) => events.length === 2)).toBe(true);
      const revisions = transactions.map(([event]) => event?.revision ?? 0);
      expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => a - b));
      expect(new Set(transactions.flat().map(({ key }) => key)).size).toBe(2 * count);
    }
    await Promise.all(watchers.map((watch) => watch.end()));
  });

  it('goes on after a restart from the last revision seen', async () => {
    const first = await put(current().store, 'w', 1);
    await put(current().store, 'w', 2);
    const store = await current().reopen();
    const watch = watchFrom(store, 'w', first);
    expect(await watch.next()).toMatchObject([{ key: 'w', value: 2 }]);
    await put(store, 'w', 3);
    expect(await watch.next()).toMatchObject([{ key: 'w', value: 3 }]);
    await watch.end();
  });

  it('simply finishes when its signal aborts, while it waits or before it began', async () => {
    const { store } = current();
    const controller = new AbortController();
    const iterator = store.watch('', 0, controller.signal)[Symbol.asyncIterator]();
    const pending = iterator.next();
    controller.abort();
    expect(await pending).toMatchObject({ done: true });
    expect(await store.watch('', 0, AbortSignal.abort())[Symbol.asyncIterator]().next()).toMatchObject({ done: true });
  });
}

function describeLeases(current: Current): void {
  it('deletes the keys of a lease that ended, which watchers see', async () => {
    const { store, advanceTime } = current();
    await store.grantLease('session', 1_000);
    const revision = committed(
      await store.transact(
        [],
        [
          { put: 's/1', value: 1, lease: 'session' },
          { put: 's/2', value: 2, lease: 'session' },
          { put: 's/3', value: 3 },
        ],
      ),
    );
    const watch = watchFrom(store, 's/', revision);
    await advanceTime(1_500);
    const events = await watch.next();
    expect(events.map(({ key, value }) => [key, value])).toEqual([
      ['s/1', undefined],
      ['s/2', undefined],
    ]);
    expect((await store.list('s/')).entries.map(({ key }) => key)).toEqual(['s/3']);
    expect(await store.keepLeaseAlive('session')).toBe(false);
    await watch.end();
  });

  it('lasts as long as it is kept alive', async () => {
    const { store, advanceTime } = current();
    await store.grantLease('session', 1_000);
    await store.transact([], [{ put: 's', value: 1, lease: 'session' }]);
    for (let round = 0; round < 4; round += 1) {
      await advanceTime(600);
      expect(await store.keepLeaseAlive('session')).toBe(true);
    }
    expect(await store.get('s')).toBeDefined();
    await advanceTime(1_500);
    expect(await store.get('s')).toBeUndefined();
  });

  it('is ended early by a shorter one granted later, and not by a longer one', async () => {
    const { store, advanceTime } = current();
    await store.grantLease('long', 60_000);
    await store.grantLease('short', 500);
    await store.transact(
      [],
      [
        { put: 'l', value: 1, lease: 'long' },
        { put: 's', value: 1, lease: 'short' },
      ],
    );
    await advanceTime(1_000);
    expect((await store.list('')).entries.map(({ key }) => key)).toEqual(['l']);
  });

  it('revokes at once, and a key written again without the lease is no longer its own', async () => {
    const { store } = current();
    await store.grantLease('session', 60_000);
    await store.transact(
      [],
      [
        { put: 'a', value: 1, lease: 'session' },
        { put: 'b', value: 1, lease: 'session' },
      ],
    );
    await put(store, 'b', 2);
    await store.revokeLease('session');
    expect((await store.list('')).entries.map(({ key }) => key)).toEqual(['b']);
    expect(await store.keepLeaseAlive('session')).toBe(false);
    await expect(store.transact([], [{ put: 'c', value: 1, lease: 'session' }])).rejects.toMatchObject({ code: 'not-found' });
  });

  it('outlives a restart, with its full duration again', async () => {
    await current().store.grantLease('session', 1_000);
    await current().store.transact([], [{ put: 's', value: 1, lease: 'session' }]);
    await current().advanceTime(700);
    const store = await current().reopen();
    await current().advanceTime(700);
    expect(await store.get('s')).toBeDefined();
    await current().advanceTime(700);
    expect(await store.get('s')).toBeUndefined();
  });
}

const someKeys = ['a', 'a/', 'a/b', 'a/\u{10ffff}', 'b', 'ä', '\u{1f6a2}'];
const keyArbitrary = fc.constantFrom(...someKeys);
const stepArbitrary = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant('transact' as const),
      compares: fc.array(fc.record({ key: keyArbitrary, right: fc.oneof({ weight: 4, arbitrary: fc.constant(true) }, fc.constant(false)) }), {
        maxLength: 2,
      }),
      puts: fc.uniqueArray(fc.record({ key: keyArbitrary, value: fc.option(fc.jsonValue({ maxDepth: 1 }), { nil: undefined }) }), {
        selector: ({ key }) => key,
        maxLength: 4,
      }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('reopen' as const) }) },
);

async function matchesModel(openStore: () => Promise<StoreUnderTest>): Promise<void> {
  const property = fc.asyncProperty(fc.array(stepArbitrary, { maxLength: 25 }), fc.constantFrom('', ...someKeys), async (steps, prefix) => {
    const subject = await openStore();
    const model = new StoreModel();
    try {
      for (const step of steps) {
        if (step.kind === 'reopen') await subject.reopen();
        else await transactBoth(subject.store, model, step);
        expect(await subject.store.list(prefix)).toEqual(model.list(prefix));
      }
      const expected = model.eventsOf(prefix);
      const watch = watchFrom(subject.store, prefix, 0);
      for (const events of expected) expect((await watch.next()).sort(byCodePoints)).toEqual(events);
      await watch.end();
    } finally {
      await subject.dispose();
    }
  });
  await fc.assert(property, { numRuns: 30 });
}

type TransactStep = Extract<typeof stepArbitrary extends fc.Arbitrary<infer Step> ? Step : never, { kind: 'transact' }>;

async function transactBoth(store: Store, model: StoreModel, step: TransactStep): Promise<void> {
  const compares = step.compares.map(({ key, right }) => ({ key, revision: model.revisionOf(key) + (right ? 0 : 1) }));
  const operations = step.puts.map(({ key, value }): StoreOperation => (value === undefined ? { delete: key } : { put: key, value: plain(value) }));
  expect(await store.transact(compares, operations)).toEqual(model.transact(compares, operations));
}

/** What JSON keeps of a value (it has no negative zero). */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

async function put(store: Store, key: string, value: unknown): Promise<number> {
  return committed(await store.transact([], [{ put: key, value }]));
}

function committed(result: Awaited<ReturnType<Store['transact']>>): number {
  if (!result.committed) throw new Error(`not committed: ${result.failed.join(', ')}`);
  return result.revision;
}

function watchFrom(store: Store, prefix: string, afterRevision: number) {
  const controller = new AbortController();
  const iterator = store.watch(prefix, afterRevision, controller.signal)[Symbol.asyncIterator]();
  return {
    async next(): Promise<StoreEvent[]> {
      const result = await iterator.next();
      if (result.done) throw new Error('the watch ended');
      return result.value;
    },
    /** Ends the watch; fails if it still had something to say. */
    async end(): Promise<void> {
      const pending = iterator.next();
      controller.abort();
      expect(await pending).toMatchObject({ done: true });
    },
  };
}
