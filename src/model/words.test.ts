/* oxlint-disable vitest/no-conditional-expect -- what a property says of arbitrary facts holds under its condition */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatDuration } from './duration.ts';
import { errorCatalogue, isErrorCode, isSupercargoError, SupercargoError, toSupercargoError } from './errors.ts';
import { identifierPattern, newIdentifier } from './identifiers.ts';
import { checkName } from './names.ts';
import { formatSize, parseSize } from './size.ts';

describe('a size', () => {
  it.each([
    ['4096', 4096],
    ['512M', 512 * 1024 ** 2],
    ['512MiB', 512 * 1024 ** 2],
    ['10g', 10 * 1024 ** 3],
    ['1.5t', 1.5 * 1024 ** 4],
    [' 1 kb ', 1024],
    ['7B', 7],
  ])('%j is %d bytes', (text, bytes) => {
    expect(parseSize('size', text)).toBe(bytes);
  });

  it.each(['', '0', '0.1', '-1', '1x', '10GG', 'ten', '1e3', '99999999p', '1,5G', '٣G', 'NaN', 'Infinity'])(
    '%j is none, and the error names the option',
    (text) => {
      expect(() => parseSize('size', text)).toThrow(
        expect.objectContaining({ code: 'invalid-option', message: expect.stringContaining('"size"') as string }),
      );
    },
  );

  it('is an integer or refused, whatever is given', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^\d{1,20}(\.\d{1,9})?[kKmMgGtTpP]?i?[bB]?$/)), (text) => {
        try {
          expect(Number.isSafeInteger(parseSize('size', text))).toBe(true);
        } catch (error) {
          expect(error).toMatchObject({ code: 'invalid-option' });
        }
      }),
    );
  });

  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1.0 KiB'],
    [1536, '1.5 KiB'],
    [100 * 1024 ** 2, '100 MiB'],
    [1024 ** 5, '1.0 PiB'],
    [5000 * 1024 ** 5, '5000 PiB'],
  ])('%d bytes are written %j', (bytes, text) => {
    expect(formatSize(bytes)).toBe(text);
  });
});

describe('a duration', () => {
  it.each([
    [350, '350 ms'],
    [4200, '4.2 s'],
    [42_000, '42 s'],
  ])('of %d ms is written %j', (milliseconds, text) => {
    expect(formatDuration(milliseconds)).toBe(text);
  });

  it('never shows sixty of a unit', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10 ** 9 }), (milliseconds) => {
        expect(formatDuration(milliseconds)).not.toMatch(/\b60(?:\.0)? (?:s|min)\b|\b1000 ms\b|\b10\.0 s\b/);
      }),
      { examples: [[59_999], [9_960], [119_700], [3_599_999], [7_199_999]] },
    );
  });
});

describe('a name', () => {
  it.each(['a', 'pgdata', '0', 'A-b_c.d', 'f'.repeat(64), 'x'.repeat(128)])('%j is allowed', (name) => {
    expect(checkName('volume', name)).toBe(name);
  });

  it.each(['', '../x', 'a/b', '.hidden', '-rf', 'x'.repeat(129), 'ä', 'a b', 'a\n', 'a\0b', 'a\u202eb', 7, null, undefined, ['a']])(
    '%j is not',
    (name) => {
      expect(() => checkName('volume', name)).toThrow(expect.objectContaining({ code: 'invalid-name' }));
    },
  );

  it('holds nothing that means anything in a path', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        try {
          expect(checkName('volume', text)).not.toMatch(/[/\\\0\s]|^\./);
        } catch (error) {
          expect(error).toMatchObject({ code: 'invalid-name' });
        }
      }),
    );
  });
});

describe('an identifier', () => {
  it('is of the bytes it was given, and matches its pattern', () => {
    expect(newIdentifier('vol', (length) => new Uint8Array(length).fill(0xab))).toBe(`vol_${'ab'.repeat(12)}`);
    expect(newIdentifier('snp')).toMatch(identifierPattern);
    expect(newIdentifier('snp')).not.toBe(newIdentifier('snp'));
  });

  it.each(['vol_', `vol_${'A'.repeat(24)}`, `vol_${'a'.repeat(23)}`, `vol_${'a'.repeat(24)}\n`, `../_${'a'.repeat(24)}`])('%j is none', (text) => {
    expect(text).not.toMatch(identifierPattern);
  });
});

describe('an error', () => {
  it('has a status of its own kind and a summary that is a sentence', () => {
    for (const [code, { status, summary }] of Object.entries(errorCatalogue)) {
      expect(code).toMatch(/^[a-z]+(?:-[a-z]+)*$/);
      expect(status).toBeGreaterThanOrEqual(400);
      expect(status).toBeLessThan(600);
      expect(summary).toMatch(/^[A-Z].*\.$/);
    }
  });

  it('knows its codes and no others', () => {
    expect(isErrorCode('not-found')).toBe(true);
    expect(isErrorCode('toString')).toBe(false);
    const error = new SupercargoError('not-found', 'There is none.', { hint: 'Make one.' });
    expect(isSupercargoError(error)).toBe(true);
    expect(isSupercargoError(error, 'conflict', 'not-found')).toBe(true);
    expect(isSupercargoError(error, 'conflict')).toBe(false);
    expect(error.status).toBe(404);
    expect(error.toText()).toBe('There is none. (Make one.)');
    expect(new SupercargoError('not-found', 'There is none.').toText()).toBe('There is none.');
  });

  it('wraps what was thrown and keeps it as the cause', () => {
    const cause = new TypeError('oops');
    expect(toSupercargoError(cause)).toMatchObject({ code: 'internal', message: 'oops', cause });
    expect(toSupercargoError('oops')).toMatchObject({ code: 'internal', message: 'oops' });
    const own = new SupercargoError('conflict', 'again');
    expect(toSupercargoError(own)).toBe(own);
  });
});
