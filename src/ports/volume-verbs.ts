import type { Volume } from '../model/records.ts';

/** A volume as this host knows it, from the durable local copy: answered at once, name server or not. */
export interface KnownVolume {
  volume: Volume;
  /** Where it is mounted on this host now; null if it is not. */
  mountPoint: string | null;
  /** Facts for people: holder's name, epoch, state, a move's progress. */
  status: Record<string, string>;
}

export interface CreateOptions {
  name: string;
  project?: string;
  class?: string;
  sizeBytes?: number;
  labels?: Record<string, string>;
  /** The volume begins with a snapshot of another one; null is what that holds now. */
  from?: { volume: string; snapshot: string | null };
}

/**
 * The few verbs that every foreign protocol (Docker's plugin, CSI, …) is translated to. All can be repeated. Errors are SupercargoErrors whose text
 * can be shown to the user as it is.
 */
export interface VolumeVerbs {
  /** Makes the volume, or finds it if what is asked for is what is there. @throws invalid-name, invalid-option, already-exists, name-server-unreachable */
  create(options: CreateOptions): Promise<void>;
  /**
   * A volume by its name; undefined if there surely is none. Asks the name server only if the local copy does not know the name.
   * @throws name-server-unreachable if the local copy does not know it and nobody can be asked: the caller must not answer "no"
   */
  find(name: string): Promise<KnownVolume | undefined>;
  /** All volumes, from the local copy. */
  list(): KnownVolume[];
  /**
   * Makes the data available on this host, brings it here if need be, and counts one more use by the session.
   * @param session who will give it back; the same session may come several times and is then counted as often
   * @param signal fires when the caller went away: the use is then given back, the transfer goes on
   * @returns the absolute mount point
   * @throws not-found, volume-in-use, move-in-progress, deadline-exceeded (the move goes on; ask again), host-unreachable, data-missing, pool-full
   */
  mount(name: string, session: string, signal: AbortSignal): Promise<string>;
  /** Counts one use less; unknown sessions are fine. @throws not-found */
  unmount(name: string, session: string): Promise<void>;
  /** Removes the volume everywhere. @throws not-found, volume-in-use, move-in-progress, host-unreachable */
  remove(name: string): Promise<void>;
  /** The container engine was (re)started: sessions of the one before are checked against the kernel. Returns at once. */
  engineStarted(): void;
}
