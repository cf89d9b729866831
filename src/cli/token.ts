import { text } from 'node:stream/consumers';
import { SupercargoError } from '../model/errors.ts';
import type { Cli } from './cli.ts';

export const tokenVariable = 'SUPERCARGO_JOIN_TOKEN';

/** A token from where it was given: argument, standard input for "-", environment. @throws invalid-option if there is none */
export async function readToken({ dependencies }: Cli, given: string | undefined): Promise<string> {
  const token = given === '-' ? await text(dependencies.stdin) : (given ?? dependencies.environment[tokenVariable] ?? '');
  if (token.trim() === '') {
    throw new SupercargoError('invalid-option', 'The join token is missing.', {
      hint: `Give --token TOKEN, --token - (standard input), or set ${tokenVariable}.`,
    });
  }
  return token.trim();
}

/** @param printedBy the command that printed it @throws invalid-option */
export function checkFingerprint(fingerprint: string, printedBy: string): void {
  if (/^sha256:[0-9a-f]{64}$/i.test(fingerprint)) return;
  throw new SupercargoError('invalid-option', 'Option "--ca-fingerprint" is not a fingerprint.', {
    hint: `Copy the whole command that ${printedBy} printed.`,
  });
}
