import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runningDaemon } from './pid-file.ts';
import { CliTestBench } from './test-cli.ts';

let bench: CliTestBench;
let launch: [string, ...string[]];

beforeEach(async () => {
  bench = await CliTestBench.create();
  // A program like ours, whose daemon does what its host name says.
  const program = join(bench.directory, 'program.mjs');
  await writeFile(
    program,
    `import { runCli } from ${JSON.stringify(fileURLToPath(new URL('run.ts', import.meta.url)))};
     import { SupercargoError } from ${JSON.stringify(fileURLToPath(new URL('../model/errors.ts', import.meta.url)))};
     process.exitCode = await runCli(process.argv.slice(2), {
       version: '1', launch: [], stdout: process.stdout, stderr: process.stderr, stdin: process.stdin, environment: process.env,
       up: async ({ name }, ready, signal) => {
         if (name === 'crashes') { console.error('out of luck'); process.exit(7); }
         if (name === 'refuses') throw new SupercargoError('pool-full', 'The disk is full.', { hint: 'Make room.' });
         const alive = setInterval(() => {}, 1000);
         ready({ cluster: 'c', host: name, address: '10.0.0.1:7471', roles: ['agent'] });
         await new Promise((resolve) => signal.addEventListener('abort', resolve));
         clearInterval(alive);
         console.error('ended in good order');
       },
     });`,
  );
  launch = [process.execPath, program];
});

afterEach(async () => {
  await bench.run(['down']);
  await bench.close();
});

const up = (name: string, ...more: string[]) =>
  bench.run(['up', '--detach', '--name', name, '--address', '10.0.0.1', '--state-directory', join(bench.directory, 'state'), ...more], {
    launch,
    environment: process.env,
  });

it('runs in the background until it is told to end', async () => {
  const started = await up('h1', '--json');
  expect(started).toMatchObject({ code: 0, stderr: '' });
  const logFile = join(bench.directory, 'state', 'supercargo.log');
  expect(JSON.parse(started.stdout)).toEqual({ cluster: 'c', host: 'h1', address: '10.0.0.1:7471', roles: ['agent'], logFile });
  expect(await runningDaemon(bench.directory)).not.toBeNull();

  expect(await up('h1')).toMatchObject({
    code: 4,
    stderr: expect.stringMatching(/runs on this host already.*\nhint: End it first: supercargo down/),
  });

  expect(await bench.run(['down'])).toMatchObject({ code: 0, stdout: 'Supercargo has ended.\n' });
  expect(await runningDaemon(bench.directory)).toBeNull();
  expect(await readFile(logFile, 'utf8')).toContain('ended in good order');
  expect(await bench.run(['down'])).toMatchObject({ code: 0, stdout: 'Supercargo does not run on this host.\n' });
});

it('says why it could not start', async () => {
  expect(await up('refuses')).toEqual({ code: 1, stdout: '', stderr: 'error: The disk is full.\nhint: Make room.\n' });
  expect(await up('crashes')).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/ended before it served. It said: out of luck\nhint: Its whole log: /),
  });
  // A pid file that a crash left does not keep the next from starting.
  expect((await up('h1')).code).toBe(0);
});

it('ends no process that merely has the number of a daemon', async () => {
  const stranger = spawn('sleep', ['60']);
  await once(stranger, 'spawn');
  await writeFile(join(bench.directory, 'supercargo.pid'), `${stranger.pid}\n`);
  expect((await bench.run(['down'])).stdout).toBe('Supercargo does not run on this host.\n');
  expect(stranger.exitCode ?? stranger.signalCode).toBeNull();
  stranger.kill();
  await once(stranger, 'exit');
});
