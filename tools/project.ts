import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The folder of this project. */
export const projectFolder = dirname(import.meta.dirname);

const notOurs = new Set(['node_modules', 'dist', 'coverage', '.git', '.lab']);

/** All files below the folder that people write, as sorted paths relative to it. */
export function listFiles(folder: string, below = ''): string[] {
  const entries = readdirSync(join(folder, below), { withFileTypes: true });
  const paths = entries.flatMap((entry) => {
    if (notOurs.has(entry.name) || entry.isSymbolicLink()) return [];
    const path = join(below, entry.name);
    if (entry.isDirectory()) return listFiles(folder, path);
    return entry.isFile() ? [path] : [];
  });
  return paths.toSorted();
}

export type ReadText = (path: string) => string;

/** Reads files of the folder by relative path. */
export function reader(folder: string): ReadText {
  return (path) => readFileSync(join(folder, path), 'utf8');
}

/** A test, or something only tests use: these may reach across layers. */
export function isTest(path: string): boolean {
  return path.endsWith('.test.ts');
}
