import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { SupercargoError } from '../model/errors.ts';
import type { WrappedKey } from '../model/volume-keys.ts';

const algorithm = 'aes-256-gcm';
const keyLength = 32;
const nonceLength = 12;
const tagLength = 16;

/** Master keys as they are written: each on a line of its own, in base64. The first wraps, all unwrap. */
export class MasterKeys {
  readonly #keys: readonly Buffer[];

  constructor(keys: readonly Buffer[]) {
    this.#keys = keys;
  }

  /** @throws invalid-option, without a word of what was read */
  static parse(text: string, source: string): MasterKeys {
    const lines = text.split('\n').filter((line) => line.trim() !== '');
    const keys = lines.map((line) => Buffer.from(line.trim(), 'base64'));
    if (keys.length > 0 && keys.every((key) => key.length === keyLength)) return new MasterKeys(keys);
    throw new SupercargoError(
      'invalid-option',
      `${source} does not give a master key: it takes ${keyLength} random bytes in base64, one key a line.`,
      {
        hint: 'Make one: openssl rand -base64 32',
      },
    );
  }

  static make(): MasterKeys {
    return new MasterKeys([randomBytes(keyLength)]);
  }

  get count(): number {
    return this.#keys.length;
  }

  /** Of the key that wraps. */
  get fingerprint(): string {
    return fingerprintOf(this.#first);
  }

  /** With a new key in front of these. */
  withNew(): MasterKeys {
    return new MasterKeys([randomBytes(keyLength), ...this.#keys]);
  }

  /** Only the key that wraps. */
  withoutOld(): MasterKeys {
    return new MasterKeys([this.#first]);
  }

  toText(): string {
    return this.#keys.map((key) => `${key.toString('base64')}\n`).join('');
  }

  wrap(volume: string, number: number, key: string): WrappedKey {
    const nonce = randomBytes(nonceLength);
    const master = this.fingerprint;
    const cipher = createCipheriv(algorithm, this.#first, nonce).setAAD(binding(volume, number, master));
    const sealed = Buffer.concat([cipher.update(key, 'utf8'), cipher.final(), cipher.getAuthTag()]);
    return { number, master, nonce: nonce.toString('base64'), sealed: sealed.toString('base64') };
  }

  /** @throws wrong-state if its master key is not among these, or it is not what was wrapped for this volume */
  unwrap(volume: string, { number, master, nonce, sealed }: WrappedKey): string {
    const key = this.#keys.find((each) => fingerprintOf(each) === master);
    if (key === undefined) {
      throw new SupercargoError('wrong-state', `The key of volume ${volume} is wrapped under master key ${master}, which is not there.`, {
        hint: 'Add that master key to SUPERCARGO_MASTER_KEY_FILE or SUPERCARGO_MASTER_KEY_COMMAND, behind the present one.',
      });
    }
    const bytes = Buffer.from(sealed, 'base64');
    try {
      const decipher = createDecipheriv(algorithm, key, Buffer.from(nonce, 'base64'), { authTagLength: tagLength })
        .setAAD(binding(volume, number, master))
        .setAuthTag(bytes.subarray(-tagLength));
      return Buffer.concat([decipher.update(bytes.subarray(0, -tagLength)), decipher.final()]).toString('utf8');
    } catch (error) {
      throw new SupercargoError('wrong-state', `The stored key of volume ${volume} is damaged, or belongs to another volume.`, {
        hint: 'Restore the name server from a backup.',
        cause: error,
      });
    }
  }

  get #first(): Buffer {
    const [first] = this.#keys;
    if (first === undefined) throw new SupercargoError('internal', 'There is no master key.');
    return first;
  }
}

/** What a wrapped key is for. */
function binding(volume: string, number: number, master: string): Buffer {
  return Buffer.from(JSON.stringify([volume, number, master]));
}

function fingerprintOf(key: Buffer): string {
  return createHash('sha256').update(key).digest('hex').slice(0, 16);
}
