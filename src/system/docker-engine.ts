import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { z } from 'zod';
import { SupercargoError } from '../model/errors.ts';
import type { ContainerEngine, ContainerReference } from '../ports/container-engine.ts';

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
type ListedContainer = z.infer<typeof containerList>[number];

/** Docker, over its socket. Paths carry no version: each engine then speaks its own, and what is read here is the same in all. */
export function createDockerEngine(options: DockerEngineOptions = {}): ContainerEngine {
  const socketPath = options.socketPath ?? '/var/run/docker.sock';
  const processFile = options.processFile ?? '/run/docker.pid';

  // The list, not an inspection of each: inspecting a container that is being started waits for the very call we may be answering.
  async function listContainers(filter: Record<string, string[]>): Promise<ListedContainer[]> {
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
  };
}

/** The container's identifier in the text of /proc/PID/cgroup; the innermost, as an engine may itself run in a container. */
export function containerIdIn(cgroups: string): string | undefined {
  return cgroups.match(/(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/g)?.at(-1);
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

function toReference(container: ListedContainer): ContainerReference {
  const name = container.Names?.[0]?.replace(/^\//, '') ?? container.Id.slice(0, 12);
  return { id: container.Id, name, state: container.State };
}

async function getJson(socketPath: string, path: string): Promise<unknown> {
  try {
    const { status, body } = await get(socketPath, path);
    if (status !== 200) throw new Error(`status ${status}: ${body.slice(0, 200)}`);
    return JSON.parse(body);
  } catch (error) {
    throw new SupercargoError('host-unreachable', `The container engine at ${socketPath} does not answer: ${(error as Error).message}`, {
      hint: 'Check that it runs: systemctl status docker',
      cause: error,
    });
  }
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
