import { expect, it } from 'vitest';
import type { Denial } from './access.ts';
import { requireUndenied } from './deny-list.ts';
import { newIdentifier } from './identifiers.ts';

const denial = (subject: Denial['subject'], value: string): Denial => {
  const at = '2026-01-01T00:00:00Z';
  return { id: newIdentifier('dny'), subject, value, reason: 'stolen', actor: 'operator', at, until: at };
};

it.each([
  ['host', { host: 'h', certificate: 'C' }, /host readmit/],
  ['user', { host: null, user: 'u', certificate: 'C' }, /supercargo user add/],
  ['certificate', { host: 'h', certificate: 'C' }, /host readmit/],
  ['certificate', { host: null, user: 'u', certificate: 'C' }, /supercargo user invite/],
] as const)('who is denied as a %s, as %j, is told what helps', (subject, bearer, words) => {
  const value = { host: 'h', user: 'u', certificate: 'C' }[subject];
  const refuse = (): void => requireUndenied([denial(subject, value)], bearer);
  expect(refuse).toThrow(`This ${subject} is denied since 2026-01-01T00:00:00Z: stolen`);
  expect(refuse).toThrow(expect.objectContaining({ code: 'forbidden', hint: expect.stringMatching(words) }));
});

it('others are not concerned', () => {
  const denials = [denial('host', 'h'), denial('user', 'u'), denial('certificate', 'C')];
  requireUndenied(denials, { host: 'u', certificate: 'D' });
  requireUndenied(denials, { host: null, user: 'h', certificate: 'D' });
});
