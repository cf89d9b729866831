import { runCli } from './cli/run.ts';
import { version } from './compose/version.ts';

const code = await runCli(process.argv.slice(2), {
  version,
  // The daemon's parts load only where they are used: most commands need a socket and a table.
  up: async (options, ready, signal) => (await import('./compose/up.ts')).up(options, ready, signal),
  join: async (options) => (await import('./compose/join.ts')).join(options),
  execute: async (program, parameters, options) => (await import('./system/execute.ts')).execute(program, parameters, options),
  launch: [process.execPath, ...process.execArgv, process.argv[1] ?? ''],
  stdout: process.stdout,
  stderr: process.stderr,
  stdin: process.stdin,
  environment: process.env,
});
process.exitCode = code;
