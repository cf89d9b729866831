import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newIdentifier } from '../model/identifiers.ts';
import { TestNameServer } from '../nameserver/test-name-server.ts';
import type { Calls } from '../nameserver/test-name-server.ts';
import { ManualClock } from '../ports/manual-clock.ts';
import type { Store } from '../ports/store.ts';
import { openSqliteStore } from '../stores/sqlite/sqlite-store.ts';
import { CliTestBench } from './test-cli.ts';
import type { Ran } from './test-cli.ts';
import { cellsOf } from './test-records.ts';

let bench: CliTestBench;
let store: Store;
let server: TestNameServer;
let operator: Calls;
let h1: string;
let h2: string;

beforeEach(async () => {
  bench = await CliTestBench.create();
  const clock = new ManualClock(Date.now());
  store = openSqliteStore({ path: ':memory:', clock });
  server = await TestNameServer.start(store, clock);
  operator = server.as(null);
  [h1, h2] = [await server.addHost('h1'), await server.addHost('h2')];
  await server.as(h1).heartbeat({ body: { session: newIdentifier('ses'), address: 'h1:7472', version: '', pool: null, leases: [] } });
  await bench.serve(server.handlers);
});

afterEach(async () => {
  await bench.close();
  await store.close();
});

/** Runs a command that succeeds. */
async function run(...argv: string[]): Promise<Ran> {
  const ran = await bench.run(argv);
  expect(ran, argv.join(' ')).toMatchObject({ code: 0 });
  return ran;
}
const linesOf = (text: string): string[] => text.trimEnd().split('\n');
/** @returns the identifier of a grant that is younger than all before */
async function granted(...words: string[]): Promise<string> {
  await server.clock.advance(1);
  return (await run('grant', ...words, '--reason', 'r')).stdout.trim();
}

