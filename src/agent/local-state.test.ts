import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import { newVolume } from '../model/new-volume.ts';
import type { Grant } from '../model/grant.ts';
import type { Host, Volume } from '../model/records.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { LocalState } from './local-state.ts';

let directory: string;
let clock: ManualClock;
let state: LocalState;

const open = () => LocalState.open(openSqliteStore({ path: join(directory, 'agent.db'), clock }), clock);

/** As after a crash: what was acknowledged is on the disk, nothing else is known. */
async function reopen(): Promise<void> {
  await state.close();
  state = await open();
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'supercargo-agent-'));
  clock = new ManualClock();
  state = await open();
});

afterEach(async () => {
  await state.close();
  rmSync(directory, { recursive: true, force: true });
});

const createdAt = '2026-01-01T00:00:00.000Z';

function volumeNamed(name: string, placement: Volume['placement'] = { state: 'free' }): Volume {
  return newVolume({ id: newIdentifier('vol'), name, createdAt, placement });
}

function hostNamed(name: string): Host {
  return { id: newIdentifier('hst'), name, address: `${name}:1`, version: '1', pool: null, joinedAt: createdAt, state: 'active', labels: {} };
}

async function answerReference(volume: string, session: string, engine: string | null): Promise<void> {
  await state.addReference(volume, session, engine);
  await state.confirmReference(volume, session);
}

describe('a session whose mount is being prepared when the agent dies', () => {
  it('is void: its engine got no answer, and will never give it back', async () => {
    const volume = newIdentifier('vol');
    await state.addReference(volume, 'a', 'run 1');
    expect(state.references(volume)).toMatchObject([{ session: 'a', count: 1 }]);
    await reopen();
    expect(state.references(volume)).toEqual([]);
  });

  it('counts as often as it was answered before', async () => {
    const volume = newIdentifier('vol');
    await answerReference(volume, 'a', 'run 1');
    await state.addReference(volume, 'a', 'run 1');
    await reopen();
    expect(state.references(volume)).toMatchObject([{ session: 'a', count: 1 }]);
  });

  it('counts as often as it was answered before, also if that mount failed', async () => {
    const volume = newIdentifier('vol');
    await answerReference(volume, 'a', 'run 1');
    await state.addReference(volume, 'a', 'run 1');
    await state.dropReference(volume, 'a');
    await reopen();
    expect(state.references(volume)).toMatchObject([{ session: 'a', count: 1 }]);
  });
});

