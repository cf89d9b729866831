/** Writes docs/openapi.json from the name server's route table; with --check only compares. */
import { createServer as createHttpServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { routes } from '../src/protocol/routes.ts';
import { createServer } from '../src/protocol/server.ts';
import type { Handlers } from '../src/protocol/server.ts';
import { generateOrCheck } from './generated-file.ts';
import type { GeneratedFile } from './generated-file.ts';
import { findOpenApiFaults } from './openapi-faults.ts';
import { projectFolder } from './project.ts';

export const openApiDocument: GeneratedFile = { path: 'docs/openapi.json', script: 'docs', generate: renderOpenApi };

async function renderOpenApi(): Promise<string> {
  const { version } = JSON.parse(readFileSync(join(projectFolder, 'package.json'), 'utf8')) as { version: string };
  const neverCalled = (): never => {
    throw new Error('only the document is made here');
  };
  const server = await createServer({
    routes,
    handlers: Object.fromEntries(Object.keys(routes).map((name) => [name, neverCalled])) as unknown as Handlers<typeof routes>,
    identify: neverCalled,
    serverFactory: (handler) => createHttpServer(handler),
    version,
  });
  try {
    const document: unknown = server.swagger();
    const faults = findOpenApiFaults(document);
    if (faults.length > 0) throw new Error(`the OpenAPI document is not sound:\n${faults.join('\n')}`);
    return `${JSON.stringify(document, null, 2)}\n`;
  } finally {
    await server.close();
  }
}

if (import.meta.main) await generateOrCheck(openApiDocument);
