import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { Option } from 'commander';
import type { Command } from 'commander';
import { parseSize } from '../../model/size.ts';
import { defaultPluginSocket, defaultStateDirectory, examples, named } from '../cli.ts';
import type { Cli } from '../cli.ts';
import { logLevels } from '../dependencies.ts';
import type { LogLevel, ReadySummary, Role, UpOptions } from '../dependencies.ts';
import { parseDuration } from '../format.ts';
import { addressOption } from '../host-address.ts';
import type { HostAddress } from '../host-address.ts';

export function addDaemonCommands(program: Command, cli: Cli): void {
  program
    .command('up')
    .description('run Supercargo on this host; the first host makes the cluster')
    .addOption(new Option('--detach', 'run in the background, return when it serves'))
    .addOption(new Option('--name <name>', 'name of this host in the cluster').env('SUPERCARGO_NAME').default(hostname()).argParser(named('host')))
    .addOption(addressOption())
    .addOption(new Option('--cluster-name <name>', 'name of a cluster that is made').env('SUPERCARGO_CLUSTER_NAME').argParser(named('cluster')))
    .addOption(
      new Option('--role <role...>', 'parts to run (default: what the host is a member for)')
        .env('SUPERCARGO_ROLE')
        .choices(['name-server', 'agent']),
    )
    .addOption(
      new Option('--pool-device <device>', 'disk for the pool; it is formatted if it is empty').env('SUPERCARGO_POOL_DEVICE').conflicts('poolSize'),
    )
    .addOption(
      new Option('--pool-size <size>', 'size of a pool in a file, for example 20G')
        .env('SUPERCARGO_POOL_SIZE')
        .argParser((text) => parseSize('--pool-size', text)),
    )
    .addOption(new Option('--state-directory <path>', 'directory of state and data').env('SUPERCARGO_STATE_DIRECTORY').default(defaultStateDirectory))
    .addOption(new Option('--plugin-socket <path>', 'socket for Docker').env('SUPERCARGO_PLUGIN_SOCKET').default(defaultPluginSocket))
    .addOption(new Option('--log-level <level>', 'what is logged').env('SUPERCARGO_LOG_LEVEL').choices(logLevels).default('info'))
    .addHelpText('after', examples('supercargo up --detach', 'supercargo up --name h1 --address 10.0.0.1 --pool-device /dev/vdb'))
    .action((options: UpCommandOptions) => up(cli, options));

  program
    .command('down')
    .description('end Supercargo on this host in good order; data, and containers that run, stay')
    .option('--timeout <duration>', 'how long to wait for its end', (text: string) => parseDuration('--timeout', text), 60_000)
    .addHelpText('after', examples('supercargo down'))
    .action(async ({ timeout }: { timeout: number }) => {
      const { stopDaemon } = await import('../pid-file.ts');
      const stopped = await stopDaemon(cli.runDirectory, timeout);
      cli.output.result({ stopped }, () => [stopped === null ? 'Supercargo does not run on this host.' : 'Supercargo has ended.']);
    });
}

interface UpCommandOptions {
  detach?: boolean;
  name: string;
  address: HostAddress;
  clusterName?: string;
  role?: Role[];
  poolDevice?: string;
  poolSize?: number;
  stateDirectory: string;
  pluginSocket: string;
  logLevel: LogLevel;
}

async function up(cli: Cli, options: UpCommandOptions): Promise<void> {
  const upOptions: UpOptions = {
    stateDirectory: resolve(options.stateDirectory),
    runDirectory: resolve(cli.runDirectory),
    name: options.name,
    address: options.address.host,
    port: options.address.port,
    poolDevice: options.poolDevice,
    poolSizeBytes: options.poolSize,
    roles: options.role,
    clusterName: options.clusterName,
    pluginSocket: resolve(options.pluginSocket),
    logLevel: options.logLevel,
  };
  const { isDetachedChild, startDetached } = await import('../detach.ts');
  if (options.detach === true && !isDetachedChild(cli.dependencies.environment)) {
    const { launch, environment } = cli.dependencies;
    const logFile = join(upOptions.stateDirectory, 'supercargo.log');
    const summary = await startDetached({ launch, argv: cli.argv, environment, logFile });
    cli.output.result({ ...summary, logFile }, () => [...describeReady(summary), `Its log: ${logFile}`]);
    return;
  }
  const { runDaemon } = await import('../run-daemon.ts');
  await runDaemon(cli, upOptions, (summary) => describeReady(summary).forEach((line) => cli.output.note(line)));
}

function describeReady({ cluster, host, address, roles }: ReadySummary): string[] {
  return [`Host ${host} of cluster ${cluster} is up (${roles.join(', ')}) at ${address}.`, 'What to do next: supercargo --help'];
}
