import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, it } from 'vitest';

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
      const namespaces = ['--mount', '--pid', '--fork', '--mount-proc', '--kill-child', '--propagation', 'private'];
      const run = [process.execPath, vitest, 'run', '--project', 'root', file];
      execFileSync('unshare', [...namespaces, ...run], { env: { ...process.env, [isolated]: '1' }, stdio: 'inherit' });
    });
  });
  describe.runIf(isInside)('isolated', tests);
}
