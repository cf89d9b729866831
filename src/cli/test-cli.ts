import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { localRoutes } from '../protocol/local-routes.ts';
import type { Route } from '../protocol/route.ts';
import { routes } from '../protocol/routes.ts';
import type { Routes } from '../protocol/routes.ts';
import { createServer } from '../protocol/server.ts';
import type { Handlers } from '../protocol/server.ts';
import type { CliDependencies } from './dependencies.ts';
import { runCli } from './run.ts';

export interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

/** For tests: a run directory of its own, in which commands run and a name server with given answers may serve. */
export class CliTestBench {
  readonly directory: string;
  readonly #closers: (() => Promise<unknown>)[] = [];

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async create(): Promise<CliTestBench> {
    return new CliTestBench(await mkdtemp(join(tmpdir(), 'supercargo-cli-')));
  }

  /** Serves the API with these handlers; calling others is a defect of the test. */
  serve(handlers: Partial<Handlers<Routes>>, socketName = 'name-server.sock'): Promise<void> {
    return this.#serve(routes, handlers as Handlers<Routes>, socketName);
  }

  /** The same for what the agent of this host answers itself. */
  serveAgent(handlers: Partial<Handlers<typeof localRoutes>>): Promise<void> {
    return this.#serve(localRoutes, handlers as Handlers<typeof localRoutes>, 'agent.sock');
  }

  async #serve<Table extends Record<string, Route>>(table: Table, handlers: Handlers<Table>, socketName: string): Promise<void> {
    const app = await createServer({
      routes: table,
      handlers,
      identify: () => ({ caller: 'operator', host: null, certificate: null }),
      serverFactory: (handler) => http.createServer(handler),
      version: 'test',
    });
    await app.listen({ path: join(this.directory, socketName) });
    this.#closers.push(() => app.close());
  }

  /** @param overrides `typed`: standard input is a terminal, at which this is typed */
  async run(argv: readonly string[], overrides: Partial<CliDependencies> & { terminal?: boolean; typed?: string } = {}): Promise<Ran> {
    const { terminal = false, typed, ...dependencies } = overrides;
    const written = { stdout: '', stderr: '' };
    const stream = (name: keyof typeof written) => ({ isTTY: terminal, write: (text: string) => (written[name] += text) });
    const unexpected = (): never => {
      throw new Error('not expected in this test');
    };
    const code = await runCli(argv, {
      version: '1.2.3',
      up: unexpected,
      join: unexpected,
      login: unexpected,
      logout: unexpected,
      openLogin: async () => undefined,
      readCheckpoint: unexpected,
      execute: unexpected,
      launch: [process.execPath],
      stdout: stream('stdout'),
      stderr: stream('stderr'),
      stdin: typed === undefined ? Readable.from([]) : Object.assign(Readable.from(typed === '' ? [] : [typed]), { isTTY: true }),
      ...dependencies,
      environment: { ...dependencies.environment, SUPERCARGO_RUN_DIRECTORY: this.directory },
    });
    return { code, ...written };
  }

  async close(): Promise<void> {
    for (const close of this.#closers) await close();
    await rm(this.directory, { recursive: true, force: true });
  }
}
