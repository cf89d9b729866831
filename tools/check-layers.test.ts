import { describe, expect, it } from 'vitest';
import { checkLayers } from './check-layers.ts';
import { layers } from './layers.ts';

/** The texts of the findings about a project that consists of these files. */
function findings(files: Record<string, string>): string[] {
  return checkLayers(Object.keys(files), (path) => files[path] ?? '').map(({ file, line, text }) => `${file}:${line ?? 0} ${text}`);
}

/** The findings about one source file in an otherwise proper folder. */
function findingsOf(file: string, source: string): string[] {
  return findings({ [file]: source }).filter((each) => !each.includes('README.md'));
}

describe('layers', () => {
  it.each([
    ['a static import', `import { act } from '../agent/mount.ts';`],
    ['a type import', `import type { Act } from '../agent/mount.ts';`],
    ['an import for its effect', `import '../agent/mount.ts';`],
    ['a re-export', `export { act } from '../agent/mount.ts';`],
    ['a re-export of everything', `export * from '../agent/mount.ts';`],
    ['a dynamic import', 'const load = () => import(`../agent/mount.ts`);'],
    ['a type query', `type Act = import('../agent/mount.ts').Act;`],
  ])('refuses %s against the arrows', (_, source) => {
    expect(findingsOf('src/planner/plan.ts', `\n${source}`)).toEqual([
      'src/planner/plan.ts:2 src/planner may not import src/agent; it may import: model',
    ]);
  });

  it('accepts what the table allows, and text that only looks like an import', () => {
    expect(
      findingsOf(
        'src/planner/plan.ts',
        `import { volume } from '../model/volume.ts';\nimport { other } from './other.ts';\n// import '../agent/mount.ts'\nconst text = "import '../agent/mount.ts'";`,
      ),
    ).toEqual([]);
  });

  it('lets the command line have types of the agent, but no values', () => {
    expect(findingsOf('src/cli/show.ts', `import type { Status } from '../agent/status.ts';`)).toEqual([]);
    expect(findingsOf('src/cli/show.ts', `import { type Status, read } from '../agent/status.ts';`)).toHaveLength(1);
  });

  it('keeps the pure folders from input and output', () => {
    expect(findingsOf('src/model/name.ts', `import { randomBytes } from 'node:crypto';`)).toEqual([]);
    expect(findingsOf('src/model/name.ts', `import { readFile } from 'node:fs/promises';`)).toHaveLength(1);
    expect(findingsOf('src/planner/plan.ts', `import { z } from 'zod';`)).toHaveLength(1);
  });

  it('keeps programs from being run elsewhere', () => {
    const source = `import { spawn } from 'node:child_process';`;
    expect(findingsOf('src/agent/run.ts', source)).toEqual([
      'src/agent/run.ts:1 only src/system/execute.ts and src/cli/detach.ts may load node:child_process',
    ]);
    expect(findingsOf('src/agent/run.ts', `import { spawn } from 'child_process';`)).toEqual(['src/agent/run.ts:1 write node:child_process']);
    expect(findingsOf('src/agent/run.ts', `import { execa } from 'execa';`)).toHaveLength(1);
    expect(findingsOf('src/agent/run.ts', `import type { ChildProcess } from 'node:child_process';`)).toEqual([]);
    expect(findingsOf('src/system/execute.ts', source)).toEqual([]);
    expect(findingsOf('testbed/process.ts', source)).toEqual([]);
  });

  it('keeps test tools in tests', () => {
    expect(findingsOf('src/ports/store.ts', `import { it } from 'vitest';`)).toEqual(['src/ports/store.ts:1 vitest is for tests']);
    expect(findingsOf('src/ports/store.contract.ts', `import { it } from 'vitest';`)).toEqual([]);
    expect(findingsOf('src/ports/store.test.ts', `import { it } from 'vitest';\nimport '../agent/mount.ts';`)).toEqual([]);
  });

  it('keeps the testbed and the sources apart', () => {
    expect(findingsOf('testbed/lab.ts', `import '../src/model/name.ts';`)).toHaveLength(1);
    expect(findingsOf('src/agent/mount.ts', `import '../../testbed/lab.ts';`)).toHaveLength(1);
    expect(findingsOf('test/e2e/move.ts', `import '../../src/model/name.ts';\nimport '../../testbed/lab.ts';`)).toEqual([]);
  });

  it('refuses folders and files that the table does not know', () => {
    expect(findingsOf('src/helpers/thing.ts', '')).toHaveLength(1);
    expect(findingsOf('src/thing.ts', '')).toHaveLength(1);
    expect(findingsOf('src/main.ts', `import './agent/mount.ts';`)).toEqual([]);
    expect(findingsOf('src/agent/mount.ts', `import '../main.ts';`)).toHaveLength(1);
  });

  it('holds the README of a folder against the table', () => {
    const source = { 'src/pki/authority.ts': '' };
    expect(findings(source)).toEqual(['src/pki/README.md:0 is missing; it says what the folder is for, and "May import: model, ports."']);
    expect(findings({ ...source, 'src/pki/README.md': '# pki\n\nMay import: model, ports.\n' })).toEqual([]);
    expect(findings({ ...source, 'src/pki/README.md': '# pki\n\nMay import: model, ports, agent.\n' })).toHaveLength(1);
  });

  it('has a table in which every arrow points one way', () => {
    const reaches = (from: string, seen: readonly string[]): void => {
      expect(seen, `a cycle through ${from}`).not.toContain(from);
      const layer = layers[from];
      expect(layer, `${from} is in the table`).toBeDefined();
      if (layer === undefined || layer.imports === 'everything') return;
      for (const to of [...layer.imports, ...(layer.types ?? [])]) reaches(to, [...seen, from]);
    };
    for (const folder of Object.keys(layers)) reaches(folder, []);
  });
});
