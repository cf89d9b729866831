import type { IncomingMessage } from 'node:http';
import { SupercargoError } from '../model/errors.ts';
import { checkName } from '../model/names.ts';
import { readText } from '../protocol/streams.ts';

/** What the engine asks to have authorized holds a request and its whole answer, in base64: a list of thousands of containers, say. */
const maximumBodyBytes = { call: 1024 * 1024, authorization: 64 * 1024 * 1024 };
const maximumSessionLength = 256;

/** The members of a call's document; empty if the engine sent nothing, `null` or `{}`. */
export type CallDocument = Record<string, unknown>;

/**
 * Reads the whole body. Engines send no Content-Type, so it is not looked at.
 * @throws invalid-request if it is too long, or the client went away before its end
 */
export function readBody(request: IncomingMessage): Promise<string> {
  const kind = request.url?.startsWith('/AuthZPlugin.') === true ? 'authorization' : 'call';
  return readText(request, maximumBodyBytes[kind]);
}

/** @throws invalid-request if the text is neither empty nor `null` nor a JSON object */
export function parseDocument(text: string): CallDocument {
  if (text.trim() === '') return {};
  const value = parseJson(text);
  if (value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw new SupercargoError('invalid-request', 'The request is not a JSON object.');
  }
  return value as CallDocument;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new SupercargoError('invalid-request', 'The request is not well-formed JSON.', { cause });
  }
}

/** The volume's name. An empty one is what an engine sends when it repeats a broken call: refused. @throws invalid-request, invalid-name */
export function volumeName(document: CallDocument): string {
  return checkName('volume', stringMember(document, 'Name'));
}

/** Who will give the mount back: 64 hexadecimal digits from Docker, a constant from Podman. @throws invalid-request */
export function mountSession(document: CallDocument): string {
  const session = stringMember(document, 'ID');
  if (session === '' || session.length > maximumSessionLength) {
    throw new SupercargoError('invalid-request', `"ID" must have 1 to ${maximumSessionLength} characters.`);
  }
  return session;
}

/** The `-o` options. @throws invalid-request, invalid-option that names the option whose value is no text */
export function driverOptions(document: CallDocument): Record<string, string> {
  const options = document['Opts'] ?? {};
  if (typeof options !== 'object' || Array.isArray(options)) throw new SupercargoError('invalid-request', '"Opts" must be an object.');
  for (const [option, value] of Object.entries(options)) {
    if (typeof value !== 'string') throw new SupercargoError('invalid-option', `Option ${JSON.stringify(option)} must be a text.`);
  }
  return options as Record<string, string>;
}

function stringMember(document: CallDocument, member: string): string {
  const value = document[member] ?? '';
  if (typeof value !== 'string') throw new SupercargoError('invalid-request', `"${member}" must be a text.`);
  return value;
}
