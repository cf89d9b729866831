/**
 * The one catalogue of errors. A code is stable for ever: programs match on it, the documentation lists it
 * (docs/errors.md, held by a test), and HTTP answers carry it in problem+json.
 */
export const errorCatalogue = {
  'invalid-request': { status: 400, summary: 'The request is not well-formed.' },
  'invalid-name': { status: 400, summary: 'A name has characters or a length that are not allowed.' },
  'invalid-option': { status: 400, summary: 'An option is unknown or its value is malformed.' },
  unauthenticated: { status: 401, summary: 'The caller did not prove who it is.' },
  'invalid-token': { status: 401, summary: 'The join token is wrong, used or expired.' },
  forbidden: { status: 403, summary: 'The caller may not do this.' },
  'not-found': { status: 404, summary: 'There is no such object.' },
  'already-exists': { status: 409, summary: 'The name is taken by an object with other parameters.' },
  'volume-in-use': { status: 409, summary: 'Something still uses the volume.' },
  'move-in-progress': { status: 409, summary: 'The volume is being moved.' },
  'move-failed': { status: 409, summary: 'A move ended without reaching its destination.' },
  'stale-epoch': { status: 409, summary: 'The caller acts on a grant that has been replaced by a newer one.' },
  'wrong-state': { status: 409, summary: 'The object is not in a state in which this can be done.' },
  conflict: { status: 409, summary: 'The object kept changing while it was being changed.' },
  'precondition-failed': { status: 412, summary: 'The object has changed since it was read (If-Match).' },
  'revision-compacted': { status: 410, summary: 'The history that was asked for is no longer kept.' },
  'quota-exceeded': { status: 403, summary: 'The project may not have so much.' },
  'pool-full': { status: 507, summary: 'The pool has no room for this.' },
  'data-missing': { status: 500, summary: 'The data of a volume is not where the records say it is.' },
  'stream-corrupt': { status: 502, summary: 'Data arrived that is not what was sent.' },
  'command-failed': { status: 500, summary: 'A program of the operating system failed.' },
  'host-unreachable': { status: 503, summary: 'A host does not answer.' },
  'name-server-unreachable': { status: 503, summary: 'The name server does not answer.' },
  'deadline-exceeded': { status: 504, summary: 'It took longer than the caller can wait; it goes on.' },
  'not-supported': { status: 501, summary: 'This host or driver cannot do this.' },
  internal: { status: 500, summary: 'A defect in Supercargo.' },
} as const satisfies Record<string, { status: number; summary: string }>;

export type ErrorCode = keyof typeof errorCatalogue;

export interface ErrorOptions {
  /** What the reader should do next, as a sentence. */
  hint?: string;
  /** Machine-readable facts, e.g. who uses a volume. Never a secret. */
  details?: Record<string, unknown>;
  cause?: unknown;
}

/** The only error that crosses a boundary of Supercargo: what happened to what, and what to do next. */
export class SupercargoError extends Error {
  override readonly name = 'SupercargoError';
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly details: Record<string, unknown> | undefined;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.details = options.details;
  }

  /** The HTTP status that goes with the code. */
  get status(): number {
    return errorCatalogue[this.code].status;
  }

  /** One line for people: message and hint. */
  toText(): string {
    return this.hint === undefined ? this.message : `${this.message} (${this.hint})`;
  }
}

export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(errorCatalogue, text);
}

/** True if the error is a SupercargoError, and of one of the codes if any are named. */
export function isSupercargoError(error: unknown, ...codes: ErrorCode[]): error is SupercargoError {
  return error instanceof SupercargoError && (codes.length === 0 || codes.includes(error.code));
}

/** Wraps whatever was thrown; the original stays as the cause. */
export function toSupercargoError(error: unknown): SupercargoError {
  if (error instanceof SupercargoError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new SupercargoError('internal', message, { cause: error });
}
