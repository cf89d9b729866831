import { describe, expect, it } from 'vitest';
import { MasterKeys } from './master-key.ts';

const volume = 'vol_1';

describe('master keys', () => {
  it('give back what they wrapped, which shows nothing of it', () => {
    const masters = MasterKeys.make();
    const wrapped = masters.wrap(volume, 1, 'secret');
    expect(MasterKeys.parse(masters.toText(), 'the text').unwrap(volume, wrapped)).toBe('secret');
    expect(Buffer.from(wrapped.sealed, 'base64').toString('latin1')).not.toContain('secret');
    expect(masters.wrap(volume, 1, 'secret').sealed).not.toBe(wrapped.sealed);
  });

  it('refuse what was wrapped for another volume or number, or was changed', () => {
    const masters = MasterKeys.make();
    const wrapped = masters.wrap(volume, 1, 'secret');
    const bytes = Buffer.from(wrapped.sealed, 'base64');
    bytes[0]! ^= 1;
    for (const attempt of [
      () => masters.unwrap('vol_2', wrapped),
      () => masters.unwrap(volume, { ...wrapped, number: 2 }),
      () => masters.unwrap(volume, { ...wrapped, sealed: bytes.toString('base64') }),
      () => masters.unwrap(volume, { ...wrapped, sealed: '' }),
    ]) {
      expect(attempt).toThrow(expect.objectContaining({ code: 'wrong-state' }));
    }
  });

  it('say which one is missing', () => {
    const [masters, others] = [MasterKeys.make(), MasterKeys.make()];
    expect(() => others.unwrap(volume, masters.wrap(volume, 1, 'secret'))).toThrow(masters.fingerprint);
  });

  it('wrap with the first, and unwrap with all until the old ones are gone', () => {
    const masters = MasterKeys.make();
    const wrapped = masters.wrap(volume, 1, 'secret');
    const both = masters.withNew();
    expect(both.unwrap(volume, wrapped)).toBe('secret');
    const anew = both.wrap(volume, 1, 'secret');
    expect(() => masters.unwrap(volume, anew)).toThrow(both.fingerprint);
    expect(both.withoutOld().unwrap(volume, anew)).toBe('secret');
    expect(() => both.withoutOld().unwrap(volume, wrapped)).toThrow(masters.fingerprint);
  });

  it.each(['', 'short', `${Buffer.alloc(32).toString('base64')}\nc2hvcnQ=`])('are not made of %j, of which no error tells', (text) => {
    const attempt = () => MasterKeys.parse(text, 'the file');
    expect(attempt).toThrow(expect.objectContaining({ code: 'invalid-option' }));
    expect(attempt).not.toThrow(/c2hvcnQ|short/);
  });
});
