import { unreadable } from './go-json.ts';

/** What a request to the engine's API is about, as far as it matters here. */
export type Operation =
  | { kind: 'create' }
  /** `what` says what for, in words for people. */
  | { kind: 'start'; container: string; what: string; withBody: boolean }
  | { kind: 'exec'; container: string }
  | { kind: 'update' }
  | { kind: 'create-volume' }
  | { kind: 'remove-volume'; name: string }
  | { kind: 'service' }
  | { kind: 'refused'; reason: string }
  | { kind: 'other' };

const other: Operation = { kind: 'other' };
/** Before this version of the API a start could bring a HostConfig of its own. */
const oldestVersion = [1, 24] as const;

type Reader = (match: RegExpExecArray, query: URLSearchParams) => Operation;

/** Paths without the version; the names in them may hold slashes, as the engine's own patterns allow. The first that fits counts. */
const patterns: readonly (readonly [methods: RegExp, path: RegExp, read: Reader])[] = [
  [/^POST$/, /^\/containers\/create$/, () => ({ kind: 'create' })],
  [/^POST$/, /^\/containers\/([^\n]+)\/start$/, (match, query) => startOf(match, query)],
  [/^POST$/, /^\/containers\/([^\n]+)\/restart$/, (match) => start(match, 'restart')],
  [/^POST$/, /^\/containers\/([^\n]+)\/update$/, () => ({ kind: 'update' })],
  [/^POST$/, /^\/containers\/([^\n]+)\/exec$/, ([, container = '']) => ({ kind: 'exec', container })],
  [/^(?:GET|HEAD|PUT)$/, /^\/containers\/([^\n]+)\/archive$/, (match) => ({ ...start(match, 'copy files of'), withBody: false })],
  [/^POST$/, /^\/containers\/([^\n]+)\/copy$/, (match) => ({ ...start(match, 'copy files of'), withBody: false })],
  [/^POST$/, /^\/containers\/([^\n]+)\/checkpoints$/, () => refused('a checkpoint is restored without being judged')],
  [/^POST$/, /^\/volumes\/create$/, () => ({ kind: 'create-volume' })],
  [/^DELETE$/, /^\/volumes\/([^\n]+)$/, ([, name = '']) => ({ kind: 'remove-volume', name })],
  [/^POST$/, /^\/services\/create$/, () => ({ kind: 'service' })],
  [/^POST$/, /^\/services\/([^\n]+)\/update$/, () => ({ kind: 'service' })],
  // A plugin of the engine runs with powers of its own and is no container that could be judged.
  [/^POST$/, /^\/plugins\/(?:pull|create)$/, () => refused('plugins of the engine get powers over the host')],
  [/^POST$/, /^\/plugins\/([^\n]+)\/(?:set|upgrade|enable)$/, () => refused('plugins of the engine get powers over the host')],
  [/^POST$/, /^\/swarm\/leave$/, () => other],
  // Whoever is a manager, or reads the token that makes one, has tasks run here that no plugin of this host ever sees.
  [/^/, /^\/swarm(?:\/|$)/, () => refused('a manager of a Swarm has tasks run on this host without being judged here')],
];

/**
 * What a request is about: by the path as the engine's router sees it, that is, decoded and without its version.
 * @throws forbidden if it cannot be told
 */
export function readOperation(method: string, uri: string): Operation {
  const { path, query } = splitUri(uri);
  const [, version, rest = path] = /^\/v([0-9.]+)(\/.*)$/s.exec(path) ?? [];
  for (const [methods, pattern, read] of patterns) {
    const match = methods.test(method) ? pattern.exec(rest) : null;
    if (match === null) continue;
    const operation = read(match, query);
    if (version !== undefined && operation.kind !== 'other' && isTooOld(version)) throw unreadable(`version ${version} of the API is too old`);
    return operation;
  }
  return other;
}

/** The router decodes the path once, and sends whoever writes it in a roundabout way to the plain one: such a request is answered before it gets here. */
function splitUri(uri: string): { path: string; query: URLSearchParams } {
  const [, raw = '', search = ''] = /^(?:[a-z][a-z0-9+.-]*:\/\/[^/?]*)?([^?]*)(?:\?(.*))?$/is.exec(uri) ?? [];
  try {
    return { path: decodeURIComponent(raw), query: new URLSearchParams(search) };
  } catch {
    throw unreadable('its path is not well-formed');
  }
}

function isTooOld(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major < oldestVersion[0] || (major === oldestVersion[0] && minor < oldestVersion[1]);
}

function start([, container = '']: RegExpExecArray, what: string): Operation & { kind: 'start' } {
  return { kind: 'start', container, what, withBody: true };
}

function startOf(match: RegExpExecArray, query: URLSearchParams): Operation {
  if ([...query.keys()].some((key) => key.toLowerCase().startsWith('checkpoint'))) return refused('a checkpoint is restored without being judged');
  return start(match, 'start');
}

function refused(reason: string): Operation {
  return { kind: 'refused', reason };
}
