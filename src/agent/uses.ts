import type { Volume, VolumeUse } from '../model/records.ts';
import { staleSessions } from '../planner/reference-plan.ts';
import { mountPointOf } from './context.ts';
import type { AgentContext } from './context.ts';

/**
 * Everything that uses a volume on this host now. The kernel has the first word; sessions of engines count only where something stands
 * behind them, and those without are forgotten here.
 */
export async function currentUses(context: AgentContext, volume: Volume): Promise<VolumeUse[]> {
  const { driver, system, engine, state } = context;
  const kernelUses = await system.usesOf(driver.livePath(volume.id), mountPointOf(context, volume.id));
  if (kernelUses.length > 0) {
    const named = await Promise.all(
      kernelUses.map(async ({ processNumber, kind, name }): Promise<VolumeUse> => {
        const container = await engine.containerOfProcess(processNumber).catch(() => null);
        return container === null ? { kind, name } : { kind: 'container', name: container.name };
      }),
    );
    return [...new Map(named.map((use) => [`${use.kind} ${use.name}`, use])).values()];
  }
  const references = state.references(volume.id);
  if (references.length === 0) return [];
  const [instance, containers] = await Promise.all([engine.instance(), engine.containersUsing(volume.name).catch(() => null)]);
  const containerStates = containers?.map((container) => container.state) ?? null;
  const stale = staleSessions({ references, engine: instance, containerStates });
  await state.forgetSessions(volume.id, stale);
  const living = references.filter((reference) => !stale.includes(reference.session));
  const starting = containers?.filter((container) => !['exited', 'dead'].includes(container.state)) ?? [];
  if (living.length === 0) return [];
  return starting.length > 0
    ? starting.map((container) => ({ kind: 'container', name: container.name }))
    : living.map((reference) => ({ kind: 'mount-session', name: reference.session.slice(0, 12) }));
}

/** "container db, process vim (4711)" */
export function describeUses(uses: readonly VolumeUse[]): string {
  return uses.map((use) => `${use.kind} ${use.name}`).join(', ');
}
