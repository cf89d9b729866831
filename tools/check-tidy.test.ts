import { describe, expect, it } from 'vitest';
import { checkTidy } from './check-tidy.ts';

const findings = (file: string, text: string): string[] => checkTidy([file], () => text).map(({ line, text: said }) => `${line ?? 0} ${said}`);

/** Writes a forbidden text without this file containing it. */
const joined = (...parts: string[]): string => parts.join('');

describe('tidy', () => {
  it('counts the lines of a file', () => {
    expect(findings('src/agent/mount.ts', 'const a = 1;\n'.repeat(500))).toEqual([]);
    expect(findings('src/agent/mount.ts', 'const a = 1;\n'.repeat(501))).toEqual(['0 has 501 lines, more than 500: split it']);
    expect(findings('package-lock.json', '\n'.repeat(9000))).toEqual([]);
  });

  it.each([
    ['unfinished work', joined('// TO', 'DO: later')],
    ['unfinished work in a document', joined('FIX', 'ME')],
    ['a path of one machine', joined("const path = '/wo", "rk/main';")],
    ['a home folder', joined('/ro', 'ot/.npmrc')],
    ['a registry', joined('https://registry.', 'npmjs.org/')],
    ['a tool of the author', joined('written by an L', 'LM')],
  ])('refuses %s', (_, text) => {
    expect(findings('docs/notes.md', `first line\n${text}\n`)).toHaveLength(1);
    expect(findings('docs/notes.md', `first line\n${text}\n`)[0]).toMatch(/^2 /);
  });

  it.each([
    ['a test that is skipped', joined('it.sk', "ip('a', () => {});")],
    ['a test that runs alone', joined('describe.on', "ly('a', () => {});")],
    ['a skipped table of tests', joined('it.each([1]).sk', "ip('a', () => {});").replace('.each([1])', '.concurrent')],
    ['a wait for a time', joined('await new Promise((resolve) => setTime', 'out(resolve, 100));')],
    ['an imported wait', joined("import { setTimeout } from 'node:timers/", "promises';")],
  ])('refuses in a test %s', (_, text) => {
    expect(findings('src/agent/mount.test.ts', text)).toHaveLength(1);
    expect(findings('src/agent/mount.ts', text)).toEqual([]);
  });

  it('accepts what only resembles these', () => {
    expect(findings('docs/notes.md', 'upper/work/dir, rootfs/root/x, ${base}/work/x, docker.io, aside')).toEqual([]);
  });

  it('does not look into what is not text', () => {
    expect(findings('docs/picture.png', joined('TO', 'DO'))).toEqual([]);
  });
});
