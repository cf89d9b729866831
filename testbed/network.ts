/** The lab's network: one bridge in a network namespace of its own, and a cable (veth pair) to each host. */
import { spawn } from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { Capture } from './capture.ts';
import { isAlive, recordProcess, run, signal, waitUntil } from './process.ts';
import type { ProcessRecord } from './process.ts';
import type { Rack } from './rack.ts';

const RECORD = 'network.json';
/** Every lab may use the same addresses: no two labs, and not the machine, share a network namespace. */
const SUBNET = '10.77.0';

/** Packets may be queued for this long before a throttled cable drops them. */
const THROTTLE_LATENCY = '200ms';
const THROTTLE_BURST_BYTES = 128 * 1024;

/** The address of host number `n` (1 to 200). */
export function addressOf(n: number): string {
  return `${SUBNET}.${n}`;
}

export class Network {
  readonly #rack: Rack;

  constructor(rack: Rack) {
    this.#rack = rack;
  }

  /** Lays the bridge, unless it lies already. `dieWithParent`: the namespace ends with this process. */
  async create(dieWithParent: boolean): Promise<void> {
    if (this.#holder() !== undefined) return;
    const guard = dieWithParent ? ['setpriv', '--pdeathsig', 'KILL'] : [];
    const [file, ...rest] = [...guard, 'unshare', '--net', 'sleep', 'infinity'];
    const child = spawn(file ?? '', rest, { detached: true, stdio: 'ignore' });
    child.unref();
    if (child.pid === undefined) throw new Error('cannot start unshare: run testbed/prepare.sh');
    const pid = child.pid;
    const own = readlinkSync('/proc/self/ns/net');
    await waitUntil('the network namespace', () => {
      if (child.exitCode !== null) throw new Error('unshare --net failed: the testbed needs root');
      return namespaceOf(pid) !== own;
    });
    await this.#rack.write(RECORD, recordProcess(pid));
    await this.#ip(pid, ['link add br0 type bridge', 'link set lo up', 'link set br0 up']);
  }

  /** Plugs host number `n`, whose init is `pid`, into the bridge. */
  async connect(n: number, pid: number): Promise<void> {
    await this.#ip(this.#pid(), [`link add h${n} type veth peer name eth0 netns ${pid}`, `link set h${n} master br0 up`]);
    await this.#ip(pid, [`addr add ${addressOf(n)}/24 dev eth0`, 'link set eth0 up']);
  }

  /** Pulls the cable of host number `n`: both sides time out, no connection is reset. */
  async cut(n: number): Promise<void> {
    await this.#ip(this.#pid(), [`link set h${n} down`]);
  }

  async heal(n: number): Promise<void> {
    await this.#ip(this.#pid(), [`link set h${n} up`]);
  }

  /** Limits the cable of host number `n` in both directions; 0 lifts the limit. */
  async throttle(n: number, hostPid: number, bytesPerSecond: number): Promise<void> {
    for (const [pid, device] of [
      [this.#pid(), `h${n}`],
      [hostPid, 'eth0'],
    ] as const) {
      const enter = ['nsenter', '--target', String(pid), '--net', 'tc', 'qdisc'];
      if (bytesPerSecond === 0) {
        await run([...enter, 'del', 'dev', device, 'root'], { allowFailure: true });
        continue;
      }
      const limit = ['rate', `${bytesPerSecond}bps`, 'burst', String(THROTTLE_BURST_BYTES), 'latency', THROTTLE_LATENCY];
      await run([...enter, 'replace', 'dev', device, 'root', 'tbf', ...limit]);
    }
  }

  /** Records every packet that passes the bridge from now on. */
  async capture(file: string): Promise<Capture> {
    return Capture.start(['nsenter', '--target', String(this.#pid()), '--net'], file);
  }

  /** Ends the namespace; the kernel takes bridge and cables with it. */
  async remove(): Promise<void> {
    const holder = this.#rack.read<ProcessRecord>(RECORD);
    if (holder === undefined) return;
    signal(holder, 'SIGKILL');
    await waitUntil('the network to end', () => !isAlive(holder));
    await this.#rack.forget(RECORD);
  }

  #holder(): ProcessRecord | undefined {
    const record = this.#rack.read<ProcessRecord>(RECORD);
    return record !== undefined && isAlive(record) ? record : undefined;
  }

  #pid(): number {
    const holder = this.#holder();
    if (holder === undefined) throw new Error('the lab has no network: bring it up first');
    return holder.pid;
  }

  async #ip(pid: number, commands: string[]): Promise<void> {
    await run(['nsenter', '--target', String(pid), '--net', 'ip', '-batch', '-'], { input: `${commands.join('\n')}\n` });
  }
}

function namespaceOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined;
  }
}
