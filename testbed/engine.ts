/** The Docker engine of one host. */
import { open, readFile, rm } from 'node:fs/promises';
import { request } from 'node:http';
import type { Host } from './host.ts';
import { isAlive, recordProcess, run, signal, waitUntil } from './process.ts';
import type { Completed, RunOptions } from './process.ts';

/** By full path: another `docker` may come first on the PATH. */
export const DOCKER = '/usr/bin/docker';
const DOCKERD = '/usr/sbin/dockerd';

/**
 * Containers of the tests use `--network none` or `host`: no default bridge, no packet filter, so a faster start.
 * Later arguments win: `--bridge=` and `--iptables=true` bring both back.
 */
const DEFAULT_ARGUMENTS = ['--bridge=none', '--iptables=false', '--ip6tables=false'];
const START_TIMEOUT_MILLISECONDS = 180_000;

export class Engine {
  readonly #host: Host;

  constructor(host: Host) {
    this.#host = host;
  }

  /** The socket's path on the machine. */
  get socket(): string {
    return this.#host.path('/run/docker.sock');
  }

  /** Starts dockerd and returns when it answers. Its log is appended to `Host.logFile('dockerd')`. */
  async start(extra: readonly string[] = []): Promise<void> {
    if ((await this.findPid()) !== undefined) throw new Error(`docker already runs on ${this.#host.name}`);
    // Left by a killed dockerd; a new process may have got the number in it.
    await rm(this.#host.path('/run/docker.pid'), { force: true });
    const log = await open(this.#host.logFile('dockerd'), 'a');
    const logStart = (await log.stat()).size;
    const daemon = this.#host.spawn([DOCKERD, ...DEFAULT_ARGUMENTS, ...extra], { stdio: ['ignore', log.fd, log.fd] });
    daemon.unref();
    await log.close();
    await waitUntil(
      `docker on ${this.#host.name}`,
      async () => {
        if (daemon.exitCode !== null || daemon.signalCode !== null) {
          const text = (await readFile(this.#host.logFile('dockerd'))).subarray(logStart).toString('utf8');
          throw new Error(`dockerd on ${this.#host.name} ended at once:\n${text.split('\n').slice(-15).join('\n')}`);
        }
        return answers(this.socket);
      },
      START_TIMEOUT_MILLISECONDS,
    );
  }

  /** Sends dockerd a signal and returns when it has ended. SIGKILL leaves its containers running. */
  async stop(name: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const daemon = recordProcess(await this.pid());
    signal(daemon, name);
    await waitUntil(`docker on ${this.#host.name} to end`, () => !isAlive(daemon), 60_000);
  }

  /** dockerd's process as the machine numbers it. Throws if it does not run. */
  async pid(): Promise<number> {
    const pid = await this.findPid();
    if (pid === undefined) throw new Error(`docker does not run on ${this.#host.name}`);
    return pid;
  }

  /** Like `pid`, but undefined if dockerd does not run. */
  async findPid(): Promise<number | undefined> {
    const text = await readFile(this.#host.path('/run/docker.pid'), 'utf8').catch(() => undefined);
    if (text === undefined) return undefined;
    const found = (await this.#host.processes()).find((process) => process.localPid === Number(text.trim()));
    return found?.argv[0]?.endsWith('dockerd') === true ? found.pid : undefined;
  }

  /** Runs the docker client on the machine against this engine. */
  async command(args: readonly string[], options: RunOptions = {}): Promise<Completed> {
    return run([DOCKER, '--host', `unix://${this.socket}`, ...args], options);
  }
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const ping = request({ socketPath: socket, path: '/_ping' }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    ping.on('error', () => resolve(false));
    ping.end();
  });
}
