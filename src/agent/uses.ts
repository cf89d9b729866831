import type { Volume, VolumeUse } from '../model/records.ts';
import { staleSessions } from '../planner/reference-plan.ts';
import type { KernelUse } from '../ports/host-system.ts';
import { mountPointOf } from './context.ts';
import type { AgentContext } from './context.ts';
import type { AgedReference } from './local-state.ts';

/** What was found to use a volume, and which sessions turned out to have nothing behind them. */
interface Findings {
  uses: VolumeUse[];
  stale: string[];
}

/**
 * Everything that uses a volume on this host now. The kernel has the first word; sessions of engines count only where something stands
 * behind them, and those without are forgotten here. In the volume's queue, so that no session is answered meanwhile.
 */
export async function currentUses(context: AgentContext, volume: Volume): Promise<VolumeUse[]> {
  const { uses, stale } = await findUses(context, volume);
  await context.state.forgetSessions(volume.id, stale);
  return uses;
}

/** The same for people to look at: changes nothing. */
export async function showUses(context: AgentContext, volume: Volume): Promise<VolumeUse[]> {
  return (await findUses(context, volume)).uses;
}

async function findUses(context: AgentContext, volume: Volume): Promise<Findings> {
  const { driver, system, state } = context;
  const kernelUses = await system.usesOf(driver.livePath(volume.id), mountPointOf(context, volume.id));
  if (kernelUses.length > 0) return { uses: await nameContainers(context, kernelUses), stale: [] };
  const references = state.references(volume.id);
  return references.length === 0 ? { uses: [], stale: [] } : weighSessions(context, volume, references);
}

/** Processes in a container are shown by the container's name, each use once. */
async function nameContainers({ engine }: AgentContext, kernelUses: KernelUse[]): Promise<VolumeUse[]> {
  const named = await Promise.all(
    kernelUses.map(async ({ processNumber, kind, name }): Promise<VolumeUse> => {
      const container = await engine.containerOfProcess(processNumber).catch(() => null);
      return container === null ? { kind, name: printable(name) } : { kind: 'container', name: container.name };
    }),
  );
  return [...new Map(named.map((use) => [`${use.kind} ${use.name}`, use])).values()];
}

/** A process chooses its own name: it must not be able to draw on a terminal. */
function printable(name: string): string {
  return name.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, '?').slice(0, 100);
}

async function weighSessions({ engine }: AgentContext, volume: Volume, references: AgedReference[]): Promise<Findings> {
  const [instance, containers] = await Promise.all([engine.instance(), engine.containersUsing(volume.name).catch(() => null)]);
  const stale = staleSessions({ references, engine: instance, containerStates: containers?.map((container) => container.state) ?? null });
  const living = references.filter((reference) => !stale.includes(reference.session));
  if (living.length === 0) return { uses: [], stale };
  const active = containers?.filter((container) => !['exited', 'dead', 'created'].includes(container.state)) ?? [];
  const uses: VolumeUse[] =
    active.length > 0
      ? active.map((container) => ({ kind: 'container', name: container.name }))
      : living.map((reference) => ({ kind: 'mount-session', name: reference.session.slice(0, 12) }));
  return { uses, stale };
}

/** "container db, process vim (4711)" */
export function describeUses(uses: readonly VolumeUse[]): string {
  return uses.map((use) => `${use.kind} ${use.name}`).join(', ');
}
