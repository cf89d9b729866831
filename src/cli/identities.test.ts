import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { unlimitedQuota } from '../model/access.ts';
import type { Denial, User } from '../model/access.ts';
import { SupercargoError } from '../model/errors.ts';
import type { AuthorityView } from '../protocol/certificate-routes.ts';
import { CliTestBench } from './test-cli.ts';
import { cellsOf, host, hostId, time, volume } from './test-records.ts';

let bench: CliTestBench;
let asked: unknown[];

beforeEach(async () => {
  bench = await CliTestBench.create();
  asked = [];
});
afterEach(() => bench.close());

const denial = (subject: Denial['subject'], value: string): Denial => ({
  id: `dny_${'0'.repeat(24)}`,
  subject,
  value,
  reason: 'stolen',
  actor: 'operator',
  at: time,
  until: time,
});

describe('a host that is revoked', () => {
  beforeEach(() =>
    bench.serve({
      getHost: async () => host(1),
      listVolumes: async () => ({ items: [volume('pgdata')] }),
      denyHost: async ({ parameters, body }) => {
        asked.push(['deny', parameters.host, body.reason]);
        return denial('host', hostId(1));
      },
      readmitHost: async ({ parameters, body }) => {
        asked.push(['readmit', parameters.host, body.reason]);
        return { serial: '0A', expiresAt: time, denied: ['09'] };
      },
    }),
  );
  const revoke = ['revoke', 'host', 'h1', '--reason', 'stolen'];
  const readmit = ['host', 'readmit', 'h1', '--reason', 'found'];

  it('needs a yes, and what it holds is said before', async () => {
    const { code, stdout, stderr } = await bench.run(revoke);
    expect([code, stdout, asked]).toEqual([2, '', []]);
    expect(stderr).toMatch(/^h1 is refused by the name server and by all hosts/);
    expect(stderr).toContain('It holds pgdata');
    expect(stderr).toContain('--yes');
    expect(await bench.run(revoke, { typed: 'n\n' })).toMatchObject({ code: 1, stdout: '' });
    expect(asked).toEqual([]);
    expect(await bench.run(revoke, { typed: 'y\n' })).toMatchObject({
      code: 0,
      stdout: `Host h1 is denied until its last certificate runs out, at ${time}.\n`,
    });
    expect(asked).toEqual([['deny', 'h1', 'stolen']]);
  });

  it('is a document for programs, which are never asked', async () => {
    expect(await bench.run([...revoke, '--json'])).toMatchObject({ code: 2, stdout: '' });
    const { code, stdout } = await bench.run([...revoke, '--json', '--yes']);
    expect([code, JSON.parse(stdout)]).toEqual([0, denial('host', hostId(1))]);
  });

  it('is let in again after a yes, with the way to new keys', async () => {
    const { code, stderr } = await bench.run(readmit);
    expect([code, asked]).toEqual([2, []]);
    expect(stderr).toContain('nobody but h1 has the key of its latest certificate');
    expect(stderr).toContain('supercargo invite --host h1');
    expect((await bench.run([...readmit, '--yes'])).stdout).toBe('Host h1 is let in again, with certificate 0A.\n');
    expect(JSON.parse((await bench.run([...readmit, '--yes', '--json'])).stdout)).toEqual({ serial: '0A', expiresAt: time, denied: ['09'] });
    expect(asked).toContainEqual(['readmit', 'h1', 'found']);
  });
});

it('a certificate is revoked by its serial number', async () => {
  await bench.serve({ denyCertificate: async ({ parameters }) => denial('certificate', parameters.serial) });
  const words = ['revoke', 'certificate', '4F1C', '--reason', 'stolen'];
  expect((await bench.run(words)).stdout).toBe('Certificate 4F1C is denied.\n');
  expect(JSON.parse((await bench.run([...words, '--json'])).stdout)).toMatchObject({ subject: 'certificate', value: '4F1C' });
  expect(await bench.run(['revoke', 'certificate', 'no number', '--reason', 'r'])).toMatchObject({ code: 2, stdout: '' });
});

