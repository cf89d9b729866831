type Json = Record<string, unknown>;

/** What is wrong with an OpenAPI 3.1 document: version, operation identifiers, path parameters and references. */
export function findOpenApiFaults(document: unknown): string[] {
  if (!isObject(document)) return ['the document is not an object'];
  const faults: string[] = [];
  if (typeof document['openapi'] !== 'string' || !document['openapi'].startsWith('3.1.')) faults.push('openapi is not 3.1.x');
  const paths = isObject(document['paths']) ? document['paths'] : {};
  if (Object.keys(paths).length === 0) faults.push('there are no paths');
  const seen = new Set<string>();
  for (const [path, item] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(isObject(item) ? item : {})) {
      faults.push(...operationFaults(`${method.toUpperCase()} ${path}`, path, operation, seen));
    }
  }
  for (const reference of referencesIn(document)) {
    if (!resolves(document, reference)) faults.push(`${reference} refers to nothing`);
  }
  return faults;
}

function operationFaults(where: string, path: string, operation: unknown, seen: Set<string>): string[] {
  if (!isObject(operation)) return [`${where} is not an object`];
  const faults: string[] = [];
  const identifier = operation['operationId'];
  if (typeof identifier !== 'string') faults.push(`${where} has no operationId`);
  else if (seen.has(identifier)) faults.push(`${where}: the operationId ${identifier} is taken`);
  else seen.add(identifier);
  const declared = ((operation['parameters'] ?? []) as Json[]).filter((each) => each['in'] === 'path').map((each) => each['name']);
  for (const [, name] of path.matchAll(/\{([^}]+)\}/g)) {
    if (!declared.includes(name)) faults.push(`${where} does not declare the path parameter ${name}`);
  }
  if (!isObject(operation['responses']) || Object.keys(operation['responses']).length === 0) faults.push(`${where} has no responses`);
  return faults;
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function referencesIn(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(referencesIn);
  if (!isObject(value)) return [];
  return Object.entries(value).flatMap(([key, each]) => (key === '$ref' && typeof each === 'string' ? [each] : referencesIn(each)));
}

function resolves(document: Json, reference: string): boolean {
  if (!reference.startsWith('#/')) return false;
  let value: unknown = document;
  for (const part of reference.slice(2).split('/')) {
    const key = decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~');
    value = isObject(value) ? value[key] : undefined;
  }
  return value !== undefined;
}
