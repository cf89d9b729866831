import { defineConfig } from 'vitest/config';

/** Unit and property tests run in seconds and need no root; `*.root.test.ts` use real mounts and disks; test/e2e uses whole hosts. */
export default defineConfig({
  test: {
    pool: 'forks',
    projects: [
      { test: { name: 'unit', include: ['src/**/*.test.ts', 'tools/**/*.test.ts'], exclude: ['**/*.root.test.ts'], testTimeout: 30_000 } },
      {
        test: {
          name: 'root',
          include: ['src/**/*.root.test.ts', 'testbed/**/*.root.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
      {
        // Two at a time: each waits for leases and engines most of the time.
        test: { name: 'e2e', include: ['test/e2e/**/*.test.ts'], testTimeout: 300_000, hookTimeout: 180_000, maxWorkers: 2 },
      },
    ],
  },
});
