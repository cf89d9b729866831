import { lstat, readFile, readlink } from 'node:fs/promises';
import { json } from 'node:stream/consumers';
import { isSupercargoError } from '../../model/errors.ts';
import { unixTransport } from '../../protocol/transport.ts';
import { runningDaemon } from '../pid-file.ts';
import { ok, problem, warning } from './finding.ts';
import type { Finding } from './finding.ts';

const timeoutMilliseconds = 5000;
const startAdvice = 'Start Supercargo: supercargo up --detach';

export async function examineDocker(path: string): Promise<Finding> {
  try {
    const version = (await ask('Docker', path, 'GET', '/version')) as { Version?: string };
    return ok(`Docker ${version.Version ?? ''} answers at ${path}.`);
  } catch (error) {
    return problem((error as Error).message, 'Start it: systemctl start docker');
  }
}

/** Asks for the capabilities, because an Activate would mean to the agent that the engine was restarted. */
export async function examinePluginSocket(path: string): Promise<Finding> {
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return problem(`There is no plugin socket at ${path}, so Docker cannot find Supercargo.`, startAdvice);
  try {
    await ask('The plugin', path, 'POST', '/VolumeDriver.Capabilities');
    return ok(`The plugin answers at ${path}.`);
  } catch (error) {
    if (!isSupercargoError(error)) return problem(`The plugin at ${path} gives no sensible answer.`, 'Does another program listen there?');
    return problem(
      `The plugin socket ${path} is stale; it makes every docker command about volumes wait.`,
      `${startAdvice}, or remove it: rm ${path}`,
    );
  }
}

/** Mounts made by the agent are seen by Docker only if both live in the same mount namespace. */
export async function examineMountNamespace(runDirectory: string, dockerPidFile: string): Promise<Finding[]> {
  const agent = await runningDaemon(runDirectory);
  const docker = Number((await readFile(dockerPidFile, 'utf8').catch(() => '')).trim());
  if (agent === null || !(docker > 0)) return [];
  try {
    const [ours, theirs] = await Promise.all([agent, docker].map((processNumber) => readlink(`/proc/${processNumber}/ns/mnt`)));
    if (ours === theirs) return [ok('The agent and Docker share one mount namespace.')];
    return [
      problem(
        'The agent and Docker live in different mount namespaces: containers would see empty volumes.',
        'Run both as plain services of the host (no PrivateMounts, PrivateTmp or snap).',
      ),
    ];
  } catch {
    return [warning('Whether the agent and Docker share one mount namespace cannot be seen.', 'Run: sudo supercargo doctor')];
  }
}

async function ask(who: string, path: string, method: string, request: string): Promise<unknown> {
  const transport = unixTransport(path, { title: `${who} at ${path}`, unreachable: 'host-unreachable', hint: startAdvice });
  try {
    return await json(await transport.request({ method, path: request, timeoutMilliseconds }));
  } finally {
    transport.close();
  }
}
