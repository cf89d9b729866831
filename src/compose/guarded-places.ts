import { dirname } from 'node:path';
import type { GuardedPlaces } from '../agent/context.ts';
import type { GuardedPlace } from '../planner/admission-plan.ts';
import { createHostSystem } from '../system/host-system.ts';
import type { AgentProcessOptions } from './agent-process.ts';

/** Whoever sees these has the data of all volumes, or can order the engine, or sees the processes of other containers and by them their files. */
const secretPlaces = {
  'the container engine': ['/var/run/docker.sock', '/run/docker', '/var/run/docker', '/run/containerd', '/var/lib/containerd', '/var/lib/docker'],
  'the kernel’s view of all processes': ['/proc', '/sys'],
};
/** Whoever can change these has programs run as root, or makes the engine ask nobody any more. */
const systemPlaces = ['/etc', '/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/boot', '/dev', '/root', '/var/spool/cron'];

/** Containers without leave keep away from these places of this host. */
export async function createGuardedPlaces(options: Pick<AgentProcessOptions, 'directory' | 'runDirectory' | 'pluginSocket'>): Promise<GuardedPlaces> {
  const system = createHostSystem();
  const place = async (path: string, holds: string, readable = false): Promise<GuardedPlace> => ({
    path: await system.realPath(path),
    holds,
    readable,
  });
  const own = [options.directory.root, options.runDirectory, dirname(options.pluginSocket), '/etc/docker/plugins', '/usr/lib/docker/plugins'];
  const places = await Promise.all([
    ...own.map((path) => place(path, 'what Supercargo keeps')),
    ...Object.entries(secretPlaces).flatMap(([holds, paths]) => paths.map((path) => place(path, holds))),
    ...systemPlaces.map((path) => place(path, 'a part of its system', true)),
  ]);
  let engineDirectory: GuardedPlace | null = null;
  return {
    all: () => (engineDirectory === null ? places : [...places, engineDirectory]),
    noteEngineDirectory: async (path) => {
      engineDirectory = await place(path, 'the container engine');
    },
  };
}
