/**
 * Encryption of a volume's data at rest: one file of ciphertext (the image) in, a mounted file system out. What knows the key while a volume is open is a
 * process of its own, which outlives the agent: containers go on when the agent ends. Every method can be repeated, and what a process left behind that died
 * in the middle is cleared away by the next call.
 */
export interface VolumeCipher {
  /** Directory of an open volume's files, of a file system of its own; nothing is there while it is closed. Only root may enter. */
  clearPath(volume: string): string;
  /**
   * Makes a new image of that size with an empty file system in it, which is open then. What was at its path is lost.
   * @throws not-supported if this host lacks a program; command-failed
   */
  create(volume: string, image: string, content: { sizeBytes: number; key: VolumeKey }): Promise<void>;
  /** Whether the volume is open and what holds its key lives. */
  isOpen(volume: string): Promise<boolean>;
  /**
   * Opens the volume with the first of the keys that fits.
   * @returns the key that fitted
   * @throws data-missing if there is no image, or none fits; volume-in-use if it was cut off, and what used it is still there; not-supported; command-failed
   */
  open(volume: string, image: string, keys: readonly VolumeKey[]): Promise<VolumeKey>;
  /** Brings everything that was written so far into the image; does nothing if the volume is closed. */
  flush(volume: string): Promise<void>;
  /** Lets the other key open the image of an open volume from now on, and the first one no more. Copies of the image that were made before are as they were. */
  rekey(volume: string, from: VolumeKey, to: VolumeKey): Promise<void>;
  /** Everything that was written is in the image afterwards, and nothing can write to it. @throws volume-in-use if something has files of it open */
  close(volume: string): Promise<void>;
  /** As `close`, at once and whoever uses it: their calls fail, and what was not flushed is lost. */
  cutOff(volume: string): Promise<void>;
}

/** A text of high entropy, as the image knows it. Never to be shown, logged or stored. */
export type VolumeKey = string & { readonly volumeKey: unique symbol };
