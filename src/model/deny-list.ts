import type { Denial } from './access.ts';
import { SupercargoError } from './errors.ts';

/** Whom a certificate speaks for, and which one it is. */
export interface Bearer {
  /** null for the name server and for users. */
  host: string | null;
  user?: string;
  /** Serial number, hexadecimal in capital letters. */
  certificate: string;
}

/** The entry of the deny list that a bearer falls under, if there is one. Whether its time is over is for those who prune the list. */
function denialOf(denials: Iterable<Denial>, { host, user, certificate }: Bearer): Denial | undefined {
  for (const denial of denials) {
    if (denial.subject === 'host' && denial.value === host) return denial;
    if (denial.subject === 'user' && denial.value === user) return denial;
    if (denial.subject === 'certificate' && denial.value === certificate) return denial;
  }
  return undefined;
}

/** @throws forbidden with the reason, and what to do about it */
export function requireUndenied(denials: Iterable<Denial>, bearer: Bearer): void {
  const denial = denialOf(denials, bearer);
  if (denial === undefined) return;
  throw new SupercargoError('forbidden', `This ${denial.subject} is denied since ${denial.at}: ${denial.reason}`, { hint: remedy(denial, bearer) });
}

function remedy({ subject }: Denial, { user }: Bearer): string {
  if (subject === 'user') return 'Ask an administrator, who can make you anew (supercargo user add), and log in with what that prints.';
  if (user !== undefined) return 'Ask an administrator for another login (supercargo user invite).';
  return 'If that was not meant: supercargo host readmit, or supercargo invite --host, on the host of the name server.';
}

/** Serial numbers are written in many ways; the records have one. */
export function normalSerial(text: string): string {
  return text.replaceAll(':', '').toUpperCase();
}
