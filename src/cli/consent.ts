import { createInterface } from 'node:readline';
import { SupercargoError } from '../model/errors.ts';
import type { Cli } from './cli.ts';
import { ExitRequest, exitCodes } from './exit-codes.ts';
import { printable } from './format.ts';

export interface Consent {
  /** What will happen, in words. */
  preview: readonly string[];
  /** For example "Let h2 take over?". */
  question: string;
  /** The user has said so on the command line. */
  yes: boolean;
}

/**
 * Says what will happen and makes sure that the user wants it: by --yes, or by an answer on a terminal. Programs are never asked.
 * @throws invalid-option if nobody can be asked; ExitRequest if the answer is no
 */
export async function requireConsent({ output, dependencies }: Cli, { preview, question, yes }: Consent): Promise<void> {
  if (!output.json) for (const line of preview) output.note(printable(line));
  if (yes) return;
  if (output.json || dependencies.stdin.isTTY !== true) {
    throw new SupercargoError('invalid-option', 'This is not done without a confirmation, and nobody can be asked here.', {
      hint: 'If it is what you want, give the same command with --yes.',
    });
  }
  output.question(`${printable(question)} [y/N]`);
  const answer = await readLine(dependencies.stdin);
  if (/^y(es)?$/i.test(answer.trim())) return;
  output.note('Nothing was changed.');
  throw new ExitRequest(exitCodes.failure);
}

/** One line of what is typed; empty at the end of the input. */
async function readLine(input: Cli['dependencies']['stdin']): Promise<string> {
  const lines = createInterface({ input, terminal: false });
  try {
    for await (const line of lines) return line;
    return '';
  } finally {
    lines.close();
  }
}