describe('projects', () => {
  it('are made, listed, set and removed', async () => {
    expect((await run('project', 'add', 'shop', '--quota-bytes', '10G', '--quota-volumes', '5')).stdout).toBe('shop\n');
    await run('volume', 'create', 'orders', '--project', 'shop', '--size', '8G');
    await run('volume', 'create', 'plain');
    expect(cellsOf((await run('project', 'ls')).stdout).map((cells) => cells.slice(0, 4))).toEqual([
      ['NAME', 'GRANTS', 'VOLUMES', 'SIZE LIMITS'],
      ['default', 'not required', '1', '0 B and 1 unlimited'],
      ['shop', 'not required', '1 of 5', '8.0 GiB of 10.0 GiB'],
    ]);
    expect(await bench.run(['volume', 'create', 'more', '--project', 'shop', '--size', '3G'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('has volumes of 8.0 GiB and may have 10.0 GiB: there is no room for volume "more" of 3.0 GiB.'),
    });
    expect((await run('project', 'set', 'shop', '--quota-volumes', '7', '--reason', 'growth')).stdout).toBe(
      'shop: grants are not required, at most 10.0 GiB, 7 volumes\n',
    );
    expect((await run('project', 'set', 'shop', '--no-quota')).stdout).toBe('shop: grants are not required, no quota\n');
    expect(await bench.run(['project', 'rm', 'shop'])).toMatchObject({ code: 4, stderr: expect.stringContaining('still has the volumes "orders"') });
    await run('volume', 'rm', 'orders');
    expect((await run('project', 'rm', 'shop')).stdout).toBe('shop\n');
  });

  it('that require grants say what becomes of each of their volumes, and what Docker has to be told', async () => {
    await run('project', 'add', 'shop');
    for (const [name, host] of [
      ['orders', 'h1'],
      ['letters', 'h2'],
    ] as const)
      await run('volume', 'create', name, '--project', 'shop', '--host', host);
    await run('volume', 'create', 'plain');
    await run('app', 'add', 'shop/web');
    await granted('shop/web', 'orders');
    const { stdout, stderr } = await run('project', 'set', 'shop', '--require-grants');
    expect(stdout).toBe('shop: grants are required, no quota\n');
    expect(linesOf(stderr)).toEqual([
      expect.stringMatching(/^Containers that run go on\. From now on/),
      '  letters (on h2): NOBODY, until you grant it',
      '  orders (on h1): shop/web',
      expect.stringContaining('supercargo grant shop/NAME VOLUME'),
      expect.stringContaining('"Requiring grants" in docs/docker.md'),
    ]);
    expect(JSON.parse((await run('project', 'set', 'shop', '--no-require-grants', '--json')).stdout)).toMatchObject({ requireGrants: false });
  });

  it('are shown with their applications', async () => {
    await run('project', 'add', 'shop', '--require-grants');
    await run('app', 'add', 'shop/web');
    await run('revoke', 'app', 'shop/web', '--graceful', '--reason', 'broken\u001b[31m into');
    const { stdout } = await run('project', 'inspect', 'shop');
    expect(stdout).toMatch(/^grants: +required$/m);
    expect(stdout).toMatch(/^application: +shop\/web, revoked .* \(graceful\): broken.\[31m into$/m);
    expect(stdout).not.toContain('\u001b');
  });
});

describe('volumes', () => {
  it('show their project where there is more than the default one', async () => {
    await run('volume', 'create', 'plain');
    expect(cellsOf((await run('volume', 'ls')).stdout)[0]).not.toContain('PROJECT');
    await run('project', 'add', 'shop');
    await run('volume', 'create', 'orders', '--project', 'shop');
    expect(cellsOf((await run('volume', 'ls')).stdout).map((cells) => cells.slice(0, 3))).toEqual([
      ['NAME', 'PROJECT', 'CLASS'],
      ['orders', 'shop', 'default'],
      ['plain', 'default', 'default'],
    ]);
    expect((await run('volume', 'inspect', 'orders')).stdout).toMatch(/^project: +shop$/m);
    expect((await run('volume', 'inspect', 'plain')).stdout).toMatch(/^project: +default$/m);
  });
});

describe('applications', () => {
  it('are made, listed, revoked, reinstated and removed', async () => {
    await run('project', 'add', 'shop');
    expect((await run('app', 'add', 'shop/web')).stdout).toBe('shop/web\n');
    await run('app', 'add', 'default/backup', '--privileged');
    await run('revoke', 'app', 'shop/web', '--graceful', '--reason', 'broken into');
    expect(cellsOf((await run('app', 'ls')).stdout).map((cells) => cells.slice(0, 3))).toEqual([
      ['NAME', 'PRIVILEGED', 'STATE'],
      ['default/backup', 'yes', 'active'],
      ['shop/web', 'no', expect.stringMatching(/^revoked .* \(graceful\): broken into$/)],
    ]);
    expect(cellsOf((await run('app', 'ls', '--project', 'shop')).stdout)).toHaveLength(2);
    expect((await run('app', 'reinstate', 'shop/web', '--reason', 'mended')).stdout).toBe('shop/web counts again, and so do its grants.\n');
    expect((await run('app', 'rm', 'shop/web')).stdout).toBe('shop/web\n');
    expect(await bench.run(['app', 'rm', 'shop/web'])).toMatchObject({ code: 3 });
  });

  it('get passes, printed as a line of a label file and nothing else', async () => {
    await run('app', 'add', 'default/web');
    const { stdout, stderr } = await run('app', 'pass', 'default/web', '--host', 'h2', '--reusable', '--life', '2h');
    expect(stderr).toBe('');
    const [, claims] = /^supercargo\.pass=(.*)\n$/.exec(stdout) ?? [];
    const expires = server.clock.wallMilliseconds() + 7_200_000;
    expect(JSON.parse(claims!)).toMatchObject({ host: h2, uses: 'many', expires });
    expect(JSON.parse((await run('app', 'pass', 'default/web', '--host', 'h1', '--json')).stdout)).toMatchObject({
      pass: expect.stringContaining('once'),
    });
    expect(await bench.run(['app', 'pass', 'default/web'])).toMatchObject({ code: 2, stderr: expect.stringContaining('--host HOST') });
  });
});

describe('grants', () => {
  beforeEach(async () => {
    await run('project', 'add', 'shop', '--require-grants');
    await run('app', 'add', 'shop/web');
    await run('volume', 'create', 'orders', '--project', 'shop');
  });

  it('are made for a volume or all, for a time, and listed', async () => {
    const one = await granted('shop/web', 'orders');
    const all = await granted('shop/web', '--all-volumes', '--read-only', '--from', '2999-01-01', '--for', '8h');
    const { items } = await operator.listGrants({ query: {} });
    expect(Date.parse(items[1]!.until!) - Date.parse(items[1]!.from)).toBe(8 * 3_600_000);
    expect(cellsOf((await run('grant', 'ls')).stdout)).toEqual([
      ['GRANT', 'APPLICATION', 'VOLUME', 'MODE', 'STATE', 'UNTIL', 'REASON'],
      [one, 'shop/web', 'orders', 'read-write', 'in force', '-', 'r'],
      [all, 'shop/web', 'all volumes of shop', 'read-only', `begins ${items[1]!.from}`, items[1]!.until, 'r'],
    ]);
    await run('revoke', 'grant', one, '--graceful', '--reason', 'done');
    expect(cellsOf((await run('grant', 'ls', '--volume', 'orders', '--app', 'shop/web', '--project', 'shop')).stdout)[1]![4]).toMatch(
      /^revoked .*: done$/,
    );
    expect(await granted('shop/web', 'orders')).not.toBe(one);
  });

  it('that change nothing yet say so', async () => {
    await run('volume', 'create', 'plain');
    expect((await run('grant', 'shop/web', 'orders', '--reason', 'r')).stderr).toBe('');
    expect((await run('grant', 'shop/web', 'plain', '--reason', 'r')).stderr).toMatch(
      /Project default does not require grants: so far every container may/,
    );
  });

  it('end at a time that is given with or without a zone', async () => {
    await granted('shop/web', 'orders', '--until', '2999-01-01T12:00:00+02:00');
    await granted('shop/web', 'orders', '--until', '2999-01-02T12:00');
    const { items } = await operator.listGrants({ query: {} });
    expect(items.map(({ until }) => until)).toEqual(['2999-01-01T10:00:00.000Z', new Date('2999-01-02T12:00').toISOString()]);
  });
});

describe('revoking', () => {
  let grant: string;
  beforeEach(async () => {
    await run('project', 'add', 'shop', '--require-grants');
    await run('app', 'add', 'shop/web');
    await run('volume', 'create', 'orders', '--project', 'shop', '--host', 'h1');
    await run('volume', 'create', 'unused', '--project', 'shop');
    grant = await granted('shop/web', 'orders');
  });

  /** A host that puts into effect whatever it hears of. */
  function obey(host: string): AbortController {
    const client = new AbortController();
    const follow = async (): Promise<void> => {
      for await (const message of server.as(host, { signal: client.signal }).watch({})) {
        if (message.type === 'grant' || message.type === 'application')
          await server.as(host).acknowledgeAccess({ body: { revision: message.revision } });
      }
    };
    void follow();
    return client;
  }

  it('at once needs a yes, and says before what is in use where', async () => {
    const other = await granted('shop/web', '--all-volumes', '--read-only');
    const words = ['revoke', 'grant', grant, '--now', '--reason', 'broken into'];
    const { code, stdout, stderr } = await bench.run(words);
    expect([code, stdout]).toEqual([2, '']);
    expect(linesOf(stderr).slice(0, 4)).toEqual([
      `shop/web loses what grant ${grant} gave it: read-write on orders.`,
      'Its containers may use at this moment:',
      '  orders (on h1)',
      `Grant ${other} stays: read-only on all volumes of shop.`,
    ]);
    expect(stderr).toContain('--yes');
    expect(await bench.run(words, { typed: 'n\n' })).toMatchObject({ code: 1, stdout: '' });
    expect((await operator.listGrants({ query: {} })).items.every(({ revocation }) => revocation === null)).toBe(true);
    expect(await bench.run(words, { typed: 'y\n' })).toMatchObject({ code: 0, stdout: `Grant ${grant} of shop/web is taken back.\n` });
    expect((await operator.listGrants({ query: {} })).items.map(({ revocation }) => revocation?.policy)).toEqual(['now', undefined]);
  });

  it('gently asks nobody', async () => {
    const { stdout, stderr } = await run('revoke', 'app', 'shop/web', '--graceful', '--reason', 'moved out');
    expect(stdout).toBe('Application shop/web is revoked.\n');
    expect(linesOf(stderr)).toEqual([
      'shop/web loses all rights until it is reinstated.',
      'Its containers may use at this moment:',
      '  orders (on h1)',
    ]);
    expect((await operator.listApplications({ query: {} })).items[0]!.revocation).toMatchObject({ policy: 'graceful', reason: 'moved out' });
  });

  it('says where it wins nothing', async () => {
    await run('project', 'set', 'shop', '--no-require-grants');
    const open = 'Project shop requires no grants: a container that does not say whose it is may still use orders';
    expect((await run('revoke', 'grant', grant, '--graceful', '--reason', 'r')).stderr).toContain(`${open}, unused.`);
    expect((await run('revoke', 'app', 'shop/web', '--graceful', '--reason', 'r')).stderr).toContain(open);
  });

  it('with --wait says who has put it into effect, and who is out of reach', async () => {
    const client = obey(h1);
    const ran = await bench.run(['revoke', 'grant', grant, '--now', '--reason', 'r', '--yes', '--wait']);
    expect(ran).toMatchObject({ code: 5, stderr: expect.stringMatching(/error: Out of reach: h2\.\nhint: .*host rm HOST --lost/) });
    expect(linesOf(ran.stdout)).toEqual([
      `Grant ${grant} of shop/web is taken back.`,
      'h1: in effect',
      expect.stringMatching(/^h2: OUT OF REACH; .*certificate/),
    ]);
    await server.as(h2).acknowledgeAccess({ body: { revision: (await store.list('')).revision } });
    const again = await run('revoke', 'grant', grant, '--now', '--reason', 'r', '--yes', '--wait', '--json');
    expect(JSON.parse(again.stdout)).toMatchObject({
      grant: { revocation: { policy: 'now' } },
      hosts: [
        { name: 'h1', acknowledged: true },
        { name: 'h2', acknowledged: true },
      ],
    });
    client.abort();
  });

  it('waits for a host that is up, but not for ever', async () => {
    const ran = await bench.run(['revoke', 'app', 'shop/web', '--graceful', '--reason', 'r', '--wait', '--timeout', '10ms']);
    expect(ran).toMatchObject({ code: 1, stderr: expect.stringContaining('Not in effect after 10 ms on h1.') });
    expect(ran.stdout).toContain('h1: NOT in effect, although it is up');
  });

  it('is of what there is', async () => {
    const rest = ['--graceful', '--reason', 'r'];
    expect(await bench.run(['revoke', 'grant', newIdentifier('grt'), ...rest])).toMatchObject({ code: 3 });
    expect(await bench.run(['revoke', 'app', 'shop/none', ...rest])).toMatchObject({ code: 3 });
  });
});

it.each([
  [['project', 'add', 'a/b'], /The project name "a\/b" is not allowed/],
  [['project', 'add', 'a', '--quota-volumes', 'few'], /Option "--quota-volumes" is not a number: "few"/],
  [['project', 'add', 'a', '--quota-bytes', 'much'], /Option "--quota-bytes" is not a size/],
  [['project', 'set', 'default'], /Nothing is given that is to be set/],
  [['project', 'set', 'default', '--no-quota', '--quota-volumes', '5'], /cannot be used with/],
  [['app', 'add', 'web'], /The application name "web" is not PROJECT\/NAME\.\nhint: .*default\/web/],
  [['app', 'add', '../web'], /The project name "\.\." is not allowed/],
  [['app', 'reinstate', 'shop/web'], /required option '--reason <text>'/],
  [['grant'], /Which application is not given/],
  [['grant', 'shop/web', '--reason', 'r'], /Give one volume, or --all-volumes/],
  [['grant', 'shop/web', 'v', '--all-volumes', '--reason', 'r'], /Give one volume, or --all-volumes/],
  [['grant', 'shop/web', 'v'], /A grant needs a reason/],
  [['grant', 'shop/web', 'v', '--reason', 'r', '--until', 'soon'], /Option "--until" is not a time: "soon"/],
  [['grant', 'shop/web', 'v', '--reason', 'r', '--from', '2026-02-30T25:00'], /Option "--from" is not a time/],
  [['grant', 'shop/web', 'v', '--reason', 'r', '--for', '1h', '--until', '2999-01-01'], /cannot be used with/],
  [['revoke', 'grant', 'x', '--now', '--reason', 'r'], /"x" is not a grant/],
  [['revoke', 'app', 'shop/web', '--reason', 'r'], /How what rests on it ends is not given\.\nhint: --now kills/],
  [['revoke', 'app', 'shop/web', '--now', '--graceful', '--reason', 'r'], /cannot be used with/],
  [['revoke', 'app', 'shop/web', '--now'], /required option '--reason <text>'/],
])('%j is wrong usage', async (argv, message) => {
  expect(await bench.run(argv)).toEqual({ code: 2, stdout: '', stderr: expect.stringMatching(message) });
});
