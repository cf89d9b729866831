import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'vitest';
import { describeFailures } from '../../tools/test-tally.ts';
import type { VitestReport } from '../../tools/test-tally.ts';

const isolated = 'SUPERCARGO_TEST_ISOLATED';

/**
 * Tests that run again in mount and process namespaces of their own: whoever looks at all processes sees only theirs, and whatever they leave ends with them.
 * @param file of the tests: `import.meta.filename`
 */
export function describeIsolated(file: string, tests: () => void): void {
  const isInside = process.env[isolated] !== undefined;
  describe.runIf(!isInside)('in a namespace', () => {
    it('passes with mounts and processes of its own', { timeout: 600_000 }, () => {
      const vitest = join(import.meta.dirname, '../../node_modules/vitest/vitest.mjs');
      const scratch = mkdtempSync(join(tmpdir(), 'supercargo-isolated-'));
      const report = join(scratch, 'report.json');
      const namespaces = ['--mount', '--pid', '--fork', '--mount-proc', '--kill-child', '--propagation', 'private'];
      const run = [process.execPath, vitest, 'run', '--project', 'root', file, '--reporter', 'default', '--reporter', 'json', '--outputFile', report];
      try {
        const { status } = spawnSync('unshare', [...namespaces, ...run], { env: { ...process.env, [isolated]: '1' }, stdio: 'inherit' });
        if (status !== 0) throw new Error(failures(report).join('; '));
      } finally {
        rmSync(scratch, { recursive: true });
      }
    });
  });
  describe.runIf(isInside)('isolated', tests);
}

function failures(report: string): string[] {
  if (!existsSync(report)) return ['The tests inside ended without a report.'];
  return describeFailures(JSON.parse(readFileSync(report, 'utf8')) as VitestReport);
}
