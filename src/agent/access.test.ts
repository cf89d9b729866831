import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { unlimitedQuota } from '../model/access.ts';
import type { AccessGrant, Application, Project } from '../model/access.ts';
import { SupercargoError } from '../model/errors.ts';
import { newIdentifier } from '../model/identifiers.ts';
import { newVolume } from '../model/new-volume.ts';
import type { AuditDecision } from '../model/audit.ts';
import type { ListedContainer } from '../ports/container-engine.ts';
import type { ContainerGate, ContainerWish } from '../ports/container-gate.ts';
import type { FenceOutcome, FenceTarget } from '../ports/fence.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { AccessEnforcement } from './access-enforcement.ts';
import { createContainerGate } from './container-gate.ts';
import type { AgentContext, ContainerPass } from './context.ts';
import { LocalState } from './local-state.ts';
import { NameServerTime } from './name-server-time.ts';

let directory: string;
let clock: ManualClock;
let state: LocalState;
let enforcement: AccessEnforcement;
let gate: ContainerGate;
let running: Promise<void> | undefined;
let stopping: AbortController;
/** What the engine says, and what the agent did. */
let engine: { plugins: string[]; containers: ListedContainer[] };
let killed: { path: string; containers: string[] }[];
let outcome: FenceOutcome;
let acknowledged: number[];
let audit: Omit<AuditDecision, 'times'>[];
const passes = new Map<string, ContainerPass>();

const at = new Date(0).toISOString();
const shop: Project = { id: newIdentifier('prj'), name: 'shop', requireGrants: true, quota: unlimitedQuota, createdAt: at };
const web: Application = { id: newIdentifier('app'), project: shop.id, name: 'web', privileged: false, createdAt: at, revocation: null };
const orders = { ...newVolume({ id: newIdentifier('vol'), name: 'orders', createdAt: at, epoch: 1 }), project: shop.id };
const right = { application: web.id, volume: orders.id, mode: 'read-write', from: at, until: null } as const;
const granted: AccessGrant = { id: newIdentifier('grt'), ...right, reason: 'r', actor: 'operator', createdAt: at, revocation: null };
const revocation = { at, actor: 'operator', reason: 'r', policy: 'now' } as const;
const session = 'ab'.repeat(32);
const wish: ContainerWish = { pass: 'good', volumes: [{ name: 'orders', mode: 'read-write' }], paths: [], powers: [] };

async function open(): Promise<void> {
  state = await LocalState.open(openSqliteStore({ path: join(directory, 'agent.db'), clock }), clock);
  const context = {
    state,
    clock,
    nameServerTime: new NameServerTime(clock),
    log: { info: () => {}, warn: () => {}, error: () => {}, debug: () => {} },
    audit: { record: (entry: Omit<AuditDecision, 'times'>) => void audit.push(entry) },
    verifyPass: async (token: string) => {
      const pass = passes.get(token);
      if (pass === undefined) throw new SupercargoError('forbidden', 'The pass is refused.');
      return pass;
    },
    system: { realPath: async (path: string) => (path === '/srv/link' ? '/secret/place' : path) },
    guardedPlaces: { all: () => [{ path: '/secret', holds: 'secrets', readable: false }], noteEngineDirectory: async () => undefined },
    driver: { livePath: (volume: string) => `/pool/${volume}` },
    mountDirectory: '/mounts',
    pluginName: 'supercargo',
    engine: {
      instance: async () => 'one',
      settings: async () => ({ authorizationPlugins: engine.plugins, dataDirectory: '/var/lib/docker' }),
      containers: async () => engine.containers,
    },
    fence: {
      kill: async (targets: readonly FenceTarget[]) => {
        killed.push(...targets.map(({ path, containers }) => ({ path, containers: [...(containers ?? [])] })));
        return targets.map(() => outcome);
      },
    },
    nameServer: { acknowledgeAccess: async ({ body }: { body: { revision: number } }) => void acknowledged.push(body.revision) },
  } as unknown as AgentContext;
  enforcement = new AccessEnforcement(context);
  gate = createContainerGate({ ...context, enforcement });
}

/** As after kill -9: only what is on the disk is known. */
async function reopen(): Promise<void> {
  await state.close();
  await open();
}

async function records(change: { grants?: AccessGrant[]; applications?: Application[]; projects?: Project[] } = {}): Promise<void> {
  await state.access.replace({ projects: [shop], applications: [web], grants: [granted], denials: [], ...change });
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'supercargo-access-'));
  clock = new ManualClock();
  engine = { plugins: ['supercargo'], containers: [] };
  outcome = { users: [], problem: null };
  [killed, acknowledged, audit, running] = [[], [], [], undefined];
  stopping = new AbortController();
  passes.clear();
  const pass: ContainerPass = { pass: newIdentifier('pas'), application: web.id, uses: 'once', expires: clock.wallMilliseconds() + 60_000 };
  passes.set('good', pass).set('many', { ...pass, pass: newIdentifier('pas'), uses: 'many' });
  passes.set('stranger', { ...pass, pass: newIdentifier('pas'), application: newIdentifier('app') });
  await open();
  await records();
  await state.rememberVolumes([orders]);
});

