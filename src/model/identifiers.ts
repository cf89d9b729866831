import { randomBytes } from 'node:crypto';

export type Prefix = 'clu' | 'hst' | 'vol' | 'mov' | 'snp' | 'pol' | 'inv' | 'ses' | 'prj' | 'app' | 'grt' | 'usr' | 'dny' | 'pas' | 'tkt';

/** Makes the only randomness that identifiers need; a parameter so that the simulator can replay it. */
export type RandomBytes = (length: number) => Uint8Array;

/** A new identifier such as `vol_3f9a0c…` (96 random bits): safe as a path component, a key and a word in a log. */
export function newIdentifier(prefix: Prefix, random: RandomBytes = randomBytes): string {
  return `${prefix}_${Buffer.from(random(12)).toString('hex')}`;
}

/** What every identifier looks like; what does not match never becomes a path. */
export const identifierPattern = /^[a-z]{3}_[0-9a-f]{24}$/;
