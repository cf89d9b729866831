import { expect, it } from 'vitest';
import { checkExports } from './check-exports.ts';

function findings(files: Record<string, string>): string[] {
  return checkExports(Object.keys(files), (path) => files[path] ?? '').map(({ file, line, text }) => `${file}:${line} ${text}`);
}

const library = `export const { used, renamed: unused } = make();\nexport function alsoUnused() {}\nexport interface Shape {}`;

it('finds values that nothing imports', () => {
  expect(findings({ 'src/a/library.ts': library, 'src/b/user.ts': `import { used } from '../a/library.ts';` })).toEqual([
    'src/a/library.ts:1 unused is exported but imported nowhere',
    'src/a/library.ts:2 alsoUnused is exported but imported nowhere',
  ]);
});

it.each([`import * as library from './library.ts';`, `const library = await import('./library.ts');`, `export * from './library.ts';`])(
  'takes everything as used after %s',
  (source) => {
    expect(findings({ 'src/a/library.ts': library, 'src/a/user.ts': source })).toEqual([]);
  },
);

it('counts a re-export under its own name', () => {
  const source = `export { used as shown } from './library.ts';`;
  expect(findings({ 'src/a/library.ts': 'export const used = 1;', 'src/a/index.ts': source })).toEqual([
    'src/a/index.ts:1 shown is exported but imported nowhere',
  ]);
});

it('names the file that cannot be parsed', () => {
  expect(() => findings({ 'src/a/broken.ts': 'export const = 1;' })).toThrow('src/a/broken.ts cannot be parsed');
});