afterEach(async () => {
  stopping.abort();
  await running;
  await state.close();
  rmSync(directory, { recursive: true, force: true });
});

async function admit(container: string, token = 'many'): Promise<void> {
  await gate.create(container, { ...wish, pass: token });
  await gate.created(container, container);
}

/** Lets the enforcement run until this is so. */
async function enforced(condition: () => boolean): Promise<void> {
  running ??= enforcement.run(stopping.signal);
  for (let turn = 0; turn < 200 && !condition(); turn += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    await clock.advance(100);
  }
  expect(condition()).toBe(true);
}

describe('what is known of access', () => {
  it('is there after a restart, without a name server', async () => {
    await reopen();
    expect([gate.guarding, state.access.grantsOf(web.id)]).toEqual([true, [granted]]);
    await state.access.apply({ type: 'grant', revision: 2, id: granted.id, grant: null });
    await reopen();
    expect(state.access.grantsOf(web.id)).toEqual([]);
    await records({ projects: [] });
    await reopen();
    expect(gate.guarding).toBe(false);
  });
});

describe('a container that is made', () => {
  it.each<[string, Partial<ContainerWish>, string]>([
    ['without a pass', { pass: null }, 'does not prove whose it is'],
    ['with a pass that is not verified', { pass: 'forged' }, 'The pass is refused'],
    ['with the pass of an application that nobody knows', { pass: 'stranger' }, 'does not prove whose it is'],
    ['with a way to a secret place', { paths: [{ path: '/secret/place', mode: 'read-only' }] }, 'secrets'],
    ['with a way around to one', { paths: [{ path: '/srv/link', mode: 'read-only' }] }, 'secrets'],
    ['with a path that can be read in two ways', { paths: [{ path: '/srv/../secret', mode: 'read-only' }] }, 'cannot be judged'],
    ['with powers', { powers: ['is privileged'] }, 'may not be privileged'],
    ['with a new volume of the project', { volumes: [{ name: null, mode: 'read-write', fresh: { project: 'shop' } }] }, 'has no grant'],
  ])('%s is refused', async (_, change, reason) => {
    const made = gate.create('one', { ...wish, ...change }).catch((error: unknown) => error);
    await clock.advance(2000);
    expect(await made).toMatchObject({ code: 'forbidden', message: expect.stringContaining(reason) });
    expect(state.admissions.forVolume('orders')).toEqual([]);
    expect(audit.map(({ verdict }) => verdict)).toEqual(reason.includes('judged') ? [] : ['deny']);
    expect(JSON.stringify(audit)).not.toMatch(/good|forged/);
  });

  it('spends its pass, also if the agent dies before the engine has made it, and if two ask at once', async () => {
    const attempts = await Promise.allSettled([gate.create('one', wish), gate.create('two', wish)]);
    expect(attempts.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
    await reopen();
    await expect(gate.create('three', wish)).rejects.toThrow('was used before');
  });

  it('may show its pass before this host has heard of its application', async () => {
    await records({ applications: [], grants: [] });
    const made = gate.create('one', wish);
    await clock.advance(1000);
    await records();
    await clock.advance(1000);
    await made;
    expect(state.admissions.forVolume('orders')).toHaveLength(1);
  });

  it('gives the pass back if the engine did not make it', async () => {
    await gate.create('one', wish);
    await gate.created('one', null);
    await reopen();
    await gate.create('one', wish);
  });

  it('writes down each decision, without the pass', async () => {
    await admit('c1', 'good');
    await gate.create('two', wish).catch(() => undefined);
    expect(audit).toMatchObject([
      { actor: 'shop/web, a new container', subject: 'volume orders read-write', verdict: 'allow' },
      { verdict: 'allow' },
      { verdict: 'deny', reason: 'its pass was used before' },
    ]);
  });
});

describe('a container that is started', () => {
  const { pass: _, ...inspected } = wish;

  it('needs no new pass, also after a restart of the agent, as long as its grant is in force', async () => {
    await admit('c1', 'good');
    await reopen();
    await gate.start('c1', inspected);
    await records({ grants: [{ ...granted, until: at }] });
    await expect(gate.start('c1', inspected)).rejects.toThrow('it ended at');
  });

  it('is refused if it was never admitted, or gets more than its grant reaches', async () => {
    await expect(gate.start('c2', inspected)).rejects.toThrow('does not prove whose it is');
    await admit('c1');
    await records({ grants: [{ ...granted, mode: 'read-only' }] });
    await expect(gate.start('c1', inspected)).rejects.toThrow('may only read');
  });
});

describe('a mount', () => {
  const asks = () => state.admissions.noteEngine(true);

  it('is refused while it is not known that the engine asks, or known that it does not', async () => {
    await admit('c1');
    expect(() => enforcement.checkMount(orders, session)).toThrow('does not ask who may use it');
    await asks();
    enforcement.checkMount(orders, session);
    await reopen();
    enforcement.checkMount(orders, session);
    await state.admissions.noteEngine(false);
    expect(() => enforcement.checkMount(orders, session)).toThrow('does not ask who may use it');
  });

  it('is refused while no container was admitted; one that is being made counts', async () => {
    await asks();
    expect(() => enforcement.checkMount(orders, session)).toThrow('no container with a pass was made for it');
    await gate.create('one', wish);
    enforcement.checkMount(orders, session);
    await gate.created('one', null);
    expect(() => enforcement.checkMount(orders, session)).toThrow('no container with a pass was made for it');
  });

  it('is refused once the grant is gone, whatever the engine says', async () => {
    await asks();
    await admit('c1');
    await records({ grants: [] });
    expect(() => enforcement.checkMount(orders, session)).toThrow('has no grant');
  });

  it('is refused to Podman, which asks nobody', async () => {
    await asks();
    await admit('c1');
    expect(() => enforcement.checkMount(orders, '2f73349cfc4630255319c6c8dfc1b46a8996ace9d14d8e07563b165915918ec2')).toThrow('Podman');
  });

  it('is refused while a container names the volume that nobody admitted, and admissions end with their containers', async () => {
    await admit('c1');
    await admit('c2');
    engine.containers = [
      { id: 'c1', name: 'web', volumes: ['orders'] },
      { id: 'c3', name: 'thief', volumes: ['orders'] },
    ];
    await enforced(() => state.admissions.of('c2') === undefined);
    expect(state.admissions.of('c1')).toBeDefined();
    expect(() => enforcement.checkMount(orders, session)).toThrow('container thief names it and was never admitted');
  });

  it('is not for ever allowed for a container of which the engine never said what became of it', async () => {
    await gate.create('one', wish);
    await enforced(() => state.admissions.engineAsks === true);
    expect(state.admissions.opening).toBe(true);
    await clock.advance(600_000);
    await enforced(() => !state.admissions.opening);
    expect(() => enforcement.checkMount(orders, session)).toThrow('no container with a pass was made for it');
  });

  it('needs nothing in a project that requires no grants', async () => {
    await records({ projects: [{ ...shop, requireGrants: false }] });
    enforcement.checkMount(orders, 'anything');
  });

  it('is refused in a project of which nothing is known yet', async () => {
    await records({ projects: [] });
    expect(() => enforcement.checkMount(orders, session)).toThrow('requires grants');
  });
});

describe('a right that is taken away', () => {
  it('ends the containers admitted for it, in its volumes only, and is acknowledged after that', async () => {
    await admit('c1');
    engine.containers = [{ id: 'c1', name: 'web', volumes: ['orders'] }];
    outcome = { users: [], problem: 'killed, not gone yet' };
    await state.access.apply({ type: 'grant', revision: 5, id: granted.id, grant: { ...granted, revocation } });
    enforcement.noteChange(5);
    await enforced(() => killed.length > 1);
    expect(killed[0]).toEqual({ path: `/pool/${orders.id}`, containers: ['c1'] });
    expect(acknowledged).toEqual([]);
    outcome = { users: [{ processNumber: 7, name: 'app', how: 'cgroup' }], problem: null };
    await enforced(() => acknowledged.length > 0);
    expect(acknowledged).toEqual([5]);
    expect(audit.at(-1)).toMatchObject({ actor: 'shop/web, container c1', action: 'container.end', subject: 'volume orders', verdict: 'deny' });
  });

  it('gracefully ends nothing, and is acknowledged', async () => {
    await admit('c1');
    await records({ applications: [{ ...web, revocation: { ...revocation, policy: 'graceful' } }] });
    enforcement.noteChange(6);
    await enforced(() => acknowledged.includes(6));
    expect(killed).toEqual([]);
  });

  it('ends a container that shows itself a little late', async () => {
    await admit('c1');
    engine.containers = [{ id: 'c1', name: 'web', volumes: ['orders'] }];
    await records({ applications: [{ ...web, revocation }] });
    enforcement.noteChange(7);
    await enforced(() => acknowledged.includes(7));
    const before = killed.length;
    await enforced(() => killed.length > before);
  });
});
