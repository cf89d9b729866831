import { createCipheriv, createHash } from 'node:crypto';

/** Computed at both ends of a transfer while the bytes pass. */
export interface StreamDigest {
  update(chunk: Buffer): void;
  /** Hexadecimal. Ends the digest: to be asked for once. */
  finish(): string;
}

/**
 * The digest of the stream of one snapshot: GMAC, the authentication code of AES-GCM, under a key that follows from the names of what is sent. It
 * need not withstand an enemy, whom TLS keeps out, but everything else that may happen between the engines of two hosts; a wrong stream passes with
 * a probability of 2^-90 at most. At 20 GB/s it costs a tenth of what SHA-256 does. See NIST SP 800-38D and docs/adr/0006.
 */
export function createStreamDigest(snapshot: string, base: string | null): StreamDigest {
  const key = createHash('sha256')
    .update(`${snapshot} ${base ?? ''}`)
    .digest()
    .subarray(0, 16);
  const code = createCipheriv('aes-128-gcm', key, Buffer.alloc(12));
  return {
    update: (chunk) => void code.setAAD(chunk),
    finish: () => {
      code.final();
      return code.getAuthTag().toString('hex');
    },
  };
}
