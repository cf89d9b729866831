/** What is read of the report of vitest's JSON reporter. */
export interface VitestReport {
  success: boolean;
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  testResults: FileResult[];
}

interface FileResult {
  name: string;
  status: string;
  message?: string;
  assertionResults: { status: string; fullName: string; failureMessages: string[] | null }[];
}

export interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

/**
 * Counts a report. A file that could not even be loaded has no tests to fail, and an error outside every test is none of theirs, so
 * each of the two counts as one failure; so does a run without a test or without a report (null).
 */
export function tally(report: VitestReport | null, exitCode: number | null): Tally {
  if (report === null) return { passed: 0, failed: 1, skipped: 0 };
  const failed = report.numFailedTests + report.testResults.filter(isBroken).length;
  const unexplained = failed === 0 && (exitCode !== 0 || !report.success || report.numPassedTests === 0);
  return { passed: report.numPassedTests, failed: unexplained ? 1 : failed, skipped: report.numPendingTests };
}

export function sum(tallies: readonly Tally[]): Tally {
  return tallies.reduce(
    (total, each) => ({ passed: total.passed + each.passed, failed: total.failed + each.failed, skipped: total.skipped + each.skipped }),
    { passed: 0, failed: 0, skipped: 0 },
  );
}

/** One line for each failure that has a name, so that the end of a long output says what to look for further up. */
export function describeFailures(report: VitestReport | null): string[] {
  return (report?.testResults ?? []).flatMap((file) => {
    if (isBroken(file)) return [`${file.name}: ${firstLine(file.message)}`];
    const failed = file.assertionResults.filter(({ status }) => status === 'failed');
    return failed.map(({ fullName, failureMessages }) => `${file.name}: ${fullName}: ${firstLine(failureMessages?.[0])}`);
  });
}

function isBroken({ status, assertionResults }: FileResult): boolean {
  return status === 'failed' && !assertionResults.some((each) => each.status === 'failed');
}

function firstLine(message = ''): string {
  return message.split('\n', 1)[0] ?? '';
}
