import { expect, it } from 'vitest';
import { hashSecret, newJoinToken, parseJoinToken, secretMatches } from './join-token.ts';

it('a join token survives being copied, and only its own secret matches', () => {
  const token = newJoinToken();
  expect(parseJoinToken(` ${token.text}\n`)).toEqual({ id: token.id, secret: token.secret });
  const stored = hashSecret(token.secret);
  expect(stored).not.toContain(token.secret);
  expect(secretMatches(token.secret, stored)).toBe(true);
  expect(secretMatches(newJoinToken().secret, stored)).toBe(false);
  expect(secretMatches(token.secret, '')).toBe(false);
});

it('a malformed join token is refused, without being repeated', () => {
  const { text, id, secret } = newJoinToken();
  for (const wrong of ['', id, secret, text.slice(0, -1), `${text}x`, `../${text}`]) {
    expect(() => parseJoinToken(wrong)).toThrow(expect.objectContaining({ code: 'invalid-token', message: 'The join token is malformed.' }));
  }
});
