import { readFile, mkdir, chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { SupercargoError } from '../model/errors.ts';
import { clusterRecord, identifier } from '../model/records.ts';
import { writeFileAtomic } from '../system/files.ts';

/** Where everything of one host lives on its disk. Only the mount points can be reached by others than root. */
export interface StateDirectory {
  root: string;
  /** Private: the agent's identity and durable state. */
  agent: string;
  /** Private: the name server's store and the cluster's authority. */
  nameServer: string;
  poolFile: string;
  pool: string;
  mounts: string;
}

export async function openStateDirectory(root: string, openMounts = false): Promise<StateDirectory> {
  const directory: StateDirectory = {
    root,
    agent: join(root, 'agent'),
    nameServer: join(root, 'name-server'),
    poolFile: join(root, 'pool.img'),
    pool: join(root, 'pool'),
    mounts: join(root, 'mounts'),
  };
  await mkdir(root, { recursive: true });
  await mkdir(directory.mounts, { recursive: true });
  // An engine that remaps users passes through to the mount points as one of them; otherwise nobody but root has business there, because
  // volumes hold files that anyone may read.
  await chmod(root, openMounts ? 0o711 : 0o700);
  await chmod(directory.mounts, openMounts ? 0o711 : 0o700);
  await mkdir(directory.agent, { recursive: true, mode: 0o700 });
  return directory;
}

/** Who this host is, kept beside its credentials. */
const hostFile = z.object({
  cluster: clusterRecord,
  id: identifier,
  name: z.string(),
  address: z.string(),
  nameServer: z.string(),
  poolDevice: z.string().nullable(),
});
export type HostFile = z.infer<typeof hostFile>;

export const loadHostFile = (directory: StateDirectory): Promise<HostFile | undefined> => loadJson(join(directory.agent, 'host.json'), hostFile);
export const saveHostFile = (directory: StateDirectory, host: HostFile): Promise<void> => saveJson(join(directory.agent, 'host.json'), host);

/** @throws wrong-state if the file is there but damaged: it is never quietly replaced */
export async function loadJson<Schema extends z.ZodType>(path: string, schema: Schema): Promise<z.output<Schema> | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    throw new SupercargoError('wrong-state', `${path} is damaged.`, { hint: 'Restore it from a backup of the state directory.', cause: error });
  }
}

export async function saveJson(path: string, value: unknown): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(value, null, 2)}\n`, 0o600);
}