describe('the local state', () => {
  it('keeps grants', async () => {
    const volume = newIdentifier('vol');
    const grant: Grant = { epoch: 3, state: 'released', move: newIdentifier('mov'), snapshot: newIdentifier('snp') };
    await state.setGrant(volume, { epoch: 3, state: 'held', move: null, snapshot: null });
    await state.setGrant(volume, grant);
    await reopen();
    expect(state.grant(volume)).toEqual(grant);
    expect(state.grant(newIdentifier('vol'))).toBeNull();
    expect(state.localVolumes()).toEqual([volume]);
  });

  it('keeps what the name server has confirmed, for one boot of the host and one epoch', async () => {
    const [taken, confirmed] = [newIdentifier('vol'), newIdentifier('vol')];
    await state.takeGrant(taken, { epoch: 3, boot: 'first' });
    await state.setGrant(confirmed, { epoch: 2, state: 'releasing', move: null, snapshot: null });
    await state.confirmGrants([{ volume: confirmed, epoch: 2 }], 'first');
    await reopen();
    expect([taken, confirmed].map((volume) => state.grant(volume)?.state)).toEqual(['held', 'releasing']);
    expect(state.isConfirmed(taken, { epoch: 3, boot: 'first' })).toBe(true);
    expect(state.isConfirmed(confirmed, { epoch: 2, boot: 'first' })).toBe(true);
    expect(state.isConfirmed(taken, { epoch: 3, boot: 'second' })).toBe(false);
    expect(state.isConfirmed(taken, { epoch: 4, boot: 'first' })).toBe(false);
    await state.forgetCopy(taken);
    await reopen();
    expect(state.isConfirmed(taken, { epoch: 3, boot: 'first' })).toBe(false);
  });

  it('counts sessions, each as often as it was answered', async () => {
    const volume = newIdentifier('vol');
    for (const session of ['a', 'a', 'b']) await answerReference(volume, session, 'run 1');
    await state.dropReference(volume, 'a');
    await state.dropReference(volume, 'unknown');
    await reopen();
    expect(state.references(volume).map(({ session, count }) => ({ session, count }))).toEqual(
      expect.arrayContaining([
        { session: 'a', count: 1 },
        { session: 'b', count: 1 },
      ]),
    );
    await state.dropReference(volume, 'a');
    await state.dropReference(volume, 'b');
    await reopen();
    expect(state.references(volume)).toEqual([]);
    expect(state.localVolumes()).toEqual([]);
  });

  it('begins to count anew when the engine was restarted', async () => {
    const volume = newIdentifier('vol');
    for (const engine of ['run 1', 'run 1', 'run 2']) await state.addReference(volume, 'a', engine);
    expect(state.references(volume)).toMatchObject([{ session: 'a', count: 1, engine: 'run 2' }]);
  });

  it('knows how old a session is, and gives it the benefit of the doubt after a restart', async () => {
    const volume = newIdentifier('vol');
    await answerReference(volume, 'a', null);
    await clock.advance(70_000);
    expect(state.references(volume)).toMatchObject([{ ageMilliseconds: 70_000 }]);
    await reopen();
    expect(state.references(volume)).toMatchObject([{ ageMilliseconds: 0 }]);
    await clock.advance(5000);
    expect(state.references(volume)).toMatchObject([{ ageMilliseconds: 5000 }]);
  });

  it('forgets sessions that are named, whatever their count', async () => {
    const volume = newIdentifier('vol');
    for (const session of ['a', 'a', 'b']) await state.addReference(volume, session, null);
    await state.forgetSessions(volume, ['a']);
    await state.forgetSessions(volume, []);
    expect(state.references(volume)).toMatchObject([{ session: 'b' }]);
  });

  it('forgets what was of a copy that is gone', async () => {
    const volume = newIdentifier('vol');
    await state.setGrant(volume, { epoch: 1, state: 'releasing', move: null, snapshot: null });
    await state.addReference(volume, 'a', null);
    await state.forgetCopy(volume);
    await reopen();
    expect(state.localVolumes()).toEqual([]);
  });

  it('answers about volumes and hosts without asking anybody', async () => {
    const [one, two] = [volumeNamed('one'), volumeNamed('two')];
    const host = hostNamed('h1');
    await state.replaceCatalogue([one, two], [host]);
    await reopen();
    expect(state.volumeByName('one')).toEqual(one);
    expect(state.volume(two.id)).toEqual(two);
    expect(
      state
        .namedVolumes()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(['one', 'two']);
    expect(state.hostName(host.id)).toBe('h1');
    expect(state.hostName('hst_unknown')).toBe('hst_unknown');
  });

  it('takes a whole new picture over, in which the old is gone', async () => {
    await state.replaceCatalogue([volumeNamed('old')], []);
    const replacement = volumeNamed('new');
    await state.replaceCatalogue([replacement], []);
    await reopen();
    expect(state.namedVolumes()).toEqual([replacement]);
    expect(state.volumeByName('old')).toBeUndefined();
  });

  it('lets a name go to a new volume while the old one of that name is still being deleted', async () => {
    const old = volumeNamed('data');
    await state.rememberVolumes([old]);
    await state.rememberVolumes([{ ...old, placement: { state: 'removing', host: newIdentifier('hst'), base: null, confirmed: true } }]);
    expect(state.volumeByName('data')).toBeUndefined();
    const next = volumeNamed('data');
    await state.rememberVolumes([next]);
    await state.forgetVolume(old.id);
    await reopen();
    expect(state.volumeByName('data')).toEqual(next);
  });

  it('finds the new volume whichever of the two is heard of last', async () => {
    const old = volumeNamed('data');
    const next = volumeNamed('data');
    await state.rememberVolumes([old, next]);
    await state.rememberVolumes([{ ...old, placement: { state: 'removing', host: newIdentifier('hst'), base: null, confirmed: true } }]);
    expect(state.volumeByName('data')).toEqual(next);
  });
});
