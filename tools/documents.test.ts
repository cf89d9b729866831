import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { errorCatalogue } from '../src/model/errors.ts';
import { errorsDocument } from './errors-doc.ts';
import { checkGenerated } from './generated-file.ts';
import { findOpenApiFaults } from './openapi-faults.ts';
import { projectFolder } from './project.ts';

describe('generated documents', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'supercargo-documents-'));
    mkdirSync(join(folder, 'docs'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('are held against the source', async () => {
    const path = join(folder, errorsDocument.path);
    expect(await checkGenerated(errorsDocument, folder)).toEqual([{ file: 'docs/errors.md', text: 'is missing; run `npm run docs`' }]);
    writeFileSync(path, await errorsDocument.generate());
    expect(await checkGenerated(errorsDocument, folder)).toEqual([]);
    writeFileSync(path, 'edited by hand');
    expect(await checkGenerated(errorsDocument, folder)).toHaveLength(1);
  });

  it('list every error with its status', async () => {
    const rows = (await errorsDocument.generate()).split('\n').map((line) => line.split('|').map((cell) => cell.trim()));
    for (const [code, { status, summary }] of Object.entries(errorCatalogue)) {
      expect(rows).toContainEqual(['', `\`${code}\``, String(status), summary, '']);
    }
  });
});

describe('OpenAPI faults', () => {
  const operation = {
    operationId: 'getVolume',
    parameters: [{ in: 'path', name: 'volume' }],
    responses: { 200: { $ref: '#/components/schemas/a~1b' } },
  };
  const sound = { openapi: '3.1.0', paths: { '/v1/volumes/{volume}': { get: operation } }, components: { schemas: { 'a/b': {} } } };

  it('finds none in a sound document', () => {
    expect(findOpenApiFaults(sound)).toEqual([]);
  });

  it.each([
    ['another version', { ...sound, openapi: '3.0.3' }, 'openapi is not 3.1.x'],
    ['no paths', { ...sound, paths: {} }, 'there are no paths'],
    ['a broken reference', { ...sound, components: {} }, '#/components/schemas/a~1b refers to nothing'],
    ['a foreign reference', { ...sound, extra: { $ref: 'other.json' } }, 'other.json refers to nothing'],
    [
      'an operation identifier used twice',
      { ...sound, paths: { ...sound.paths, '/v1/other': { get: operation } } },
      'GET /v1/other: the operationId getVolume is taken',
    ],
    [
      'an undeclared path parameter',
      { ...sound, paths: { '/v1/{host}': { get: operation } } },
      'GET /v1/{host} does not declare the path parameter host',
    ],
    ['a missing answer', { ...sound, paths: { '/v1': { get: { operationId: 'x' } } } }, 'GET /v1 has no responses'],
  ])('finds %s', (_, document, fault) => {
    expect(findOpenApiFaults(document)).toContain(fault);
  });
});

describe.each(['docs/mutations.md', 'THREAT_MODEL.md'])('the tests that %s names', (document) => {
  const text = readFileSync(join(projectFolder, document), 'utf8');
  const tests = [...text.matchAll(/`((?:test|src)\/\S+\.test\.ts)`: "(.+?)"/g)].map(([, file = '', title = '']) => ({ file, title }));

  it('are some', () => {
    expect(tests.length).toBeGreaterThan(0);
  });

  it.each(tests)('are there: $file, "$title"', ({ file, title }) => {
    expect(readFileSync(join(projectFolder, file), 'utf8')).toContain(title);
  });
});