describe('the authority', () => {
  const fingerprint = (digit: string): string => `sha256:${digit.repeat(64)}`;
  const view: AuthorityView = {
    phase: 'introducing',
    authorities: ['a', 'b'].map((digit) => ({ fingerprint: fingerprint(digit), expiresAt: time })),
    hosts: [
      { host: 'h1', trust: { authorities: [fingerprint('a'), fingerprint('b')], issuer: fingerprint('a') }, isReady: true },
      { host: 'h2', trust: null, isReady: false },
    ],
  };
  beforeEach(() =>
    bench.serve({
      getAuthority: async () => view,
      rotateAuthority: async ({ body }) => {
        asked.push(body);
        return view;
      },
    }),
  );

  it('is shown with who trusts what, and who is waited for', async () => {
    expect((await bench.run(['authority', 'show'])).stdout.trimEnd().split('\n')).toEqual([
      `signs:  ${fingerprint('a')}, until ${time}`,
      `counts: ${fingerprint('b')}, until ${time}`,
      'state:  the next one signs as soon as all hosts trust it',
      'h1: trusts sha256:aaaaaaaaaaaaaaaa, sha256:bbbbbbbbbbbbbbbb, has a certificate of sha256:aaaaaaaaaaaaaaaa',
      'h2: has not said what it trusts; NOT READY',
    ]);
    expect(JSON.parse((await bench.run(['authority', 'show', '--json'])).stdout)).toEqual(view);
  });

  it('is replaced without a question, but cuts nobody without one', async () => {
    expect((await bench.run(['authority', 'rotate'])).code).toBe(0);
    expect(asked.splice(0)).toEqual([{}]);
    const forced = await bench.run(['authority', 'rotate', '--force']);
    expect(forced).toMatchObject({ code: 2, stderr: expect.stringContaining('These hosts are cut, and have to join again: h2') });
    expect(asked).toEqual([]);
    expect((await bench.run(['authority', 'rotate', '--force', '--yes', '--json'])).code).toBe(0);
    expect(asked).toEqual([{ cut: ['h2'] }]);
  });
});

describe('users', () => {
  const projectId = `prj_${'0'.repeat(24)}`;
  const ben: User = { id: `usr_${'0'.repeat(24)}`, name: 'ben', role: 'operator', project: projectId, createdAt: time };
  const usage = { volumes: 0, bytes: 0, unlimited: 0 };
  const shop = { id: projectId, name: 'shop', requireGrants: false, quota: unlimitedQuota, createdAt: time, usage };
  const login = { token: 'id.secret', joinAddress: 'h1:7471', fingerprint: 'sha256:ff', expiresAt: time };

  it('are made with the command that logs them in, and listed with their project', async () => {
    await bench.serve({
      createUser: async ({ body }) => {
        asked.push(body);
        return ben;
      },
      createLogin: async () => login,
      listUsers: async () => ({ items: [ben] }),
      listProjects: async () => ({ items: [shop] }),
    });
    const made = await bench.run(['user', 'add', 'ben', '--role', 'operator', '--project', 'shop']);
    expect(made.stdout).toBe('supercargo login h1:7471 --token id.secret --ca-fingerprint sha256:ff\n');
    expect(made.stderr).toContain('It works once');
    expect(asked).toEqual([{ name: 'ben', role: 'operator', project: 'shop' }]);
    expect(JSON.parse((await bench.run(['user', 'invite', 'ben', '--json'])).stdout)).toMatchObject(login);
    expect(cellsOf((await bench.run(['user', 'ls'])).stdout)[1]).toEqual(['ben', 'operator', 'shop', time]);
    expect(JSON.parse((await bench.run(['user', 'ls', '--json'])).stdout)).toEqual([ben]);
  });

  it('are told what helps when they are refused', async () => {
    const refused = new SupercargoError('forbidden', 'This user is denied.', { hint: 'Ask an administrator.' });
    await bench.serve({ deleteUser: () => Promise.reject(refused) });
    expect(await bench.run(['user', 'rm', 'ben'])).toMatchObject({
      stdout: '',
      stderr: 'error: This user is denied.\nhint: Ask an administrator.\n',
    });
  });
});

it.each([
  [['revoke', 'host', 'h1'], /required option '--reason <text>'/],
  [['revoke', 'certificate', '4F'], /required option '--reason <text>'/],
  [['host', 'readmit', 'h1'], /required option '--reason <text>'/],
  [['user', 'add', 'ben'], /required option '--role <role>'/],
  [['user', 'add', 'ben', '--role', 'king'], /admin, operator, viewer/],
  [['user', 'add', '../x', '--role', 'admin'], /The user name "\.\.\/x" is not allowed/],
  [['user', 'set', 'ben', '--project', 'a', '--whole-cluster'], /cannot be used with/],
  [['login', 'h1:7471', '--token', 't', '--ca-fingerprint', 'ff'], /fingerprint/],
])('%j is wrong usage', async (argv, message) => {
  expect(await bench.run(argv)).toEqual({ code: 2, stdout: '', stderr: expect.stringMatching(message) });
});

it.each(['project', 'app', 'grant', 'audit', 'user'])('%s ls --json is a document, also when there is nothing', async (noun) => {
  const none = async () => ({ items: [] });
  await bench.serve({
    listProjects: none,
    listApplications: none,
    listGrants: none,
    listAudit: none,
    listVolumes: none,
    listHosts: none,
    listUsers: none,
  });
  const { code, stdout } = await bench.run([noun, 'ls', '--json']);
  expect([code, JSON.parse(stdout)]).toEqual([0, []]);
});
