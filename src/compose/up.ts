import { mkdir, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { ReadySummary, UpOptions } from '../cli/dependencies.ts';
import type { Log } from '../agent/context.ts';
import { SupercargoError } from '../model/errors.ts';
import { checkName } from '../model/names.ts';
import { splitAddress } from '../protocol/transport.ts';
import type { JoinAnswer } from '../protocol/routes.ts';
import { saveCredentials } from '../pki/credentials-file.ts';
import { createKeyAndRequest } from '../pki/request.ts';
import { systemClock } from '../system/clock.ts';
import { startAgent } from './agent-process.ts';
import { createLog } from './log.ts';
import { startNameServer } from './name-server-process.ts';
import type { NameServerProcess } from './name-server-process.ts';
import { readSettings } from './settings.ts';
import { loadHostFile, openStateDirectory, saveHostFile } from './state-directory.ts';
import type { HostFile, StateDirectory } from './state-directory.ts';
import { version } from './version.ts';

/** Ports of the name server's API, of joining, and of agents among themselves. */
export const defaultPorts = { nameServer: 7470, join: 7471, agent: 7472 } as const;

/**
 * Runs the daemon of a host. On a host that belongs to no cluster it makes one, with the name server here; on one that has joined it is the agent only.
 */
export async function up(options: UpOptions, ready: (summary: ReadySummary) => void, signal: AbortSignal): Promise<void> {
  if (process.getuid?.() !== 0)
    throw new SupercargoError('forbidden', 'Supercargo mounts volumes, which only root may do.', { hint: 'Run it with sudo.' });
  const log = createLog(options.logLevel);
  const directory = await openStateDirectory(options.stateDirectory, readSettings(process.env).userRemapping);
  await mkdir(options.runDirectory, { recursive: true, mode: 0o755 });
  const host = await loadHostFile(directory);
  const roles = chooseRoles(options, directory, host);
  const nameServer = roles.includes('name-server') ? await startOwnNameServer(options, directory, log) : undefined;
  try {
    const identity = roles.includes('agent') ? await settleIdentity(options, directory, host, nameServer) : undefined;
    const agent = identity === undefined ? undefined : await startOwnAgent(options, directory, identity, log);
    ready({
      cluster: identity?.cluster.name ?? nameServer?.cluster.name ?? '',
      host: identity?.name ?? options.name,
      address: identity?.address ?? nameServer?.address ?? '',
      roles,
    });
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener('abort', () => resolve(), { once: true });
    });
    log.info({}, 'stopping');
    await agent?.stop();
  } finally {
    await nameServer?.stop();
    await rm(join(options.runDirectory, 'name-server.sock'), { force: true });
    await rm(join(options.runDirectory, 'agent.sock'), { force: true });
  }
}

function chooseRoles(options: UpOptions, directory: StateDirectory, host: HostFile | undefined): UpOptions['roles'] & object {
  const hasNameServer = existsSync(join(directory.nameServer, 'authority.json'));
  if (options.roles !== undefined) {
    if (options.roles.includes('agent') && !options.roles.includes('name-server') && host === undefined) {
      throw new SupercargoError('wrong-state', 'This host belongs to no cluster yet.', {
        hint: 'Run the join command that supercargo invite prints on the first host.',
      });
    }
    return options.roles;
  }
  return hasNameServer || host === undefined ? ['name-server', 'agent'] : ['agent'];
}

function startOwnNameServer(options: UpOptions, directory: StateDirectory, log: Log): Promise<NameServerProcess> {
  const port = options.port ?? defaultPorts.nameServer;
  return startNameServer({
    directory: directory.nameServer,
    socketPath: join(options.runDirectory, 'name-server.sock'),
    clusterName: checkName('cluster', options.clusterName ?? 'default'),
    host: options.address,
    port,
    joinPort: port - defaultPorts.nameServer + defaultPorts.join,
    version,
    clock: systemClock,
    log,
    settings: readSettings(process.env),
  });
}

/**
 * The identity that is there, or a new one. Beside the name server a certificate is made at each start: the authority is at hand, and the old one may have
 * run out while the host was off.
 */
async function settleIdentity(
  options: UpOptions,
  directory: StateDirectory,
  host: HostFile | undefined,
  nameServer: NameServerProcess | undefined,
): Promise<HostFile> {
  const poolDevice = options.poolDevice ?? host?.poolDevice ?? null;
  if (nameServer === undefined) {
    if (host === undefined) throw new SupercargoError('wrong-state', 'This host belongs to no cluster yet.', { hint: 'Join one first.' });
    if (poolDevice !== host.poolDevice) await saveHostFile(directory, { ...host, poolDevice });
    return { ...host, poolDevice };
  }
  const { privateKeyPem, requestPem } = await createKeyAndRequest();
  const port = options.port === undefined ? defaultPorts.agent : options.port - defaultPorts.nameServer + defaultPorts.agent;
  const application = { name: host?.name ?? options.name, address: `${options.address}:${port}`, request: requestPem };
  const answer = await nameServer.enrolLocalHost(application, host?.id ?? null);
  return keepIdentity(directory, { ...answer, host: { ...answer.host, address: application.address } }, privateKeyPem, poolDevice);
}

/** Writes the credentials first: a host file is there only with credentials that belong to it. */
export async function keepIdentity(
  directory: StateDirectory,
  answer: JoinAnswer,
  privateKeyPem: string,
  poolDevice: string | null,
): Promise<HostFile> {
  await saveCredentials(directory.agent, { privateKeyPem, certificatePem: answer.certificate, authorities: answer.authorities });
  const file: HostFile = {
    cluster: answer.cluster,
    id: answer.host.id,
    name: answer.host.name,
    address: answer.host.address,
    nameServer: answer.nameServer,
    poolDevice,
  };
  splitAddress(file.nameServer);
  await saveHostFile(directory, file);
  return file;
}

function startOwnAgent(options: UpOptions, directory: StateDirectory, host: HostFile, log: Log): ReturnType<typeof startAgent> {
  return startAgent({
    directory,
    host,
    poolSizeBytes: options.poolSizeBytes ?? null,
    pluginSocket: options.pluginSocket,
    socketPath: join(options.runDirectory, 'agent.sock'),
    runDirectory: options.runDirectory,
    version,
    clock: systemClock,
    log,
    settings: readSettings(process.env),
  });
}
