/** Bundles the program into one file, dist/supercargo.mjs, that needs nothing but Node 24. */
import { join } from 'node:path';
import { build } from 'esbuild';
import { projectFolder } from './project.ts';

const outfile = join(projectFolder, 'dist/supercargo.mjs');

await build({
  entryPoints: [join(projectFolder, 'src/main.ts')],
  outfile,
  bundle: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  sourcemap: 'linked',
  logLevel: 'warning',
  // Some dependencies are CommonJS and call require() for Node's own modules, which an ES module does not have.
  banner: { js: "import { createRequire as createBundleRequire } from 'node:module';\nconst require = createBundleRequire(import.meta.url);" },
});
process.stdout.write(`${outfile}\n`);
