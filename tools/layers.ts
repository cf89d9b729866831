/** What a folder directly below src/ may import. */
export interface Layer {
  /** Folders below src/. */
  imports: readonly string[] | 'everything';
  /** Folders of which only types may be imported. */
  types?: readonly string[];
  /** If given, the only packages and Node modules that may be imported: the folder does no input or output. */
  modules?: readonly string[];
}

/** The one table of layers: every arrow points one way. Tests beside the code may import everything. */
export const layers: Readonly<Record<string, Layer>> = {
  model: { imports: [], modules: ['zod', 'node:crypto'] },
  planner: { imports: ['model'], modules: [] },
  ports: { imports: ['model'] },
  protocol: { imports: ['model', 'ports'] },
  stores: { imports: ['model', 'ports'] },
  system: { imports: ['model', 'ports'] },
  drivers: { imports: ['model', 'ports', 'system'] },
  pki: { imports: ['model', 'ports'] },
  guard: { imports: ['model', 'ports'] },
  nameserver: { imports: ['model', 'planner', 'ports', 'protocol', 'pki'] },
  agent: { imports: ['model', 'planner', 'ports', 'protocol', 'pki'] },
  'docker-plugin': { imports: ['model', 'protocol', 'ports'], types: ['agent'] },
  cli: { imports: ['model', 'protocol', 'ports'], types: ['agent'] },
  compose: { imports: 'everything' },
};

/** Files directly in src/: the composition root, which may import everything. */
export const rootFiles: readonly string[] = ['src/main.ts'];

/** Folders beside src/, and whether they may import it. */
export const outerFolders: Readonly<Record<string, 'src' | 'nothing of src'>> = {
  testbed: 'nothing of src',
  test: 'src',
  bench: 'src',
  tools: 'src',
};

/** Modules that only some files may load, though their types may be named anywhere. */
export const confinedModules: Readonly<Record<string, readonly string[]>> = {
  'node:child_process': ['src/system/execute.ts', 'src/cli/detach.ts'],
  execa: ['src/system/execute.ts'],
};

/** What only tests (*.test.ts), contract tests (*.contract.ts) and their folders may import. */
export const testModules: readonly string[] = ['vitest', 'fast-check'];
