/** House rules that no linter knows: length of files, words and paths that do not belong into the project. */
import { report } from './finding.ts';
import type { Finding } from './finding.ts';
import { listFiles, projectFolder, reader } from './project.ts';
import type { ReadText } from './project.ts';

const maximumLines = 500;

const generated = new Set(['package-lock.json', 'docs/openapi.json']);
const textFile = /(?:\.(?:ts|mjs|js|sh|md|json|jsonc|yaml|yml|toml|html|css|service|conf|txt)|(?:^|\/)[^./]+)$/;

interface Rule {
  /** Must not match itself in this file: hence the brackets around single letters. */
  pattern: RegExp;
  text: string;
  appliesTo?: (file: string) => boolean;
}

const isTestCode = (file: string): boolean => /\.(?:test|contract)\.ts$/.test(file);

const rules: readonly Rule[] = [
  { pattern: /\b(?:TOD[O]|FIXM[E]|XX[X])\b/, text: 'unfinished: do it, or open an issue' },
  { pattern: /(?<![\w.$}*-])\/(?:wor[k]|roo[t])\/|\/tm[p]\/brief/, text: 'a path of one particular machine' },
  {
    pattern: /\b(?:registr[y]\.npmjs|registry-1\.docke[r]|registry\.k8[s]|hub\.docke[r]|ghc[r]\.io|gc[r]\.io|qua[y]\.io)/,
    text: 'the host name of a registry',
  },
  {
    pattern: /\bLL[M]s?\b|\b[Cc]laud[e]\b|\b[Aa]nthropi[c]\b|\b(?:AI|A\.I\.) (?:sessio[n]|assistan[t]|helpe[r]|agen[t])/,
    text: 'says how it was written, not what it is',
  },
  {
    pattern: /\b(?:it|test|describe|suite)(?:\.\w+)*\.(?:only|skip|todo)\b/,
    text: 'a test that does not run, or keeps others from running',
    appliesTo: isTestCode,
  },
  { pattern: /node:timers\/promises|setTimeout\(\s*(?:resolve|done|r)\b/, text: 'a test waits for an event, not for a time', appliesTo: isTestCode },
];

export function checkTidy(files: readonly string[], read: ReadText): Finding[] {
  return files.filter((file) => textFile.test(file) && !generated.has(file)).flatMap((file) => checkFile(file, read(file)));
}

function checkFile(file: string, text: string): Finding[] {
  const lines = text.replace(/\n$/, '').split('\n');
  const findings: Finding[] = lines.length > maximumLines ? [{ file, text: `has ${lines.length} lines, more than ${maximumLines}: split it` }] : [];
  for (const rule of rules.filter(({ appliesTo }) => appliesTo?.(file) ?? true)) {
    for (const [index, line] of lines.entries()) {
      const match = rule.pattern.exec(line);
      if (match !== null) findings.push({ file, line: index + 1, text: `"${match[0]}": ${rule.text}` });
    }
  }
  return findings;
}

if (import.meta.main) report('tidy', checkTidy(listFiles(projectFolder), reader(projectFolder)));
