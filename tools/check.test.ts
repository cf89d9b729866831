import { expect, it } from 'vitest';
import { findingsCheck, programCheck, runChecks } from './check.ts';

async function run(...checks: Parameters<typeof runChecks>[0]): Promise<{ failed: string[]; printed: string }> {
  const lines: string[] = [];
  const failed = await runChecks(checks, (line) => lines.push(line));
  return { failed, printed: lines.join('') };
}

it('says in a line that a check passed', async () => {
  const { failed, printed } = await run(
    findingsCheck('layers', () => []),
    programCheck('lint', 'true'),
  );
  expect(failed).toEqual([]);
  expect(printed).toMatch(/^ok {6}layers .*\nok {6}lint .*\n$/);
});

it('prints what a check found', async () => {
  const { failed, printed } = await run(findingsCheck('layers', () => [{ file: 'src/a.ts', line: 7, text: 'is wrong' }]));
  expect(failed).toEqual(['layers']);
  expect(printed).toContain('        src/a.ts:7: is wrong\n');
});

it.each([
  ['that exits with an error', programCheck('lint', 'sh', '-c', 'echo found; echo said >&2; exit 3'), /found\n +said\n +sh ended with 3\n/],
  ['that is killed', programCheck('lint', 'sh', '-c', 'kill -9 $$'), /sh ended with SIGKILL/],
  ['that is not there', programCheck('lint', 'supercargo-no-such-program'), /did not start/],
  ['that throws', findingsCheck('lint', () => Promise.reject(new Error('broken'))), /Error: broken/],
])('fails for a check %s', async (_, check, output) => {
  const { failed, printed } = await run(
    check,
    findingsCheck('other', () => []),
  );
  expect(failed).toEqual(['lint']);
  expect(printed).toMatch(output);
  expect(printed).toContain('ok      other');
});
