import { expect, it } from 'vitest';
import { sum, tally } from './test-tally.ts';
import type { VitestReport } from './test-tally.ts';

const report = (changes: Partial<VitestReport>): VitestReport => ({
  success: true,
  numPassedTests: 3,
  numFailedTests: 0,
  numPendingTests: 0,
  testResults: [{ status: 'passed', assertionResults: [{ status: 'passed' }] }],
  ...changes,
});

it('counts what the report counts', () => {
  expect(tally(report({ numPendingTests: 1 }), 0)).toEqual({ passed: 3, failed: 0, skipped: 1 });
  const testResults = [{ status: 'failed', assertionResults: [{ status: 'failed' }, { status: 'failed' }] }];
  expect(tally(report({ success: false, numFailedTests: 2, testResults }), 1)).toEqual({ passed: 3, failed: 2, skipped: 0 });
});

it.each([
  ['a file that could not be loaded', report({ success: false, testResults: [{ status: 'failed', assertionResults: [] }] }), 1],
  ['an error outside every test', report({}), 1],
  ['a run that was killed', report({}), null],
  ['a run without a test', report({ numPassedTests: 0, testResults: [] }), 0],
  ['a run without a report', null, 1],
])('counts %s as one failure', (_, each, exitCode) => {
  expect(tally(each, exitCode).failed).toBe(1);
});

it('adds up', () => {
  expect(sum([tally(report({}), 0), tally(null, 1)])).toEqual({ passed: 3, failed: 1, skipped: 0 });
});
