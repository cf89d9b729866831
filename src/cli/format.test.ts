import { describe, expect, it } from 'vitest';
import { formatAge, formatDetails, formatTable, parseDuration, printable } from './format.ts';
import { defaultHostAddress, parseHostAddress } from './host-address.ts';

describe('durations', () => {
  it.each([
    ['10m', 600_000],
    ['1.5h', 5_400_000],
    ['30', 30_000],
    ['250ms', 250],
    ['2d', 172_800_000],
  ])('parses %s', (text, milliseconds) => {
    expect(parseDuration('--timeout', text)).toBe(milliseconds);
  });

  it.each(['', '0', '-1s', '10 m', '1y', 'm', '1e9d'])('refuses %j and names the option', (text) => {
    expect(() => parseDuration('--timeout', text)).toThrow(/Option "--timeout" is not a duration/);
  });
});

it('shows ages in their largest unit, and none below zero when clocks differ', () => {
  const now = Date.parse('2026-11-23T12:00:00Z');
  const ages = ['2026-11-23T12:00:05Z', '2026-11-23T11:59:30Z', '2026-11-23T11:01:00Z', '2026-11-23T09:59:00Z', '2026-10-14T12:00:00Z'];
  expect(ages.map((time) => formatAge(time, now))).toEqual(['0s', '30s', '59m', '2h', '40d']);
});

it('aligns columns without trailing spaces', () => {
  expect(
    formatTable(
      ['NAME', 'X'],
      [
        ['a', '1'],
        ['longer', ''],
      ],
    ),
  ).toEqual(['NAME    X', 'a       1', 'longer  -']);
  expect(
    formatDetails([
      ['name', 'v'],
      ['size limit', ''],
    ]),
  ).toEqual(['name:        v', 'size limit:  -']);
});

it('lets nothing steer the terminal', () => {
  expect(printable('a\u001b[2Jb\nc\u009bd')).toBe('a\ufffd[2Jb\ufffdc\ufffdd');
});

describe('addresses', () => {
  it.each([
    ['10.0.0.1', { host: '10.0.0.1', port: undefined }],
    ['10.0.0.1:7471', { host: '10.0.0.1', port: 7471 }],
    ['h1.example', { host: 'h1.example', port: undefined }],
    ['fd00::1', { host: 'fd00::1', port: undefined }],
    ['[fd00::1]:7471', { host: 'fd00::1', port: 7471 }],
  ])('parses %s', (text, expected) => {
    expect(parseHostAddress(text)).toEqual(expected);
  });

  it.each(['', ':7470', 'h1:0', 'h1:70000', 'h1:x', 'a b', '[fd00::1'])('refuses %j', (text) => {
    expect(() => parseHostAddress(text)).toThrow(/Option "--address" is not HOST/);
  });

  it('takes the first address that others can reach', () => {
    const entry = (address: string, family: 'IPv4' | 'IPv6', internal: boolean) => ({ address, family, internal }) as never;
    expect(
      defaultHostAddress({ lo: [entry('127.0.0.1', 'IPv4', true)], eth0: [entry('fd00::1', 'IPv6', false), entry('10.0.0.7', 'IPv4', false)] }),
    ).toBe('10.0.0.7');
    expect(defaultHostAddress({ lo: [entry('127.0.0.1', 'IPv4', true)] })).toBe('127.0.0.1');
  });
});
