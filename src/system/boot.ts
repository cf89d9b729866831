import { readFileSync } from 'node:fs';
import { processStatus } from './process-status.ts';

/**
 * Names the present run of this host, from power-on to power-off. Besides the kernel's own name for it, when the first process began: hosts that share a kernel,
 * as those of the testbed do, are switched off and on without it.
 */
export function bootIdentifier(): string {
  const kernel = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return `${kernel} ${processStatus(1)?.startTime}`;
}
