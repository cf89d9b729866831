import type { AccessMode } from '../model/access.ts';

/** A volume that a container is to get. */
export interface WishedVolume {
  /** Its name; null for one that the engine is to make up a name for. */
  name: string | null;
  mode: AccessMode;
  /** What is made if there is none of the name: a volume of ours in this project (null: the default one), or undefined for one that is not ours. */
  fresh?: { project: string | null };
}

/** A place on the host's own file system that a container is to see. */
export interface WishedPath {
  path: string;
  mode: AccessMode;
}

/** All that a container is to get and that matters here, from whatever protocol it was read. */
export interface ContainerWish {
  /** What it shows to prove whose it is; null if nothing. A secret. */
  pass: string | null;
  volumes: readonly WishedVolume[];
  paths: readonly WishedPath[];
  /** Powers by which it could reach the host's files or processes, each as a phrase such as "is privileged". */
  powers: readonly string[];
}

/**
 * Decides which containers may have what, and remembers what it has decided. A refusal is thrown: `forbidden`, with a text for the user. Whoever asks
 * names containers by the identifier that the engine gave them.
 */
export interface ContainerGate {
  /** False while nothing is required of anybody: then everything is allowed, and nothing else here needs to be asked. */
  readonly guarding: boolean;
  /**
   * A container is about to be made. A pass that counts once is spent.
   * @param request the same for the same request only: ties `created` to this
   */
  create(request: string, wish: ContainerWish): Promise<void>;
  /** How that ended: with this container, or with none, which gives the pass back. */
  created(request: string, container: string | null): Promise<void>;
  /** A container that was made is about to be started, or its files read: judged by the rights in force now. */
  start(container: string, wish: Omit<ContainerWish, 'pass'>): Promise<void>;
  /** Whether these paths and powers may be used at all, by nobody in particular. */
  use(wish: Pick<ContainerWish, 'paths' | 'powers'>): Promise<void>;
  /** Whether a volume of this name is used by grant only. */
  isProtected(volume: string): boolean;
}
