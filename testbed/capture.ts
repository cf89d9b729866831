/** What passes a lab's bridge, recorded by tcpdump. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { waitUntil } from './process.ts';

/** So much may wait for tcpdump while the machine is busy, in KiB. */
const BUFFER_KIBIBYTES = 128 * 1024;

export class Capture {
  /** In pcap's own format with the heads of LINUX_SLL2. */
  readonly file: string;
  readonly #program: ChildProcess;
  #said = '';

  private constructor(file: string, program: ChildProcess) {
    this.file = file;
    this.#program = program;
    program.stderr?.on('data', (chunk: Buffer) => (this.#said += chunk.toString()));
  }

  /** @param enter the command that runs another one where the bridge is; resolves when packets are recorded */
  static async start(enter: readonly string[], file: string): Promise<Capture> {
    // Each packet once, as it comes in by a host's cable: the bridge itself shows only what is for it.
    const where = ['-i', 'any', '-Q', 'in', '-y', 'LINUX_SLL2'];
    const options = [...where, '-n', '-U', '--immediate-mode', '-s', '0', '-B', String(BUFFER_KIBIBYTES), '-Z', 'root', '-w', file];
    // It may not outlive whoever reads what it writes.
    const program = spawn('setpriv', ['--pdeathsig', 'KILL', ...enter, 'tcpdump', ...options], { stdio: ['ignore', 'ignore', 'pipe'] });
    const capture = new Capture(file, program);
    await waitUntil('tcpdump to listen', () => {
      if (program.exitCode !== null) throw new Error(`tcpdump did not start: ${capture.#said}`);
      return capture.#said.includes('listening on');
    });
    return capture;
  }

  /**
   * Packets of the last moment may be missing: look for the last one that matters in the file before.
   * @throws if packets were lost
   */
  async stop(): Promise<void> {
    const closed = once(this.#program, 'close');
    this.#program.kill('SIGINT');
    await closed;
    if (!/^0 packets dropped by kernel$/m.test(this.#said)) throw new Error(`the record of the packets is not whole: ${this.#said}`);
  }
}
