/** Something a check found: where, and what to do about it. */
export interface Finding {
  /** Path relative to the project's folder. */
  file: string;
  /** Counted from 1; left out if the finding is about the whole file. */
  line?: number;
  text: string;
}

/** The findings as lines that terminals and editors turn into links. */
export function formatFindings(findings: readonly Finding[]): string {
  return findings.map(({ file, line, text }) => `${file}${line === undefined ? '' : `:${line}`}: ${text}\n`).join('');
}

/** Ends a check that was started as a program: prints the findings and sets the exit code. */
export function report(check: string, findings: readonly Finding[]): void {
  process.stdout.write(formatFindings(findings));
  process.stdout.write(findings.length === 0 ? `${check}: ok\n` : `${check}: ${findings.length} findings\n`);
  if (findings.length > 0) process.exitCode = 1;
}
