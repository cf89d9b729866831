import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Finding } from './finding.ts';
import { report } from './finding.ts';
import { projectFolder } from './project.ts';

/** A file under docs/ that is made from the source, and held against it. */
export interface GeneratedFile {
  path: string;
  /** The npm script that writes it. */
  script: string;
  generate: () => string | Promise<string>;
}

/** Finds out whether the file on disk is what the source says now. */
export async function checkGenerated(file: GeneratedFile, folder = projectFolder): Promise<Finding[]> {
  const wanted = await file.generate();
  let present: string;
  try {
    present = readFileSync(join(folder, file.path), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return [{ file: file.path, text: `is missing; run \`npm run ${file.script}\`` }];
  }
  return present === wanted ? [] : [{ file: file.path, text: `is not what the source says; run \`npm run ${file.script}\`` }];
}

/** The program: writes the file, or with `--check` only looks. */
export async function generateOrCheck(file: GeneratedFile): Promise<void> {
  if (process.argv.includes('--check')) return report(file.path, await checkGenerated(file));
  writeFileSync(join(projectFolder, file.path), await file.generate());
}
