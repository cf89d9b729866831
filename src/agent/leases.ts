import { SupercargoError } from '../model/errors.ts';
import { hasCopiesElsewhere } from '../model/failover.ts';
import type { Volume } from '../model/records.ts';
import { freezeLeadMilliseconds } from '../ports/guardian.ts';
import type { GuardedUntil, GuardedVolume } from '../ports/guardian.ts';
import { shortestSessionMilliseconds } from '../protocol/protection-routes.ts';
import type { LeaseClaim } from '../protocol/protection-routes.ts';
import { mountPointOf } from './context.ts';
import type { AgentOptions } from './context.ts';

/** A mount needs at least this much of its lease left: by then the guardians are about to stop its users. Milliseconds. */
const leastLeftMilliseconds = 1500;
/** How long a mount waits for the name server to confirm its lease. Milliseconds. */
const confirmationPatienceMilliseconds = 5000;

/** A mount that waits for that asks again this often. Milliseconds. */
const askAgainMilliseconds = 500;

type LeaseSurroundings = Pick<AgentOptions, 'self' | 'boot' | 'state' | 'clock' | 'driver' | 'mountDirectory' | 'guardians' | 'log'>;

/** What the name server answers about the volumes of a heartbeat. */
export interface HeartbeatAnswer {
  sessionMilliseconds: number;
  /** Those under automatic failover that this host may go on with. */
  leases: readonly LeaseClaim[];
  /** Those of `unconfirmed` that this host holds still. */
  held: readonly LeaseClaim[];
}

interface Lease {
  epoch: number;
  /** On the monotonic clock. */
  until: number;
}

/**
 * This host's leases: for each volume under automatic failover that it holds, the moment at which its users must have stopped. Counted from the sending of
 * the last heartbeat that was acknowledged, so it is always earlier than the name server's own count. The guardians enforce it, whatever becomes of this
 * process; here it is only known.
 */
export class Leases {
  readonly #context: LeaseSurroundings;
  readonly #leases = new Map<string, Lease>();
  readonly #waiters = new Set<() => void>();
  #sessionMilliseconds = shortestSessionMilliseconds;
  #beat = new AbortController();
  /** Whether all guardians have been asked what they guard from before. */
  #haveLooked = false;
  readonly #onRenewed: (volume: string) => void;

  /** Volumes whose lease may have begun before this process. */
  readonly #heldBefore: Set<string>;

  /** @param onRenewed called for a volume that may be written again, or for the first time */
  constructor(context: LeaseSurroundings, onRenewed: (volume: string) => void) {
    this.#context = context;
    this.#onRenewed = onRenewed;
    this.#heldBefore = new Set(context.state.localVolumes());
  }

  /** How long a session lasts without a heartbeat, as far as is known. Milliseconds. */
  get sessionMilliseconds(): number {
    return this.#sessionMilliseconds;
  }

  /** Fires when a heartbeat is wanted at once. */
  get wanted(): AbortSignal {
    return this.#beat.signal;
  }

