import { expect, it } from 'vitest';
import { describeFailures, sum, tally } from './test-tally.ts';
import type { VitestReport } from './test-tally.ts';

const report = (changes: Partial<VitestReport>): VitestReport => ({
  success: true,
  numPassedTests: 3,
  numFailedTests: 0,
  numPendingTests: 0,
  testResults: [{ name: 'good', status: 'passed', assertionResults: [result('passed', [])] }],
  ...changes,
});

const result = (status: string, failureMessages: string[]) => ({ status, fullName: 'does what it should', failureMessages });

it('counts what the report counts', () => {
  expect(tally(report({ numPendingTests: 1 }), 0)).toEqual({ passed: 3, failed: 0, skipped: 1 });
  const testResults = [{ name: 'bad', status: 'failed', assertionResults: [result('failed', ['']), result('failed', [''])] }];
  expect(tally(report({ success: false, numFailedTests: 2, testResults }), 1)).toEqual({ passed: 3, failed: 2, skipped: 0 });
});

it.each([
  ['a file that could not be loaded', report({ success: false, testResults: [{ name: 'broken', status: 'failed', assertionResults: [] }] }), 1],
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

it('names what failed, and the beginning of what it said', () => {
  const testResults = [
    { name: 'good', status: 'passed', assertionResults: [result('passed', [])] },
    { name: 'bad', status: 'failed', assertionResults: [result('passed', []), result('failed', ['Error: no disk\n  at line 1', 'other'])] },
    { name: 'broken', status: 'failed', message: 'no such module\nrequired by', assertionResults: [] },
  ];
  expect(describeFailures(report({ testResults }))).toEqual(['bad: does what it should: Error: no disk', 'broken: no such module']);
  expect(describeFailures(null)).toEqual([]);
});
