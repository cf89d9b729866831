import { beforeEach, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import type { AgentContext, TransferTicket } from './context.ts';
import { LocalState } from './local-state.ts';
import { TicketSessions } from './ticket-sessions.ts';

const lifetimeMilliseconds = 600_000;
const purpose = {
  move: newIdentifier('mov'),
  volume: newIdentifier('vol'),
  epoch: 1,
  source: newIdentifier('hst'),
  destination: newIdentifier('hst'),
};
const refused = (reason: string) => ({ code: 'forbidden', message: expect.stringContaining(reason) });
let clock: ManualClock;
let store: Store;
let view: { synced: boolean };
let sessions: TicketSessions;

beforeEach(async () => {
  clock = new ManualClock();
  store = openSqliteStore({ path: ':memory:', clock });
  view = { synced: true };
  await restart();
});

async function restart(): Promise<void> {
  const state = await LocalState.open(store, clock);
  sessions = new TicketSessions({ state, clock, view: view as AgentContext['view'] });
}

const ticket = (of: Partial<typeof purpose> = {}): TransferTicket => ({
  ...purpose,
  ...of,
  id: newIdentifier('tkt'),
  expires: clock.wallMilliseconds() + lifetimeMilliseconds,
});

it('goes on with whoever showed the ticket first, as often as he comes back, also after a restart of the source', async () => {
  const shown = ticket();
  for (let time = 0; time < 3; time += 1) await sessions.admit(shown, 'A');
  await restart();
  await sessions.admit(shown, 'A');
});

it('is closed to every other certificate, also of the same host, and after a restart', async () => {
  const shown = ticket();
  await sessions.admit(shown, 'A');
  await expect(sessions.admit(shown, 'B')).rejects.toMatchObject(refused('another certificate'));
  await restart();
  await expect(sessions.admit(shown, 'B')).rejects.toMatchObject(refused('another certificate'));
});

it('ends when another ticket for the same purpose is shown, for good', async () => {
  const [first, second] = [ticket(), ticket()];
  await sessions.admit(first, 'A');
  await sessions.admit(second, 'A');
  await expect(sessions.admit(first, 'A')).rejects.toMatchObject(refused('another has taken its place'));
  await restart();
  await expect(sessions.admit(first, 'A')).rejects.toMatchObject(refused('another has taken its place'));
  await sessions.admit(second, 'A');
});

it('does not end with that of another destination, or another move', async () => {
  const [first, second, third] = [ticket(), ticket({ destination: newIdentifier('hst') }), ticket({ move: newIdentifier('mov') })];
  for (const each of [first, second, third, first, second]) await sessions.admit(each, 'A');
});

it('begins only while the name server is heard, which may have denied its bearer; one that has begun goes on', async () => {
  const [begun, fresh] = [ticket(), ticket()];
  await sessions.admit(begun, 'A');
  view.synced = false;
  await sessions.admit(begun, 'A');
  await expect(sessions.admit(fresh, 'A')).rejects.toMatchObject({ code: 'host-unreachable' });
});

it('is forgotten once its ticket has run out by itself', async () => {
  await sessions.admit(ticket(), 'A');
  await clock.advance(lifetimeMilliseconds);
  await sessions.admit(ticket(), 'A');
  expect((await store.list('tickets/')).entries).toHaveLength(1);
});