  /**
   * Whether this host may write the volume now: always, unless it may have been replaced while it was off, or the volume is under automatic failover and
   * its lease is missing or nearly over.
   */
  mayWrite(volume: string, epoch: number): boolean {
    if (this.#mayBeReplaced(volume, epoch)) return false;
    if (!this.#needsLease(volume)) return true;
    const lease = this.#leases.get(volume);
    return lease?.epoch === epoch && lease.until - this.#context.clock.monotonicMilliseconds() >= leastLeftMilliseconds;
  }

  /** Asks for a heartbeat and waits until the host may write. @throws name-server-unreachable */
  async awaitRight(volume: Pick<Volume, 'id' | 'name'>, epoch: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#context;
    const end = clock.monotonicMilliseconds() + confirmationPatienceMilliseconds;
    let askAt = -Infinity;
    while (!this.mayWrite(volume.id, epoch)) {
      const now = clock.monotonicMilliseconds();
      if (now >= end) throw this.#mayBeReplaced(volume.id, epoch) ? unconfirmedError(volume.name) : leaselessError(volume.name);
      // An answer that does not confirm this volume must not make us ask again at once, and for ever.
      if (now >= askAt) {
        askAt = now + askAgainMilliseconds;
        this.#beat.abort();
      }
      await this.#nextChange(signal, askAt - now);
    }
  }

  /**
   * What the next heartbeat asks for: every volume under automatic failover that this host may be writing. One that is asked for the first time is guarded
   * from now on, whether or not the answer arrives: the name server may count on it.
   * @param sentAt when the heartbeat is sent, on the monotonic clock
   */
  async beforeHeartbeat(sentAt: number): Promise<LeaseClaim[]> {
    this.#beat = new AbortController();
    const { state } = this.#context;
    const claims: LeaseClaim[] = [];
    for (const volume of state.localVolumes()) {
      const grant = state.grant(volume);
      if (grant !== null && grant.state !== 'released' && this.#needsLease(volume)) claims.push({ volume, epoch: grant.epoch });
    }
    await this.#arm(
      claims.filter(({ volume, epoch }) => this.#leases.get(volume)?.epoch !== epoch),
      sentAt,
    );
    await this.#dropAllBut(claims);
    if (!this.#haveLooked) await this.#dropInherited(claims);
    return claims;
  }

  /** The name server's answer to the heartbeat that was sent then. */
  async confirm(sentAt: number, { sessionMilliseconds, leases, held }: HeartbeatAnswer): Promise<void> {
    this.#sessionMilliseconds = sessionMilliseconds;
    const until = sentAt + sessionMilliseconds;
    await this.#guard(leases, until);
    const renewed = [...leases, ...held].filter(({ volume, epoch }) => !this.mayWrite(volume, epoch));
    for (const { volume, epoch } of leases) this.#leases.set(volume, { epoch, until });
    await this.#context.state.confirmGrants(held, this.#context.boot);
    for (const { volume } of renewed) this.#onRenewed(volume);
    for (const waiter of this.#waiters) waiter();
  }

  /** What the next heartbeat asks besides: the grants of which nothing was heard since this host was switched on. */
  unconfirmed(): LeaseClaim[] {
    const { state } = this.#context;
    return state.localVolumes().flatMap((volume) => {
      const grant = state.grant(volume);
      if (grant === null || grant.state === 'released' || this.#isConfirmed(volume, grant.epoch)) return [];
      return [{ volume, epoch: grant.epoch }];
    });
  }

  /** This host has given the volume up: nothing of it needs to be stopped any more. */
  async forget(volume: string): Promise<void> {
    this.#leases.delete(volume);
    await Promise.all(this.#context.guardians.map((guardian) => this.#tell(() => guardian.drop(volume))));
  }

  /**
   * Whether another host may have become the holder while this one was off, by an operator's word that it does not run. What could not be replaced needs no word:
   * it is used with the name server away as well.
   */
  #mayBeReplaced(volume: string, epoch: number): boolean {
    const record = this.#context.state.volume(volume);
    return record !== undefined && hasCopiesElsewhere(record, this.#context.self.id) && !this.#isConfirmed(volume, epoch);
  }

  #isConfirmed(volume: string, epoch: number): boolean {
    const { state, boot } = this.#context;
    return state.isConfirmed(volume, { epoch, boot });
  }

  #needsLease(volume: string): boolean {
    return this.#context.state.volume(volume)?.protection.failover === 'auto';
  }

  /**
   * Has volumes guarded that this process does not know a lease of yet. One that a guardian knows keeps its deadline: nothing was acknowledged since. For one
   * that was held before this process began and that nobody guards, nothing is known of its lease: its users stand still until the name server answers.
   */
  async #arm(claims: readonly LeaseClaim[], sentAt: number): Promise<void> {
    if (claims.length === 0) return;
    const { guarded: states } = await this.#look();
    for (const claim of claims) {
      const known = states.filter(({ volume, epoch }) => volume === claim.volume && epoch === claim.epoch).map(({ until }) => until);
      const unknown = sentAt + (this.#heldBefore.has(claim.volume) ? freezeLeadMilliseconds : this.#sessionMilliseconds);
      await this.#guard([claim], known.length > 0 ? Math.max(...known) : unknown);
    }
  }

  async #guard(claims: readonly LeaseClaim[], until: number): Promise<void> {
    if (claims.length === 0) return;
    const { driver, guardians } = this.#context;
    const volumes: GuardedVolume[] = claims.map(({ volume, epoch }) => ({
      volume,
      epoch,
      path: driver.livePath(volume),
      mountPoint: mountPointOf(this.#context, volume),
    }));
    await Promise.all(guardians.map((guardian) => this.#tell(() => guardian.hold(volumes, until))));
    for (const { volume, epoch } of claims) if (this.#leases.get(volume)?.epoch !== epoch) this.#leases.set(volume, { epoch, until: -Infinity });
  }

  /** A guardian that outlived the agent before this one may guard what needs no guard any more: its users must not be stopped for that. */
  async #dropInherited(claims: readonly LeaseClaim[]): Promise<void> {
    const { guarded, complete } = await this.#look();
    this.#haveLooked = complete;
    const kept = new Set(claims.map(({ volume }) => volume));
    for (const { volume } of guarded) if (!kept.has(volume)) await this.forget(volume);
  }

  /** What the guardians guard, and whether all of them have answered. */
  async #look(): Promise<{ guarded: GuardedUntil[]; complete: boolean }> {
    const answers = await Promise.all(this.#context.guardians.map((guardian) => this.#tell(async () => guardian.states())));
    return { guarded: answers.flatMap((each) => each ?? []), complete: answers.every((each) => each !== null) };
  }

  async #dropAllBut(claims: readonly LeaseClaim[]): Promise<void> {
    const kept = new Set(claims.map(({ volume }) => volume));
    for (const volume of this.#leases.keys()) if (!kept.has(volume)) await this.forget(volume);
  }

  /** A guardian that does not hear keeps the older deadline, which is the safe side. */
  async #tell<Result>(call: () => Promise<Result>): Promise<Result | null> {
    try {
      return await call();
    } catch (error) {
      this.#context.log.warn({ error: String(error) }, 'a guardian did not answer');
      return null;
    }
  }

  async #nextChange(signal: AbortSignal, milliseconds: number): Promise<void> {
    const either = new AbortController();
    const changed = new Promise<void>((resolve) => {
      const finish = (): void => {
        this.#waiters.delete(finish);
        resolve();
      };
      this.#waiters.add(finish);
      either.signal.addEventListener('abort', finish, { once: true });
    });
    try {
      await Promise.race([changed, this.#context.clock.sleep(milliseconds, AbortSignal.any([signal, either.signal]))]);
    } finally {
      either.abort();
    }
  }
}

function leaselessError(name: string): SupercargoError {
  return new SupercargoError('name-server-unreachable', `The name server has not confirmed that this host may go on with volume "${name}".`, {
    hint: 'Its class has automatic failover, so it is used only while the name server can be heard. Try again when it is back.',
  });
}

function unconfirmedError(name: string): SupercargoError {
  return new SupercargoError(
    'name-server-unreachable',
    `This host was off, and the name server has not confirmed since that it still holds volume "${name}".`,
    {
      hint: 'Other hosts have copies of it, and an operator may have let one take over. Start the host of the name server, or mend the way to it; then start again here.',
    },
  );
}
