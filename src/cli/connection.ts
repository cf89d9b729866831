import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { SupercargoError } from '../model/errors.ts';
import type { Client } from '../protocol/client.ts';
import type { localRoutes } from '../protocol/local-routes.ts';
import type { Routes } from '../protocol/routes.ts';
import type { Transport } from '../protocol/transport.ts';

export type Api = Client<Routes>;
export type LocalApi = Client<typeof localRoutes>;

const notRunning = 'Start it with: supercargo up --detach (on a new host after: supercargo join …)';

/**
 * The socket by which this host is asked: the name server's own where there is one, because it alone gives operators' rights, else the agent's,
 * which passes everything on.
 * @throws name-server-unreachable if Supercargo does not run here
 */
export async function chooseSocket(runDirectory: string): Promise<string> {
  for (const name of ['name-server.sock', 'agent.sock']) {
    const path = join(runDirectory, name);
    if (await exists(path)) return path;
  }
  throw new SupercargoError('name-server-unreachable', `Supercargo does not run on this host (no socket in ${runDirectory}).`, { hint: notRunning });
}

/** How the cluster is reached from here: by a socket of this host if the caller may use it, else as the user who has logged in. */
export async function connectToCluster(runDirectory: string, openLogin: () => Promise<Transport | undefined>): Promise<Transport> {
  const usable = await chooseSocket(runDirectory).then(isUsable, () => false);
  const login = usable ? undefined : await openLogin();
  if (login !== undefined) return login;
  const path = await chooseSocket(runDirectory);
  const { unixTransport } = await import('../protocol/transport.ts');
  return unixTransport(path, { title: `Supercargo at ${path}`, unreachable: 'name-server-unreachable', hint: notRunning });
}

/** Works with the API and closes the connection afterwards. */
export async function withApi<Result>(connect: () => Promise<Transport>, work: (api: Api) => Promise<Result>): Promise<Result> {
  // The schemas cost most of a command's start-up time; `--help` needs none of them.
  const [transport, { createClient }, { routes }] = await Promise.all([connect(), import('../protocol/client.ts'), import('../protocol/routes.ts')]);
  try {
    return await work(createClient(routes, transport));
  } finally {
    transport.close();
  }
}

/** Asks the agent of this host itself. */
export async function withAgent<Result>(runDirectory: string, work: (agent: LocalApi) => Promise<Result>): Promise<Result> {
  const path = join(runDirectory, 'agent.sock');
  const [{ createClient }, { localRoutes }, { unixTransport }] = await Promise.all([
    import('../protocol/client.ts'),
    import('../protocol/local-routes.ts'),
    import('../protocol/transport.ts'),
  ]);
  const transport = unixTransport(path, { title: `The agent at ${path}`, unreachable: 'host-unreachable', hint: notRunning });
  try {
    return await work(createClient(localRoutes, transport));
  } finally {
    transport.close();
  }
}

function isUsable(path: string): Promise<boolean> {
  return access(path, constants.R_OK | constants.W_OK).then(
    () => true,
    () => false,
  );
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    // A socket that may not be seen is still there: let the attempt say that rights are missing.
    (error: unknown) => (error as NodeJS.ErrnoException).code === 'EACCES',
  );
}
