/** `npm test`: prepares the machine, checks, and runs every test there is. Needs root, because the tests boot hosts with disks and networks. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runChecks, staticChecks } from './check.ts';
import { projectFolder } from './project.ts';
import { describeFailures, sum, tally } from './test-tally.ts';
import type { Tally, VitestReport } from './test-tally.ts';

/** Projects of vitest.config.ts, one after the other: two that use mounts and networks would only slow each other down. */
const projects = ['unit', 'root', 'e2e'] as const;

function heading(text: string): void {
  process.stdout.write(`\n== ${text}\n`);
}

function prepareMachine(): boolean {
  heading('Preparing the machine');
  const { status, error } = spawnSync('bash', ['testbed/prepare.sh'], { cwd: projectFolder, stdio: ['ignore', 'inherit', 'inherit'] });
  if (error !== undefined) process.stderr.write(`testbed/prepare.sh did not start: ${error.message}\n`);
  return status === 0;
}

function runProject(project: string, scratch: string): Tally & { failures: string[] } {
  heading(`Tests: ${project}`);
  const file = join(scratch, `${project}.json`);
  const parameters = ['run', '--project', project, '--reporter', 'default', '--reporter', 'json', '--outputFile.json', file];
  const { status } = spawnSync('vitest', parameters, { cwd: projectFolder, stdio: ['ignore', 'inherit', 'inherit'] });
  const report = readReport(file);
  return { ...tally(report, status), failures: describeFailures(report) };
}

/** Null if vitest ended before it wrote one; it says why itself. */
function readReport(file: string): VitestReport | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as VitestReport;
  } catch {
    return null;
  }
}

async function main(): Promise<number> {
  if (process.getuid?.() !== 0) {
    process.stderr.write(
      'npm test boots hosts with their own disks and networks, so it needs root: run `sudo npm test`, or `npm run check` without it.\n',
    );
    return 1;
  }
  if (!prepareMachine()) return 1;
  heading('Checks');
  const failedChecks = await runChecks(staticChecks(), (line) => process.stdout.write(line));
  const scratch = mkdtempSync(join(tmpdir(), 'supercargo-test-'));
  try {
    const tallies = projects.map((project) => runProject(project, scratch));
    heading('Summary');
    for (const [index, project] of projects.entries()) process.stdout.write(`${project}: ${sentence(tallies[index])}\n`);
    for (const failure of tallies.flatMap(({ failures }) => failures)) process.stdout.write(`failed: ${failure}\n`);
    if (failedChecks.length > 0) process.stdout.write(`failed checks, each counted as one failure: ${failedChecks.join(', ')}\n`);
    const total = sum([...tallies, { passed: 0, failed: failedChecks.length, skipped: 0 }]);
    process.stdout.write(`${sentence(total)}\n`);
    return total.failed === 0 && total.passed > 0 ? 0 : 1;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function sentence({ passed, failed, skipped }: Tally = { passed: 0, failed: 0, skipped: 0 }): string {
  return `${passed} passed, ${failed} failed${skipped === 0 ? '' : `, ${skipped} skipped`}`;
}

process.exitCode = await main();
