import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ManualClock } from '../ports/manual-clock.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { LocalState } from './local-state.ts';

const volume = 'vol_000000000000000000000001';
const clock = new ManualClock();

let directory: string;
let state: LocalState;

const open = (): Promise<LocalState> => LocalState.open(openSqliteStore({ path: join(directory, 'agent.db'), clock }), clock);

/** What a new run of the agent finds. */
async function afterCrash(): Promise<{ session: string; count: number }[]> {
  await state.close();
  state = await open();
  return state.references(volume).map(({ session, count }) => ({ session, count }));
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'supercargo-state-'));
  state = await open();
});

afterEach(async () => {
  await state.close();
  rmSync(directory, { recursive: true, force: true });
});

describe('sessions across the death of the agent', () => {
  test('one that was answered counts on', async () => {
    await state.addReference(volume, 'a', 'engine');
    await state.confirmReference(volume, 'a');
    expect(await afterCrash()).toEqual([{ session: 'a', count: 1 }]);
  });

  test('one that was being prepared is void: its engine got no answer and will never give it back', async () => {
    await state.addReference(volume, 'a', 'engine');
    expect(state.references(volume)).toHaveLength(1);
    expect(await afterCrash()).toEqual([]);
  });

  test('of one that was answered and was being mounted once more, the answered use counts on', async () => {
    await state.addReference(volume, 'a', 'engine');
    await state.confirmReference(volume, 'a');
    await state.addReference(volume, 'a', 'engine');
    expect(await afterCrash()).toEqual([{ session: 'a', count: 1 }]);
  });

  test('a mount that failed leaves what was answered before', async () => {
    await state.addReference(volume, 'a', 'engine');
    await state.confirmReference(volume, 'a');
    await state.addReference(volume, 'a', 'engine');
    await state.dropReference(volume, 'a');
    expect(await afterCrash()).toEqual([{ session: 'a', count: 1 }]);
  });

  test('a session of another run of the engine starts anew', async () => {
    await state.addReference(volume, 'a', 'engine');
    await state.confirmReference(volume, 'a');
    await state.addReference(volume, 'a', 'engine restarted');
    await state.confirmReference(volume, 'a');
    expect(await afterCrash()).toEqual([{ session: 'a', count: 1 }]);
  });
});
