import type { ErrorCode } from '../model/errors.ts';

/** The exit codes of every command: stable, shown by `supercargo --help`. */
export const exitCodes = {
  ok: 0,
  failure: 1,
  usage: 2,
  notFound: 3,
  conflict: 4,
  unreachable: 5,
  interrupted: 130,
} as const;

export const exitCodeHelp = `Exit codes:
  0 done   1 failed   2 wrong usage   3 not found   4 in use or in conflict   5 not reachable   130 interrupted`;

const byErrorCode: Partial<Record<ErrorCode, number>> = {
  'invalid-request': exitCodes.usage,
  'invalid-name': exitCodes.usage,
  'invalid-option': exitCodes.usage,
  'not-found': exitCodes.notFound,
  'already-exists': exitCodes.conflict,
  'volume-in-use': exitCodes.conflict,
  'move-in-progress': exitCodes.conflict,
  'wrong-state': exitCodes.conflict,
  'stale-epoch': exitCodes.conflict,
  'precondition-failed': exitCodes.conflict,
  conflict: exitCodes.conflict,
  'host-unreachable': exitCodes.unreachable,
  'name-server-unreachable': exitCodes.unreachable,
};

export function exitCodeOf(code: ErrorCode): number {
  return byErrorCode[code] ?? exitCodes.failure;
}

/** Thrown by a command that has said everything itself and only wants to end with a code. */
export class ExitRequest extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`exit ${exitCode}`);
    this.exitCode = exitCode;
  }
}
