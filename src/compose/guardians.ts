import type { Log } from '../agent/context.ts';
import type { GuardClient } from '../guard/guard-client.ts';
import { Guard } from '../guard/guard.ts';
import type { VolumeDriver } from '../ports/driver.ts';
import type { Clock } from '../ports/clock.ts';
import type { Fence } from '../ports/fence.ts';
import type { GuardedVolume, Guardian, GuardedUntil } from '../ports/guardian.ts';
import type { VolumeCipher } from '../ports/volume-cipher.ts';
import { createHostFence, ensureGuard, findGuard, readArrived } from './guard-process.ts';
import { createSeal, createShutter } from './seal.ts';
import type { StateDirectory } from './state-directory.ts';

export interface GuardiansOptions {
  directory: Pick<StateDirectory, 'root' | 'pool'>;
  runDirectory: string;
  driver: VolumeDriver;
  cipher: VolumeCipher;
  clock: Clock;
  log: Log;
}

/** What stops the users of volumes on this host: the agent's own part, and the process beside it. */
export interface Guardians {
  fence: Fence;
  all: readonly Guardian[];
  /** Ends the agent's part; the process beside it goes on until its leases are over. */
  stop(): Promise<void>;
}

export function startGuardians(options: GuardiansOptions): Guardians {
  const { clock, log, driver, cipher, runDirectory } = options;
  const beside = new GuardBeside(options);
  const fence = createHostFence({ runDirectory, clock, log, spared: () => beside.processNumbers });
  const own = new Guard({ clock, fence, seal: createSeal(driver, 'agent', createShutter(cipher, clock)), log, readArrived });
  const stopping = new AbortController();
  const running = own.run(stopping.signal);
  return {
    fence,
    all: [own, beside],
    stop: async () => {
      stopping.abort(new Error('the agent stops'));
      await running;
      beside.close();
    },
  };
}

/** The guard in a process of its own: started when the first volume needs it, found again after a restart, replaced when it has died. */
class GuardBeside implements Guardian {
  readonly #options: GuardiansOptions;
  #connecting: Promise<GuardClient> | null = null;
  #client: GuardClient | null = null;

  constructor(options: GuardiansOptions) {
    this.#options = options;
  }

  get processNumbers(): number[] {
    return this.#client === null ? [] : [this.#client.guard.processNumber];
  }

  async hold(volumes: readonly GuardedVolume[], untilMilliseconds: number): Promise<void> {
    await (await this.#connect()).hold(volumes, untilMilliseconds);
  }

  async drop(volume: string): Promise<void> {
    await this.#client?.drop(volume);
  }

  async states(): Promise<readonly GuardedUntil[]> {
    if (this.#client === null) {
      const found = await findGuard(this.#options);
      if (found === undefined) return [];
      this.#keep(found);
    }
    return this.#client?.states() ?? [];
  }

  close(): void {
    this.#client?.close();
  }

  async #connect(): Promise<GuardClient> {
    if (this.#client !== null) return this.#client;
    this.#connecting ??= this.#open().finally(() => {
      this.#connecting = null;
    });
    return this.#connecting;
  }

  async #open(): Promise<GuardClient> {
    const { client, fresh } = await ensureGuard(this.#options);
    this.#options.log.info({ process: client.guard.processNumber, fresh }, 'the guard watches over the leases of this host');
    this.#keep(client);
    return client;
  }

  #keep(client: GuardClient): void {
    this.#client = client;
    void client.closed.then(() => {
      if (this.#client === client) this.#client = null;
    });
  }
}
