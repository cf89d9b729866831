import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { SupercargoError } from '../../model/errors.ts';
import type { DriverInfo, PathChange, SnapshotReceiver, VolumeCopy, VolumeDriver } from '../../ports/driver.ts';
import type { VolumeCipher, VolumeKey } from '../../ports/volume-cipher.ts';

/** What is known elsewhere about the encryption of volumes. */
export interface VolumeSecrets {
  /** null: the volume is not encrypted. Otherwise the size of its files in bytes. */
  encryptionOf(volume: string): { sizeBytes: number } | null;
  /** The keys of a volume that this host holds, the newest first. @throws forbidden, stale-epoch, name-server-unreachable */
  release(volume: string): Promise<readonly VolumeKey[]>;
}

/** The one file in the live copy of an encrypted volume. */
const imageName = 'image.luks';

/**
 * Encryption over another driver, which keeps an image instead of the files and knows nothing of it: its snapshots, its streams and so all copies carry
 * ciphertext. Volumes that are not encrypted are the other driver's alone.
 */
export class EncryptedDriver implements VolumeDriver {
  readonly info: DriverInfo;
  readonly #inner: VolumeDriver;
  readonly #cipher: VolumeCipher;
  readonly #secrets: VolumeSecrets;

  constructor(inner: VolumeDriver, cipher: VolumeCipher, secrets: VolumeSecrets) {
    this.info = inner.info;
    this.#inner = inner;
    this.#cipher = cipher;
    this.#secrets = secrets;
  }

  livePath(volume: string): string {
    return this.#isEncrypted(volume) ? this.#cipher.clearPath(volume) : this.#inner.livePath(volume);
  }

  async createLive(volume: string): Promise<void> {
    const encryption = this.#secrets.encryptionOf(volume);
    await this.#inner.createLive(volume);
    // One that is there is complete: what was left half made is deleted before another is made.
    if (encryption === null || existsSync(this.#image(volume))) return;
    const [key] = await this.#secrets.release(volume);
    if (key !== undefined) await this.#cipher.create(volume, this.#image(volume), { ...encryption, key });
  }

  async openLive(volume: string): Promise<boolean> {
    if (!this.#isEncrypted(volume)) return this.#inner.openLive(volume);
    if (await this.#cipher.isOpen(volume)) return false;
    const keys = await this.#secrets.release(volume);
    const used = await this.#cipher.open(volume, this.#image(volume), keys);
    const [newest] = keys;
    // A snapshot from before the key was changed: what goes on from it goes on with the new one.
    if (newest !== undefined && used !== newest) await this.#cipher.rekey(volume, used, newest);
    return true;
  }

  /** Lets the newest of the volume's keys open the live copy from now on, and none of the others. */
  async rekeyLive(volume: string): Promise<void> {
    await this.openLive(volume);
    const [newest, ...older] = await this.#secrets.release(volume);
    if (newest === undefined) return;
    for (const key of older) await this.#cipher.rekey(volume, key, newest);
  }

  async setLiveReadOnly(volume: string, readOnly: boolean): Promise<void> {
    if (readOnly) await this.#cipher.close(volume);
    await this.#inner.setLiveReadOnly(volume, readOnly);
  }

  async deleteLive(volume: string): Promise<void> {
    await this.#cipher.close(volume);
    await this.#inner.deleteLive(volume);
  }

  async deleteVolume(volume: string): Promise<void> {
    await this.#cipher.close(volume);
    await this.#inner.deleteVolume(volume);
  }

  /** The size of an image is its limit. */
  async setSizeLimit(volume: string, sizeBytes: number | null): Promise<void> {
    if (!this.#isEncrypted(volume)) await this.#inner.setSizeLimit(volume, sizeBytes);
  }

  async createSnapshot(volume: string, snapshot: string): Promise<void> {
    await this.#cipher.flush(volume);
    await this.#inner.createSnapshot(volume, snapshot);
  }

  async hasChangedSince(volume: string, snapshot: string): Promise<boolean> {
    await this.#cipher.flush(volume);
    return this.#inner.hasChangedSince(volume, snapshot);
  }

  open(): Promise<void> {
    return this.#inner.open();
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  usage(): Promise<{ capacityBytes: number; usedBytes: number; location: string }> {
    return this.#inner.usage();
  }

  list(): Promise<VolumeCopy[]> {
    return this.#inner.list();
  }

  inspect(volume: string): Promise<VolumeCopy> {
    return this.#inner.inspect(volume);
  }

  createLiveFrom(volume: string, snapshot: string): Promise<void> {
    return this.#inner.createLiveFrom(volume, snapshot);
  }

  volumeUsage(volume: string): Promise<{ referencedBytes: number }> {
    return this.#inner.volumeUsage(volume);
  }

  deleteSnapshot(volume: string, snapshot: string): Promise<void> {
    return this.#inner.deleteSnapshot(volume, snapshot);
  }

  shareSnapshot(fromVolume: string, snapshot: string, toVolume: string): Promise<void> {
    return this.#inner.shareSnapshot(fromVolume, snapshot, toVolume);
  }

  async changesBetween(volume: string, from: string, to: string): Promise<PathChange[]> {
    if (!this.#isEncrypted(volume)) return this.#inner.changesBetween(volume, from, to);
    throw new SupercargoError('not-supported', 'What has changed in an encrypted volume cannot be seen from outside.', {
      hint: 'Make volumes of both snapshots (supercargo volume clone), and compare their files.',
    });
  }

  estimateDelta(volume: string, snapshot: string, base: string | null): Promise<number> {
    return this.#inner.estimateDelta(volume, snapshot, base);
  }

  send(volume: string, snapshot: string, base: string | null): Readable {
    return this.#inner.send(volume, snapshot, base);
  }

  receive(volume: string, snapshot: string, base: string | null): Promise<SnapshotReceiver> {
    return this.#inner.receive(volume, snapshot, base);
  }

  #isEncrypted(volume: string): boolean {
    return this.#secrets.encryptionOf(volume) !== null;
  }

  #image(volume: string): string {
    return join(this.#inner.livePath(volume), imageName);
  }
}
