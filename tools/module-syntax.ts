import { parseAst } from 'vitest/node';

/** One import of a module, in whatever syntax. */
export interface ModuleImport {
  specifier: string;
  line: number;
  /** Nothing of it is left when the types are stripped. */
  typeOnly: boolean;
  /** The imported names; '*' for all of them (namespace, dynamic and re-exporting imports). */
  names: string[];
}

export interface ModuleExport {
  name: string;
  line: number;
  /** An interface or type alias. */
  typeOnly: boolean;
}

export interface ModuleSyntax {
  imports: ModuleImport[];
  exports: ModuleExport[];
}

/** A node of the syntax tree (ESTree with TypeScript), of which only what is read here is typed. */
interface SyntaxNode {
  type: string;
  start: number;
  [key: string]: unknown;
}

/** Reads imports and exports from the TypeScript source of the file. @throws Error, naming the file, if it is not TypeScript */
export function parseModule(file: string, source: string): ModuleSyntax {
  const program = parse(file, source);
  const lineStarts = [...source.matchAll(/\n/g)].map((match) => match.index);
  const lineOf = (node: SyntaxNode): number => lineStarts.filter((start) => start < node.start).length + 1;
  const syntax: ModuleSyntax = { imports: [], exports: [] };
  visit(program, (node) => {
    const found = readImport(node);
    if (found !== null) syntax.imports.push({ ...found, line: lineOf(node) });
    for (const each of readExports(node)) syntax.exports.push({ ...each, line: lineOf(node) });
  });
  return syntax;
}

function parse(file: string, source: string): SyntaxNode {
  try {
    // The successor, parseSync, is not among what vitest hands on, and the parser it comes from is no dependency of this project.
    // oxlint-disable-next-line typescript/no-deprecated
    return parseAst(source, { lang: 'ts', astType: 'ts' }) as unknown as SyntaxNode;
  } catch (error) {
    throw new Error(`${file} cannot be parsed: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

function visit(value: unknown, see: (node: SyntaxNode) => void): void {
  if (Array.isArray(value)) {
    for (const each of value) visit(each, see);
  } else if (isNode(value)) {
    see(value);
    for (const each of Object.values(value)) visit(each, see);
  }
}

function isNode(value: unknown): value is SyntaxNode {
  return typeof value === 'object' && value !== null && typeof (value as SyntaxNode).type === 'string';
}

function readImport(node: SyntaxNode): Omit<ModuleImport, 'line'> | null {
  const source = textOf(node['source']);
  switch (node.type) {
    case 'ImportDeclaration':
    case 'ExportNamedDeclaration': {
      if (source === null) return null;
      const specifiers = node['specifiers'] as SyntaxNode[];
      const typeOnly = (each: SyntaxNode): boolean => (each['importKind'] ?? each['exportKind']) === 'type';
      return {
        specifier: source,
        typeOnly: typeOnly(node) || (specifiers.length > 0 && specifiers.every(typeOnly)),
        names: specifiers.map(importedName),
      };
    }
    case 'ExportAllDeclaration':
      return source === null ? null : { specifier: source, typeOnly: node['exportKind'] === 'type', names: ['*'] };
    case 'ImportExpression':
      return source === null ? null : { specifier: source, typeOnly: false, names: ['*'] };
    case 'TSImportType':
      return source === null ? null : { specifier: source, typeOnly: true, names: ['*'] };
    default:
      return null;
  }
}

/** The text of a string literal or of a template without holes. */
function textOf(node: unknown): string | null {
  if (!isNode(node)) return null;
  if (node.type === 'TSLiteralType') return textOf(node['literal']);
  if (node.type === 'Literal') return typeof node['value'] === 'string' ? node['value'] : null;
  if (node.type !== 'TemplateLiteral') return null;
  const [only, ...others] = node['quasis'] as { value: { cooked: string } }[];
  return only === undefined || others.length > 0 ? null : only.value.cooked;
}

function importedName(specifier: SyntaxNode): string {
  if (specifier.type === 'ImportNamespaceSpecifier') return '*';
  if (specifier.type === 'ImportDefaultSpecifier') return 'default';
  return nameOf(specifier.type === 'ExportSpecifier' ? specifier['local'] : specifier['imported']);
}

function nameOf(node: unknown): string {
  return isNode(node) ? String(node['name'] ?? node['value']) : '';
}

function readExports(node: SyntaxNode): Omit<ModuleExport, 'line'>[] {
  if (node.type !== 'ExportNamedDeclaration') return [];
  const typeOnly = node['exportKind'] === 'type';
  const declaration = node['declaration'];
  if (!isNode(declaration)) return (node['specifiers'] as SyntaxNode[]).map((each) => ({ name: nameOf(each['exported']), typeOnly }));
  if (declaration.type !== 'VariableDeclaration') {
    return [{ name: nameOf(declaration['id']), typeOnly: declaration.type.startsWith('TS') }];
  }
  return (declaration['declarations'] as SyntaxNode[]).flatMap((each) => boundNames(each['id'])).map((name) => ({ name, typeOnly: false }));
}

/** The variables that a pattern binds: `a`, `{ a, b: c }`, `[a]`. */
function boundNames(pattern: unknown): string[] {
  if (!isNode(pattern)) return [];
  if (pattern.type === 'Identifier') return [nameOf(pattern)];
  const parts = (pattern['properties'] ?? pattern['elements'] ?? [pattern['left'] ?? pattern['argument']]) as (SyntaxNode | null)[];
  return parts.flatMap((part) => boundNames(part?.type === 'Property' ? part['value'] : part));
}
