import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { errorCatalogue, SupercargoError } from '../model/errors.ts';
import type { ErrorCode } from '../model/errors.ts';
import { newVolume } from '../model/new-volume.ts';
import { chooseSocket } from './connection.ts';
import type { JoinOptions, UpOptions } from './dependencies.ts';
import { exitCodeOf } from './exit-codes.ts';
import { CliTestBench } from './test-cli.ts';

let bench: CliTestBench;
beforeEach(async () => {
  bench = await CliTestBench.create();
});
afterEach(() => bench.close());

describe('wrong usage', () => {
  it.each([
    [['volume', 'sl'], /unknown command 'sl'\nhint: Did you mean ls\?/],
    [['volume', 'ls', '--jsn'], /unknown option '--jsn'\nhint: Did you mean --json\?/],
    [['volume', 'create'], /missing required argument 'name'/],
    [['volume', 'create', 'a/b'], /The volume name "a\/b" is not allowed/],
    [['volume', 'create', 'v', '--size', 'big'], /Option "--size" is not a size: "big"/],
    [['volume', 'create', 'v', '--label', 'x'], /Option "--label" is not key=value/],
    [['volume', 'move', 'v'], /required option '--to <host>'/],
    [['volume', 'move', 'v', '--to', 'h', '--timeout', 'soon'], /Option "--timeout" is not a duration/],
    [['volume', 'move', 'v', '--to', 'h', '--detach', '--timeout', '1m'], /cannot be used with/],
    [['volume', 'failover', 'v', '--dry-run', '--yes'], /cannot be used with/],
    [['volume', 'restore', 'v', 'yesterday', 'w'], /"yesterday" is not a snapshot\.\nhint: .*supercargo volume inspect/],
    [['volume', 'forget', 'v', '../x'], /"\.\.\/x" is not a snapshot/],
    [['class', 'set', 'c', '--replicas', '6'], /Option "--replicas" is not a number from 0 to 5: "6"/],
    [['class', 'set', 'c', '--replicas', '1.5'], /Option "--replicas" is not a number/],
    [['class', 'set', 'c', '--interval', '500ms'], /Option "--interval" is less than a second/],
    [['class', 'set', 'c', '--failover', 'sometimes'], /Allowed choices are manual, auto/],
    [['class', 'set', 'c', '--max-size', 'huge'], /Option "--max-size" is not a size/],
    [['host', 'label', 'h1'], /missing required argument 'labels'/],
    [['host', 'label', 'h1', 'zone'], /The label is not key=value: "zone"/],
    [['host', 'drain', 'h1', '--timeout', 'soon'], /Option "--timeout" is not a duration/],
    [['host', 'rm', 'h1', '--lost', '--yes'], /needs a reason.*\nhint: Give --reason TEXT/],
    [['events', '--last', '1001'], /Option "--last" is not a number/],
    [['up', '--address', ':'], /Option "--address" is not HOST/],
    [['up', '--pool-device', '/dev/x', '--pool-size', '1G'], /cannot be used with/],
    [['up', '--role', 'king'], /Allowed choices are name-server, agent/],
    [['join', 'h:1', '--ca-fingerprint', 'x', '--token', '-'], /not a fingerprint/],
    [['completion', 'cmd'], /Allowed choices are/],
  ])('%j is told on standard error, with code 2', async (argv, message) => {
    expect(await bench.run(argv)).toEqual({ code: 2, stdout: '', stderr: expect.stringMatching(message) });
  });

  it('is a problem document for programs', async () => {
    const { code, stdout, stderr } = await bench.run(['volume', 'create', '--json']);
    expect([code, stdout]).toEqual([2, '']);
    expect(JSON.parse(stderr)).toMatchObject({ code: 'invalid-request', status: 400 });
  });
});

describe('exit codes', () => {
  it.each([
    ['not-found', 3],
    ['volume-in-use', 4],
    ['move-in-progress', 4],
    ['already-exists', 4],
    ['wrong-state', 4],
    ['name-server-unreachable', 5],
    ['host-unreachable', 5],
    ['invalid-option', 2],
    ['internal', 1],
    ['pool-full', 1],
  ] as [ErrorCode, number][])('%s ends with %i', async (code, expected) => {
    await bench.serve({
      listClasses: () => Promise.reject(new SupercargoError(code, 'It was so.', { hint: 'Do that.' })),
    });
    expect(await bench.run(['class', 'ls'])).toEqual({ code: expected, stdout: '', stderr: 'error: It was so.\nhint: Do that.\n' });
    const { stderr } = await bench.run(['class', 'ls', '--json']);
    expect(JSON.parse(stderr)).toMatchObject({ code, detail: 'It was so.', hint: 'Do that.' });
  });

  it('is never 0 for an error', () => {
    expect(Object.keys(errorCatalogue).filter((code) => exitCodeOf(code as ErrorCode) === 0)).toEqual([]);
  });

  it('is 0 for help and version, which need no daemon', async () => {
    expect(await bench.run(['--help'])).toMatchObject({ code: 0, stderr: '', stdout: expect.stringMatching(/Exit codes:/) });
    expect(await bench.run(['version'])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^supercargo 1\.2\.3/) });
  });
});

