import { version } from './compose/version.ts';

// Not for people: the agent starts it. It stays small, so it loads nothing of the command line.
if (process.argv[2] === 'guard') {
  const { runGuard } = await import('./compose/guard-process.ts');
  await runGuard(process.argv.slice(3));
  process.exit(0);
}

const { runCli } = await import('./cli/run.ts');
const code = await runCli(process.argv.slice(2), {
  version,
  // The daemon's parts load only where they are used: most commands need a socket and a table.
  up: async (options, ready, signal) => (await import('./compose/up.ts')).up(options, ready, signal),
  join: async (options) => (await import('./compose/join.ts')).join(options),
  login: async (options) => (await import('./compose/login.ts')).login(options),
  logout: async (directory) => (await import('./compose/login.ts')).logout(directory),
  openLogin: async (directory) => (await import('./compose/login.ts')).openLogin(directory),
  readCheckpoint: async (statement, authorities, at) => (await import('./pki/checkpoint.ts')).readCheckpoint(statement, authorities, at),
  execute: async (program, parameters, options) => (await import('./system/execute.ts')).execute(program, parameters, options),
  launch: [process.execPath, ...process.execArgv, process.argv[1] ?? ''],
  stdout: process.stdout,
  stderr: process.stderr,
  stdin: process.stdin,
  environment: process.env,
});
process.exitCode = code;
