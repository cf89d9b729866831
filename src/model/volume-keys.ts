import { z } from 'zod';

/** A key of a volume, encrypted under a master key of the name server: useless without that, and for any other volume or number. */
const wrappedKey = z.strictObject({
  number: z.int().positive().describe('Counted from 1; the highest is the one in force.'),
  master: z.string().describe('Fingerprint of the master key.'),
  nonce: z.string(),
  sealed: z.string(),
});
export type WrappedKey = z.infer<typeof wrappedKey>;

/**
 * All keys that a volume ever had, the oldest first. Older ones stay, because snapshots from before a change open with them: a replica that takes over may have
 * nothing newer. Without this record nobody can read any copy of the volume.
 */
export const volumeKeys = z.strictObject({ keys: z.array(wrappedKey) });
export type VolumeKeys = z.infer<typeof volumeKeys>;
