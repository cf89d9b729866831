import type { Clock } from '../ports/clock.ts';
import { createAuthority, openAuthority } from './authority.ts';
import type { Authority, AuthorityMaterial } from './authority.ts';

/**
 * How far one authority has taken the place of another. `introducing`: the next one is told to all, and signs nothing yet; `retiring`: it signs, and the last
 * one still counts for what it has signed. Its key is gone by then.
 */
export type Rotation = ({ phase: 'introducing' } & AuthorityMaterial) | { phase: 'retiring'; certificatePem: string };
export type RotationPhase = 'none' | Rotation['phase'];

/** What is kept of the authorities of a cluster: the one that signs, and what takes its place or had it before. Secret. */
export interface AuthorityState extends AuthorityMaterial {
  rotation: Rotation | null;
}

interface KeeperOptions {
  state: AuthorityState;
  clusterId: string;
  clusterName: string;
  clock: Clock;
  /** Makes a state durable: with it a step has been taken, before it none. */
  save: (state: AuthorityState) => Promise<void>;
  /** Told after each step. */
  onChange: () => Promise<void>;
}

/** The authorities of a cluster. Each step of a rotation is one write; a step that was taken already changes nothing. */
export class AuthorityKeeper {
  readonly #options: KeeperOptions;
  /** The last step; one begins when the one before has ended, well or not. */
  #steps: Promise<void> = Promise.resolve();
  #state: AuthorityState;
  #signing: Authority;

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#state = options.state;
    this.#signing = openAuthority(options.state, options.clock);
  }

  get signing(): Authority {
    return this.#signing;
  }

  get phase(): RotationPhase {
    return this.#state.rotation?.phase ?? 'none';
  }

  /** All that count, PEM; the first one signs. */
  get certificates(): string[] {
    const { certificatePem, rotation } = this.#state;
    return rotation === null ? [certificatePem] : [certificatePem, rotation.certificatePem];
  }

  /** Makes the next authority, unless one is on its way already. */
  introduce(): Promise<void> {
    return this.#step(async (before) => {
      if (before.rotation !== null) return before;
      return { ...before, rotation: { phase: 'introducing', ...(await createAuthority(this.#options)) } };
    });
  }

  /** Lets the next authority sign, and gives the key of the last one up. */
  promote(): Promise<void> {
    return this.#step(async (before) => {
      if (before.rotation?.phase !== 'introducing') return before;
      const { certificatePem, privateKeyPem } = before.rotation;
      return { certificatePem, privateKeyPem, rotation: { phase: 'retiring', certificatePem: before.certificatePem } };
    });
  }

  /** What the last authority has signed counts no more. */
  retire(): Promise<void> {
    return this.#step(async (before) => (before.rotation?.phase === 'retiring' ? { ...before, rotation: null } : before));
  }

  /** One step after the other. */
  #step(decide: (before: AuthorityState) => Promise<AuthorityState>): Promise<void> {
    const take = async (): Promise<void> => {
      const after = await decide(this.#state);
      if (after === this.#state) return;
      await this.#options.save(after);
      this.#state = after;
      this.#signing = openAuthority(after, this.#options.clock);
      await this.#options.onChange();
    };
    const step = this.#steps.then(take, take);
    this.#steps = step;
    return step;
  }
}
