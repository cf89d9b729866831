/**
 * Runs on a host and fences on demand, resident as the guard is: a line `freeze`, `thaw` or `kill` on standard input is answered by one with the times
 * of the order and of its confirmation, in milliseconds of the machine's monotonic clock. Parameters: live path, mount point.
 */
import { createInterface } from 'node:readline';
import type { FenceOutcome } from '../src/ports/fence.ts';
import { systemClock } from '../src/system/clock.ts';
import { createFence } from '../src/system/fence.ts';
import { createHostSystem } from '../src/system/host-system.ts';

const [path = '', mountPoint = ''] = process.argv.slice(2);
const target = { path, mountPoint };
const fence = createFence({ clock: systemClock, system: createHostSystem(), marksDirectory: '/run/bench-stopped', spared: () => [] });

async function follow(order: string): Promise<FenceOutcome[]> {
  if (order === 'freeze') return fence.freeze([target]);
  if (order === 'kill') return fence.kill([target]);
  await fence.thaw([target]);
  return [];
}

for await (const order of createInterface({ input: process.stdin })) {
  const ordered = systemClock.monotonicMilliseconds();
  const [outcome] = await follow(order);
  const confirmed = systemClock.monotonicMilliseconds();
  process.stdout.write(`${JSON.stringify({ ordered, confirmed, users: outcome?.users.length ?? 0, problem: outcome?.problem ?? null })}\n`);
}
