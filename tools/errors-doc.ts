/** Writes docs/errors.md from the catalogue of errors; with --check only compares. */
import { errorCatalogue } from '../src/model/errors.ts';
import { generateOrCheck } from './generated-file.ts';
import type { GeneratedFile } from './generated-file.ts';

export const errorsDocument: GeneratedFile = { path: 'docs/errors.md', script: 'docs', generate: renderErrors };

function renderErrors(): string {
  const rows = Object.entries(errorCatalogue).map(([code, { status, summary }]) => [`\`${code}\``, String(status), summary] as const);
  const widths = [0, 1, 2].map((column) =>
    Math.max(...[['Code', 'HTTP status', 'Meaning'] as const, ...rows].map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string => `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  return `# Errors

Every error carries a stable code, what happened to what, and a hint what to do next. HTTP answers carry them as
\`application/problem+json\`; the command line prints them, and with \`--json\` prints the code. A code never changes its meaning.

Made from \`src/model/errors.ts\` by \`npm run docs\`.

${line(['Code', 'HTTP status', 'Meaning'])}
${line(widths.map((width) => '-'.repeat(width)))}
${rows.map(line).join('\n')}
`;
}

if (import.meta.main) await generateOrCheck(errorsDocument);
