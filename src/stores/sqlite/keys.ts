import { SupercargoError } from '../../model/errors.ts';

const highestCodePoint = 0x10ffff;

/**
 * Refuses keys that SQLite would not give back as they were put: NUL ends text in parts of its interface, and a lone surrogate
 * has no UTF-8 form.
 * @throws invalid-request
 */
export function checkKey(key: string): string {
  if (key.length > 0 && key.isWellFormed() && !key.includes('\0')) return key;
  throw new SupercargoError('invalid-request', `The key ${JSON.stringify(key)} cannot be stored.`, {
    hint: 'Use a non-empty key of well-formed Unicode without NUL.',
  });
}

/**
 * The first key after all keys that begin with the prefix, or null if there is none (empty prefix). SQLite compares text by its
 * UTF-8 bytes, which is the order of code points, so the last code point is counted up by one.
 */
export function keyAfterPrefix(prefix: string): string | null {
  const codePoints = Array.from(prefix, (character) => character.codePointAt(0) ?? 0);
  while (codePoints.at(-1) === highestCodePoint) codePoints.pop();
  const last = codePoints.pop();
  if (last === undefined) return null;
  const next = last === 0xd7ff ? 0xe000 : last + 1; // surrogates lie between
  return String.fromCodePoint(...codePoints, next);
}
