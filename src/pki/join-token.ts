import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { SupercargoError } from '../model/errors.ts';
import { newIdentifier } from '../model/identifiers.ts';

export interface JoinToken {
  /** Names the invitation; no secret. */
  id: string;
  /** 256 random bits; stored as a hash only. */
  secret: string;
}

const tokenPattern = /^(inv_[0-9a-f]{24})\.([A-Za-z0-9_-]{43})$/;

/** A new token, and its text as a person hands it on. */
export function newJoinToken(): JoinToken & { text: string } {
  const id = newIdentifier('inv');
  const secret = randomBytes(32).toString('base64url');
  return { id, secret, text: `${id}.${secret}` };
}

/** @throws invalid-token */
export function parseJoinToken(text: string): JoinToken {
  const [, id, secret] = tokenPattern.exec(text.trim()) ?? [];
  if (id === undefined || secret === undefined) {
    throw new SupercargoError('invalid-token', 'The join token is malformed.', { hint: 'Copy the whole join command again.' });
  }
  return { id, secret };
}

/** What is stored of a secret. It is random, so a plain hash cannot be guessed back. */
export function hashSecret(secret: string): string {
  return createHash('sha256').update(secret).digest('hex');
}

/** Compares in a time that tells nothing about the stored hash. */
export function secretMatches(secret: string, storedHash: string): boolean {
  const given = Buffer.from(hashSecret(secret));
  const stored = Buffer.from(storedHash);
  return given.length === stored.length && timingSafeEqual(given, stored);
}
