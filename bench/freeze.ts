/** How fast a container that flushes every write stands still: our fence, and the engine's own pause. */
import { readFile } from 'node:fs/promises';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Host } from '../testbed/lab.ts';
import { TEST_IMAGE } from '../testbed/lab.ts';
import { waitUntil } from '../testbed/process.ts';
import { figure } from './figure.ts';
import type { Figure, Samples } from './figure.ts';
import { BenchLab, inTurn } from './lab.ts';
import type { BenchOptions } from './lab.ts';
import { callSocket } from './local-call.ts';

const volume = 'freeze';
const container = 'writer';
/** Other processes on the host, which each look has to go through. */
const crowd = 200;

/** Tells after each flush, in memory that it shares with the host, how many there were and when the last one was done. */
const writer = `
import mmap, os, time
shared = open("/stamp/last", "r+b")
last = memoryview(mmap.mmap(shared.fileno(), 16)).cast("d")
file = os.open("/data/log", os.O_RDWR | os.O_CREAT)
while True:
    os.pwrite(file, b"x" * 4096, 0)
    os.fsync(file)
    last[0] = time.monotonic() * 1000
    last[1] += 1`;

interface Answer {
  ordered: number;
  confirmed: number;
  users: number;
  problem: string | null;
}

export async function measureFreeze({ runs = 25, small, say }: BenchOptions): Promise<Figure[]> {
  await using lab = await BenchLab.start('512M');
  const host = lab.source;
  await lab.plugin(host).create(volume);
  await startContainers(host, small ? 10 : crowd);
  const orders = await Orders.start(lab, host);
  const last: Samples = { ours: [], rival: [] };
  const confirmed: Samples = { ours: [], rival: [] };
  const killed: Samples = { ours: [], rival: [] };
  say('freeze: freeze, and docker pause');
  for (let run = 0; run < runs; run += 1) {
    await inTurn(
      run,
      async () => {
        await writesOn(host);
        const { ordered, confirmed: at, users, problem } = await orders.give('freeze');
        if (users === 0 || problem !== null) throw new Error(`not frozen: ${problem ?? 'no user was found'}`);
        last.ours.push(Math.max(0, (await lastFlush(host)).at - ordered));
        confirmed.ours.push(at - ordered);
        await orders.give('thaw');
      },
      async () => {
        await writesOn(host);
        const ordered = monotonicMilliseconds();
        await engine(host, 'pause');
        confirmed.rival.push(monotonicMilliseconds() - ordered);
        last.rival.push(Math.max(0, (await lastFlush(host)).at - ordered));
        await engine(host, 'unpause');
      },
    );
  }
  say('freeze: kill');
  for (let run = 0; run < runs; run += 1) {
    await writesOn(host);
    const { ordered, confirmed: at, problem } = await orders.give('kill');
    if (problem !== null) throw new Error(`not killed: ${problem}`);
    killed.ours.push(at - ordered);
    await waitUntil('the engine knows', async () => (await engineState(host)) === 'exited');
    await engine(host, 'start');
  }
  await orders.end();
  const rivalName = 'docker pause, by its socket';
  const rows = [
    figure({ bench: 'freeze', measure: 'last write after the order', unit: 'ms', better: 'lower', target: { ours: 50 }, rivalName }, last),
    figure({ bench: 'freeze', measure: 'confirmed after', unit: 'ms', better: 'lower', target: null, rivalName }, confirmed),
    figure({ bench: 'freeze', measure: 'killed and unmounted after', unit: 'ms', better: 'lower', target: null, rivalName: null }, killed),
  ];
  return rows;
}

async function startContainers(host: Host, others: number): Promise<void> {
  await host.run(['sh', '-c', 'mkdir -p /run/stamp && truncate --size 16 /run/stamp/last']);
  await host.docker('run', '-d', '--network', 'none', TEST_IMAGE, 'sh', '-c', `for i in $(seq ${others}); do sleep 1000000 & done; wait`);
  const programs = ['/usr', '/lib', '/lib64'].flatMap((folder) => ['-v', `${folder}:${folder}:ro`]);
  const volumes = ['-v', '/run/stamp:/stamp', '--volume-driver', 'supercargo', '-v', `${volume}:/data`];
  await host.docker('run', '-d', '--name', container, '--network', 'none', ...programs, ...volumes, TEST_IMAGE, '/usr/bin/python3', '-c', writer);
}

/** The process on the host that fences; it is there before the order, as the guard is. */
class Orders {
  readonly #child: ReturnType<Host['spawn']>;
  readonly #answers: AsyncIterator<string>;

  private constructor(child: ReturnType<Host['spawn']>, answers: AsyncIterator<string>) {
    this.#child = child;
    this.#answers = answers;
  }

  static async start(lab: BenchLab, host: Host): Promise<Orders> {
    const id = await lab.volumeId(volume);
    const program = join(import.meta.dirname, 'freeze-order.ts');
    const paths = [lab.inPool('volumes', id, 'live'), `/var/lib/supercargo/mounts/${id}`];
    const child = host.spawn(['node', program, ...paths], { stdio: ['pipe', 'pipe', 'inherit'] });
    if (child.stdout === null) throw new Error('no standard output');
    const orders = new Orders(child, createInterface({ input: child.stdout })[Symbol.asyncIterator]());
    // Its program is loaded and compiled before the first order that counts.
    await writesOn(host);
    for (const order of ['freeze', 'thaw', 'freeze', 'thaw']) await orders.give(order);
    return orders;
  }

  async give(order: string): Promise<Answer> {
    this.#child.stdin?.write(`${order}\n`);
    const { value, done } = await this.#answers.next();
    if (done === true) throw new Error('the process that fences has ended');
    return JSON.parse(value) as Answer;
  }

  async end(): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.stdin?.end();
    await ended;
  }
}

async function lastFlush(host: Host): Promise<{ at: number; count: number }> {
  const stamp = await readFile(host.path('/run/stamp/last'));
  return { at: stamp.readDoubleLE(0), count: stamp.readDoubleLE(8) };
}

/** Waits until the writer is in full swing. */
async function writesOn(host: Host): Promise<void> {
  const before = (await lastFlush(host)).count;
  await waitUntil('the container writes', async () => (await lastFlush(host)).count > before + 50);
}

function engine(host: Host, verb: string): Promise<unknown> {
  return callSocket(host.engine.socket, { method: 'POST', path: `/containers/${container}/${verb}` });
}

async function engineState(host: Host): Promise<string> {
  return (await callSocket<{ State: { Status: string } }>(host.engine.socket, { path: `/containers/${container}/json` })).State.Status;
}

/** As the writer and the fence count: CLOCK_MONOTONIC. */
function monotonicMilliseconds(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