describe('help', () => {
  it.each([
    ['up'],
    ['down'],
    ['invite'],
    ['join'],
    ['doctor'],
    ['where'],
    ['events'],
    ['completion'],
    ['host', 'ls'],
    ['host', 'inspect'],
    ['host', 'label'],
    ['host', 'drain'],
    ['host', 'activate'],
    ['host', 'rm'],
    ['class', 'ls'],
    ['class', 'set'],
    ['volume', 'create'],
    ['volume', 'ls'],
    ['volume', 'inspect'],
    ['volume', 'rm'],
    ['volume', 'move'],
    ['volume', 'failover'],
    ['volume', 'restore'],
    ['volume', 'forget'],
    ['project', 'ls'],
    ['project', 'inspect'],
    ['project', 'add'],
    ['project', 'set'],
    ['project', 'rm'],
    ['app', 'ls'],
    ['app', 'add'],
    ['app', 'rm'],
    ['app', 'reinstate'],
    ['app', 'pass'],
    ['grant'],
    ['grant', 'ls'],
    ['revoke', 'grant'],
    ['revoke', 'app'],
    ['move', 'ls'],
    ['move', 'follow'],
    ['move', 'cancel'],
  ])('of %j has an example of it', async (...argv) => {
    const { stdout } = await bench.run([...argv, '--help']);
    expect(stdout.slice(stdout.indexOf('Examples:'))).toContain(`supercargo ${argv.join(' ')}`);
  });
});

describe('the socket', () => {
  it('is the name server’s where it serves, else the agent’s', async () => {
    await bench.serve({}, 'agent.sock');
    expect(await chooseSocket(bench.directory)).toMatch(/agent\.sock$/);
    await bench.serve({}, 'name-server.sock');
    expect(await chooseSocket(bench.directory)).toMatch(/name-server\.sock$/);
  });

  it('that is missing means that Supercargo does not run', async () => {
    const { code, stderr } = await bench.run(['volume', 'ls']);
    expect(code).toBe(5);
    expect(stderr).toMatch(/does not run on this host.*\nhint: Start it with: supercargo up/);
  });
});

describe('join', () => {
  const fingerprint = `sha256:${'a'.repeat(64)}`;
  const words = ['join', '10.0.0.1:7470', '--ca-fingerprint', fingerprint, '--name', 'h2', '--address', '10.0.0.2', '--state-directory', '/state'];

  it('takes the token from standard input or the environment', async () => {
    const asked: JoinOptions[] = [];
    const join = async (options: JoinOptions) => {
      asked.push(options);
      return { cluster: 'c', host: 'h2' };
    };
    const { stdout } = await bench.run([...words, '--token', '-'], { join, stdin: Readable.from([' secret\n']) });
    expect(stdout).toBe('Host h2 is a member of cluster c.\n');
    await bench.run(words, { join, environment: { SUPERCARGO_JOIN_TOKEN: 'other' } });
    expect(asked).toEqual(
      ['secret', 'other'].map((token) => ({
        joinAddress: '10.0.0.1:7470',
        token,
        caFingerprint: fingerprint,
        stateDirectory: '/state',
        name: 'h2',
        address: '10.0.0.2',
        port: undefined,
      })),
    );
  });

  it('needs a token', async () => {
    expect(await bench.run(words)).toMatchObject({ code: 2, stderr: expect.stringMatching(/join token is missing/) });
  });
});

it('up passes on what was asked for', async () => {
  const asked: UpOptions[] = [];
  const words = [
    'up',
    '--name',
    'h1',
    '--address',
    '10.0.0.1:7471',
    '--state-directory',
    '/state',
    '--pool-size',
    '1G',
    '--role',
    'agent',
    '--plugin-socket',
    '/p.sock',
  ];
  const ran = await bench.run(words, {
    up: async (options, ready) => {
      asked.push(options);
      ready({ cluster: 'c', host: 'h1', address: '10.0.0.1:7471', roles: ['agent'] });
    },
  });
  expect(ran).toMatchObject({ code: 0, stdout: '', stderr: expect.stringMatching(/^Host h1 of cluster c is up/) });
  expect(asked).toEqual([
    {
      stateDirectory: '/state',
      runDirectory: bench.directory,
      name: 'h1',
      address: '10.0.0.1',
      port: 7471,
      poolDevice: undefined,
      poolSizeBytes: 1024 ** 3,
      roles: ['agent'],
      clusterName: undefined,
      pluginSocket: '/p.sock',
      logLevel: 'info',
    },
  ]);
});

describe('completion', () => {
  async function printed(...argv: string[]): Promise<string> {
    const log = vi.spyOn(console, 'log').mockImplementation(() => {});
    try {
      await bench.run(argv);
      return log.mock.calls.map(String).join('\n');
    } finally {
      log.mockRestore();
    }
  }

  it.each(['bash', 'zsh', 'fish'])('prints a script for %s', async (shell) => {
    expect(await printed('completion', shell)).toMatch(/supercargo.*complete/s);
  });

  it('knows commands, options and the volumes that there are', async () => {
    const diverged = [{ host: `hst_${'1'.repeat(24)}`, snapshot: `snp_${'a'.repeat(24)}`, epoch: 1, keptAt: '2026-11-23T09:00:00Z' }];
    const items = ['pgdata', 'photos'].map((name) =>
      newVolume({ id: `vol_${'0'.repeat(24)}`, name, createdAt: '2026-11-23T09:00:00Z', diverged: name === 'photos' ? diverged : [] }),
    );
    await bench.serve({ listVolumes: async () => ({ items }) });
    expect(await printed('complete', '--', 'volume', 'r')).toMatch(/^rm\t/m);
    expect(await printed('complete', '--', 'volume', 'rm', 'p')).toMatch(/^pgdata.*^photos/ms);
    expect(await printed('complete', '--', 'volume', 'failover', 'p')).toMatch(/^pgdata.*^photos/ms);
    expect(await printed('complete', '--', 'volume', 'forget', 'photos', 'snp')).toMatch(/^snp_a+/m);
    expect(await printed('complete', '--', 'volume', 'create', '--')).toMatch(/^--size/m);
  });
});
