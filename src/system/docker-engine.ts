import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { z } from 'zod';
import { SupercargoError } from '../model/errors.ts';
import { containerIdIn } from './cgroups.ts';
import type { ContainerEngine, ContainerReference, ListedContainer } from '../ports/container-engine.ts';

export interface DockerEngineOptions {
  /** The engine's API socket. */
  socketPath?: string;
  /** Where the engine writes its process number. */
  processFile?: string;
}

const answerTimeoutMilliseconds = 3000;
const lockTimeoutMilliseconds = 500;

const containerList = z.array(
  z.object({
    Id: z.string(),
    Names: z.array(z.string()).nullable(),
    State: z.string(),
    Mounts: z.array(z.object({ Name: z.string().optional() })).nullish(),
  }),
);
const inspected = z.object({ State: z.object({ Status: z.string() }) });
const information = z.object({ DockerRootDir: z.string(), Plugins: z.object({ Authorization: z.array(z.string()).nullish() }) });
type ListItem = z.infer<typeof containerList>[number];

/** Docker, over its socket. Paths carry no version: each engine then speaks its own, and what is read here is the same in all. */
export function createDockerEngine(options: DockerEngineOptions = {}): ContainerEngine {
  const socketPath = options.socketPath ?? '/var/run/docker.sock';
  const processFile = options.processFile ?? '/run/docker.pid';

  // The list, not an inspection of each: inspecting a container that is being started waits for the very call we may be answering.
  async function listContainers(filter: Record<string, string[]>): Promise<ListItem[]> {
    const query = new URLSearchParams({ all: 'true', filters: JSON.stringify(filter) });
    return containerList.parse(await getJson(socketPath, `/containers/json?${query.toString()}`));
  }

  /**
   * A container that is being started still has the state from before. But the engine holds its lock from before the first mount until the process
   * runs, and so does not answer an inspection: silence is the sign.
   */
  async function presentState({ id, state }: ContainerReference): Promise<string> {
    if (!['created', 'exited'].includes(state)) return state;
    try {
      const { status, body } = await get(socketPath, `/containers/${id}/json`, lockTimeoutMilliseconds);
      return status === 200 ? inspected.parse(JSON.parse(body)).State.Status : state;
    } catch {
      return 'starting';
    }
  }

  return {
    instance: () => readInstance(processFile),

    async containersUsing(volumeName) {
      const listed = await listContainers({ volume: [volumeName] });
      // The filter also matches mount destinations that are called like the volume.
      const using = listed.filter((container) => container.Mounts?.some((mount) => mount.Name === volumeName)).map(toReference);
      return Promise.all(using.map(async (container) => ({ ...container, state: await presentState(container) })));
    },

    async containerOfProcess(processNumber) {
      const id = containerIdIn(await readFile(`/proc/${processNumber}/cgroup`, 'utf8').catch(() => ''));
      if (id === undefined) return null;
      const listed = await listContainers({ id: [id] });
      return listed[0] === undefined ? null : toReference(listed[0]);
    },

    async warmUp() {
      await getJson(socketPath, '/volumes');
    },

    async settings() {
      const { DockerRootDir: dataDirectory, Plugins } = information.parse(await getJson(socketPath, '/info'));
      return { authorizationPlugins: Plugins.Authorization ?? [], dataDirectory };
    },

    async containers() {
      const listed = await listContainers({});
      return listed.map((container): ListedContainer => {
        const { id, name } = toReference(container);
        return { id, name, volumes: container.Mounts?.flatMap((mount) => mount.Name ?? []) ?? [] };
      });
    },

    inspectContainer: (container) => getText(socketPath, `/containers/${encodeURIComponent(container)}/json`),
    inspectVolume: (name) => getText(socketPath, `/volumes/${encodeURIComponent(name)}`),
  };
}

/** Process number and start time (ticks since boot): a number alone is used again. */
async function readInstance(processFile: string): Promise<string | null> {
  try {
    const processNumber = Number((await readFile(processFile, 'utf8')).trim());
    const status = await readFile(`/proc/${processNumber}/stat`, 'utf8');
    // The program's name, in parentheses, may hold anything; the start time is the 20th field behind it.
    const startTime = status.slice(status.lastIndexOf(')') + 2).split(' ')[19];
    return `${processNumber}-${startTime}`;
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
    throw error;
  }
}

function toReference(container: ListItem): ContainerReference {
  const name = container.Names?.[0]?.replace(/^\//, '') ?? container.Id.slice(0, 12);
  return { id: container.Id, name, state: container.State };
}

async function getJson(socketPath: string, path: string): Promise<unknown> {
  const text = await getText(socketPath, path);
  if (text === null) throw unanswered(socketPath, new Error('status 404'));
  return JSON.parse(text);
}

/** @returns null if there is no such thing */
async function getText(socketPath: string, path: string): Promise<string | null> {
  try {
    const { status, body } = await get(socketPath, path);
    if (status === 404) return null;
    if (status !== 200) throw new Error(`status ${status}: ${body.slice(0, 200)}`);
    return body;
  } catch (error) {
    throw unanswered(socketPath, error as Error);
  }
}

function unanswered(socketPath: string, cause: Error): SupercargoError {
  return new SupercargoError('host-unreachable', `The container engine at ${socketPath} does not answer: ${cause.message}`, {
    hint: 'Check that it runs: systemctl status docker',
    cause,
  });
}

function get(socketPath: string, path: string, timeoutMilliseconds = answerTimeoutMilliseconds): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, path, signal: AbortSignal.timeout(timeoutMilliseconds) }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (text: string) => (body += text));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
      response.on('error', reject);
    });
    call.on('error', reject);
    call.end();
  });
}
