import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { projectFolder } from './project.ts';

/** One fault per rule that this project leans on; the linter's configuration is right if it finds each of them. */
const faults: Record<string, string> = {
  'no-floating-promises': `export async function start(): Promise<void> {}\nstart();\n`,
  'no-misused-promises': `const ready = async (): Promise<boolean> => true;\nexport const state = ready() ? 1 : 2;\n`,
  'await-thenable': 'export const value: number = await 1;\n',
  'no-explicit-any': 'export const value: any = 1;\n',
  'switch-exhaustiveness-check': `export function name(kind: 'a' | 'b'): void {\n  switch (kind) {\n    case 'a':\n      return;\n  }\n}\n`,
  'only-throw-error': `export function fail(): never {\n  throw 'text';\n}\n`,
  'max-lines-per-function': `export function long(): void {\n${'  void 0;\n'.repeat(71)}}\n`,
};

let folder: string;
let output: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'supercargo-lint-'));
  for (const file of ['.oxlintrc.json', 'tsconfig.json']) copyFileSync(join(projectFolder, file), join(folder, file));
  symlinkSync(join(projectFolder, 'node_modules'), join(folder, 'node_modules'));
  mkdirSync(join(folder, 'src'));
  for (const [rule, source] of Object.entries(faults)) writeFileSync(join(folder, 'src', `${rule}.ts`), source);
  output = spawnSync('oxlint', ['--format', 'unix'], { cwd: folder, encoding: 'utf8' }).stdout;
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it.each(Object.keys(faults))('finds %s', (rule) => {
  expect(output).toMatch(new RegExp(`${rule}\\.ts:\\d+:\\d+: .*\\(${rule}\\)\\]`));
});
