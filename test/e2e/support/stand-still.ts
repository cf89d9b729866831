import { existsSync, rmSync, writeFileSync } from 'node:fs';
import type { Host } from '../../../testbed/lab.ts';
import { waitUntil } from '../../../testbed/process.ts';
import type { Cluster } from './cluster.ts';

/** Names the place at which a host's daemon is to stand still; the daemon takes it away when it does (src/compose/fault-injection.ts). */
const placeFile = '/var/lib/supercargo/stand-still-at';

/** For the daemons of a cluster in which hosts are to stand still. */
export const standStillEnvironment = { SUPERCARGO_STAND_STILL_FILE: placeFile };

/** Lets the host's daemon stand still when it next comes to the place. */
export function standStillAt(host: Host, place: string): void {
  writeFileSync(host.path(placeFile), place);
}

/** Takes a place back to which the daemon did not come. */
export function callOff(host: Host): void {
  rmSync(host.path(placeFile), { force: true });
}

export async function standsStill(host: Host): Promise<void> {
  await waitUntil(`the daemon of ${host.name} stands still`, () => !existsSync(host.path(placeFile)), 60_000);
}

/** Ends the standing still of a daemon that is there. */
export async function goOn(cluster: Cluster, host: Host): Promise<void> {
  await host.run(['kill', '-CONT', String(await cluster.daemonPid(host))]);
}
