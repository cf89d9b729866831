/** Holds the table of layers (layers.ts) against every import, and every folder's README.md against the table. */
import { isBuiltin } from 'node:module';
import { dirname, normalize, join } from 'node:path';
import { report } from './finding.ts';
import type { Finding } from './finding.ts';
import { confinedModules, layers, outerFolders, rootFiles, testModules } from './layers.ts';
import type { Layer } from './layers.ts';
import { parseModule } from './module-syntax.ts';
import type { ModuleImport } from './module-syntax.ts';
import { isTest, listFiles, projectFolder, reader } from './project.ts';
import type { ReadText } from './project.ts';

export function checkLayers(files: readonly string[], read: ReadText): Finding[] {
  const sources = files.filter((file) => file.endsWith('.ts') && (file.startsWith('src/') || topFolder(file) in outerFolders));
  return [...sources.flatMap((file) => checkSource(file, read(file))), ...checkReadmes(files, read)];
}

function topFolder(path: string): string {
  return path.split('/')[0] ?? '';
}

/** The folder directly below src/ that the file is in; null for files elsewhere and directly in src/. */
function layerOf(path: string): string | null {
  const [top, folder, ...rest] = path.split('/');
  return top === 'src' && folder !== undefined && rest.length > 0 ? folder : null;
}

function checkSource(file: string, source: string): Finding[] {
  const folder = layerOf(file);
  if (topFolder(file) === 'src' && folder === null && !rootFiles.includes(file) && !isTest(file)) {
    return [{ file, text: 'only the composition root lies directly in src/; put it in the folder of its layer' }];
  }
  if (folder !== null && !(folder in layers)) return [{ file, text: `src/${folder} is not in the table of layers (tools/layers.ts)` }];
  return parseModule(file, source).imports.flatMap((each) => {
    const text = each.specifier.startsWith('.') ? judgeFile(file, each) : judgeModule(file, each);
    return text === null ? [] : [{ file, line: each.line, text }];
  });
}

/** Why the file may not import that file of the project, or null if it may. */
function judgeFile(file: string, imported: ModuleImport): string | null {
  const target = normalize(join(dirname(file), imported.specifier));
  if (target.startsWith('..')) return `${imported.specifier} lies outside the project`;
  if (isTest(file)) return null;
  const from = topFolder(file);
  if (from !== 'src') {
    return outerFolders[from] === 'nothing of src' && topFolder(target) === 'src'
      ? `${from}/ may import nothing of src/, but imports ${target}`
      : null;
  }
  if (topFolder(target) !== 'src') return `src/ may import nothing beside it, but this imports ${target}`;
  return judgeLayer(layerOf(file), layerOf(target), imported.typeOnly);
}

function judgeLayer(from: string | null, to: string | null, typeOnly: boolean): string | null {
  const layer = from === null ? undefined : layers[from];
  if (layer === undefined || from === to || layer.imports === 'everything') return null;
  if (to === null) return `src/${from} may not import the composition root`;
  if (layer.imports.includes(to)) return null;
  if (layer.types?.includes(to) === true) return typeOnly ? null : `src/${from} may import only types from src/${to}; use \`import type\``;
  return `src/${from} may not import src/${to}; it may import: ${allowedText(layer)}`;
}

/** Why the file may not import that package or Node module, or null if it may. */
function judgeModule(file: string, { specifier, typeOnly }: ModuleImport): string | null {
  const [first = '', second = ''] = specifier.split('/');
  if (isBuiltin(specifier) && !specifier.startsWith('node:')) return `write node:${specifier}`;
  if (topFolder(file) !== 'src' || isTest(file)) return null;
  const module = specifier.startsWith('@') ? `${first}/${second}` : first;
  const isContract = file.endsWith('.contract.ts');
  if (testModules.includes(module)) return isContract ? null : `${module} is for tests`;
  const homes = confinedModules[module];
  if (homes !== undefined && !typeOnly && !isContract && !homes.includes(file)) return `only ${homes.join(' and ')} may load ${module}`;
  const folder = layerOf(file);
  const allowed = folder === null ? undefined : layers[folder]?.modules;
  if (allowed === undefined || allowed.includes(module)) return null;
  return `src/${folder} does no input or output and may import ${allowed.length === 0 ? 'no module' : `only ${allowed.join(' and ')}`}, not ${module}`;
}

/** The list as a README.md has to have it after "May import: ". */
function allowedText(layer: Layer): string {
  if (layer.imports === 'everything') return 'everything';
  const parts = [...layer.imports, ...(layer.types ?? []).map((name) => `${name} (types only)`)];
  return parts.length === 0 ? 'nothing' : parts.join(', ');
}

function checkReadmes(files: readonly string[], read: ReadText): Finding[] {
  const present = new Set(files.map(layerOf).filter((folder) => folder !== null));
  return [...present].flatMap((folder) => {
    const layer = layers[folder];
    if (layer === undefined) return [];
    const file = `src/${folder}/README.md`;
    const line = `May import: ${allowedText(layer)}.`;
    if (!files.includes(file)) return [{ file, text: `is missing; it says what the folder is for, and "${line}"` }];
    return read(file).split('\n').includes(line) ? [] : [{ file, text: `does not have the line "${line}" (tools/layers.ts)` }];
  });
}

if (import.meta.main) report('layers', checkLayers(listFiles(projectFolder), reader(projectFolder)));
