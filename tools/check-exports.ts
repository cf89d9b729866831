/** Finds values that are exported but imported nowhere. Types are not looked at: they may be part of another export's signature. */
import { dirname, join, normalize } from 'node:path';
import { report } from './finding.ts';
import type { Finding } from './finding.ts';
import { parseModule } from './module-syntax.ts';
import { isTest, listFiles, projectFolder, reader } from './project.ts';
import type { ReadText } from './project.ts';

export function checkExports(files: readonly string[], read: ReadText): Finding[] {
  const modules = files.filter((file) => file.endsWith('.ts')).map((file) => ({ file, ...parseModule(file, read(file)) }));
  const used = new Set<string>();
  for (const { file, imports } of modules) {
    for (const { specifier, names } of imports.filter((each) => each.specifier.startsWith('.'))) {
      for (const name of names) used.add(`${normalize(join(dirname(file), specifier))}#${name}`);
    }
  }
  return modules
    .filter(({ file }) => !isTest(file))
    .flatMap(({ file, exports }) =>
      exports
        .filter(({ name, typeOnly }) => !typeOnly && !used.has(`${file}#${name}`) && !used.has(`${file}#*`))
        .map(({ name, line }) => ({ file, line, text: `${name} is exported but imported nowhere` })),
    );
}

if (import.meta.main) report('exports', checkExports(listFiles(projectFolder), reader(projectFolder)));
