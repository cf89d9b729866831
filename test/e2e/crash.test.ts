import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CommandError } from '../../testbed/lab.ts';
import type { Host } from '../../testbed/lab.ts';
import { waitUntil } from '../../testbed/process.ts';
import { Cluster } from './support/cluster.ts';
import { expectClean } from './support/invariants.ts';
import { seededRandom, testSeed } from './support/random.ts';
import { Records } from './support/records.ts';

let cluster: Cluster;
let serial = 0;
// h1 is only the name server; volumes go between h2 and h3.
let h1: Host;
let h2: Host;
let h3: Host;

beforeAll(async () => {
  cluster = await Cluster.start({ hosts: 3 });
  [h1, h2, h3] = [cluster.host('h1'), cluster.host('h2'), cluster.host('h3')];
});
afterAll(() => cluster[Symbol.asyncDispose]());

/** The moment of the kill is what these tests vary: there is no event to wait for. */
async function letPass(host: Host, milliseconds: number): Promise<void> {
  await host.run(['sleep', String(milliseconds / 1000)]);
}

async function newVolume(host: Host): Promise<Records> {
  serial += 1;
  const records = new Records(cluster, `crash${serial}`);
  await cluster.createVolume(host, records.volume);
  await records.append(host);
  return records;
}

/** Nothing is left over, and the volume starts on either host with all that was acknowledged. */
async function expectUsable(records: Records): Promise<void> {
  await expectClean(cluster, records.volume);
  for (const host of [h3, h2]) {
    await records.append(host);
    expect(await expectClean(cluster, records.volume)).toBe(host.name);
  }
}

describe('kill -9 of the name server', () => {
  test(`at random moments while volumes move (seed ${testSeed})`, async () => {
    const random = seededRandom(testSeed);
    const records = await newVolume(h2);
    const state = { killing: true, moved: 0 };
    const killing = (async () => {
      for (let kill = 0; kill < 15; kill += 1) {
        await letPass(h1, random() * 600);
        await cluster.restartDaemon(h1);
      }
    })().finally(() => (state.killing = false));
    for (let turn = 1; state.killing; turn += 1) {
      const start = await records.tryAppend(turn % 2 === 0 ? h2 : h3);
      records.note(start);
      if (start.exitCode === 0) state.moved += 1;
      else if (!/name server|being moved|does not answer/.test(start.stderr)) throw new Error(`not for want of a name server: ${start.stderr}`);
    }
    await killing;
    await cluster.connected();
    expect(state.moved).toBeGreaterThan(0);
    await expectUsable(records);
  });
});

describe('kill -9 of an agent', () => {
  const operations = ['create', 'mount', 'move', 'unmount', 'remove'] as const;
  const random = seededRandom(testSeed);
  const rounds = [...operations, ...operations].map((operation) => ({
    operation,
    milliseconds: Math.round(random() * 400),
    // Two have a part in a move, and any may create; the rest is the holder's affair.
    victim: ['create', 'move'].includes(operation) && random() < 0.5 ? 'h3' : 'h2',
  }));

  test.each(rounds)(`$victim, $milliseconds ms into $operation (seed ${testSeed})`, async ({ operation, milliseconds, victim }) => {
    const volume = await newVolume(h2);
    const fresh = new Records(cluster, `${volume.volume}-fresh`);
    const killed = cluster.host(victim);
    if (operation === 'unmount') await volume.startWriter(h2, 'writer');
    const underWay: Record<typeof operation, () => Promise<unknown>> = {
      create: () => cluster.createVolume(killed, fresh.volume),
      mount: async () => volume.note(await volume.tryAppend(h2)),
      move: async () => volume.note(await volume.tryAppend(h3)),
      unmount: () => volume.stopWriter(h2, 'writer'),
      remove: () => h2.docker('volume', 'rm', volume.volume),
    };
    // Whether it succeeds is chance; what must hold is what comes after.
    const ended = underWay[operation]().then(
      () => undefined,
      (error: unknown) => error,
    );
    await letPass(killed, milliseconds);
    await cluster.restartDaemon(killed);
    await cluster.connected();
    const error = await ended;
    expect(error === undefined || error instanceof CommandError, String(error)).toBe(true);
    if (operation === 'create') await expectCreated(fresh, killed);
    if (operation === 'remove') await expectRemoved(volume.volume);
    else await expectUsable(volume);
  });

  async function expectCreated(fresh: Records, host: Host): Promise<void> {
    await cluster.createVolume(host, fresh.volume);
    await fresh.append(host);
    await expectUsable(fresh);
  }

  async function expectRemoved(name: string): Promise<void> {
    await waitUntil('the removal can be completed', async () => {
      await h2.docker('volume', 'rm', '--force', name).catch(() => undefined);
      const { items } = await cluster.query<{ items: { name: string }[] }>(h2, '/v1/volumes');
      return items.every((each) => each.name !== name);
    });
    const anew = new Records(cluster, name);
    await cluster.createVolume(h3, name);
    await anew.append(h3);
    expect(anew.acknowledged).toBe(3);
    await expectUsable(anew);
  }
});

describe('kill -9 of dockerd under a running container', () => {
  test('the next start works, and references reach zero', async () => {
    const records = await newVolume(h2);
    await records.startWriter(h2, 'writer');
    await h2.stopDocker('SIGKILL');
    await h2.startDocker();
    records.note(await h2.docker('logs', 'writer'));
    await records.append(h2);
    await h2.docker('rm', '--force', 'writer');
    await expectUsable(records);
  });

  test('also if the container dies while there is no dockerd', async () => {
    const records = await newVolume(h2);
    await records.startWriter(h2, 'writer');
    const { stdout } = await h2.docker('inspect', '--format', '{{.State.Pid}}', 'writer');
    await h2.stopDocker('SIGKILL');
    await h2.run(['kill', '-9', stdout.trim()], { allowFailure: true });
    await h2.startDocker();
    records.note(await h2.docker('logs', 'writer'));
    await records.append(h3);
    expect(await expectClean(cluster, records.volume)).toBe('h3');
    await h2.docker('start', 'writer');
    await h2.docker('rm', '--force', 'writer');
    await expectUsable(records);
  });

  test('with live-restore the container goes on, keeps its volume, and gives it back when it stops', async () => {
    const records = await newVolume(h2);
    await h2.stopDocker();
    await h2.startDocker(['--live-restore']);
    await records.startWriter(h2, 'writer');
    await h2.stopDocker('SIGKILL');
    const whileAway = await records.tryAppend(h3);
    expect(whileAway.stderr).toMatch(/in use on h2/);
    await h2.startDocker(['--live-restore']);
    const refused = await records.tryAppend(h3);
    expect(refused.stderr).toMatch(/in use on h2 by container writer/);
    const before = records.acknowledged;
    await records.stopWriter(h2, 'writer');
    expect(records.acknowledged).toBeGreaterThan(before);
    await expectUsable(records);
    await h2.stopDocker();
    await h2.startDocker();
  });
});
