import { planFailover } from '../planner/failover-plan.ts';
import type { FailoverAction } from '../planner/failover-plan.ts';
import { planReplicas } from '../planner/replica-plan.ts';
import { volumeRecord } from '../model/records.ts';
import { ClusterMirror } from './cluster-mirror.ts';
import { drainHosts } from './drain.ts';
import { endMove } from './moves.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './repository.ts';
import { takeOver } from './takeover.ts';

/** Time passes for plans as well: a lease runs out without any record changing. Milliseconds. */
const tickMilliseconds = 500;
/** Many changes at once are looked at together. Milliseconds. */
const restMilliseconds = 100;
const maximumBuilds = 2;

/** Looks at the whole cluster whenever something changed, plans, and does what is to be done, each as one compare-and-swap. Ends by the signal. */
export async function runControllers(context: NameServerContext, signal: AbortSignal): Promise<void> {
  const mirror = new ClusterMirror(context);
  const ended = new AbortController();
  let changed = new AbortController();
  const following = mirror.follow(AbortSignal.any([signal, ended.signal]), () => changed.abort());
  following.catch(() => ended.abort());
  const told = new Map<string, string>();
  try {
    while (!signal.aborted && !ended.signal.aborted) {
      await context.clock.sleep(tickMilliseconds, AbortSignal.any([signal, changed.signal, ended.signal])).catch(() => undefined);
      if (changed.signal.aborted) await context.clock.sleep(restMilliseconds, signal).catch(() => undefined);
      changed = new AbortController();
      if (!signal.aborted) await control(context, mirror, told);
    }
  } finally {
    ended.abort();
    await following;
  }
}

async function control(context: NameServerContext, mirror: ClusterMirror, told: Map<string, string>): Promise<void> {
  const volumes = [...mirror.volumes.values()];
  const { hosts } = mirror;
  const attempt = async (act: () => Promise<void>): Promise<void> => act().catch((error: unknown) => context.onDefect(error));
  for (const volume of volumes) {
    const move = volume.placement.state === 'moving' ? (mirror.moves.get(volume.placement.move) ?? null) : null;
    const action = planFailover({ volume, hosts, move, marginMilliseconds: context.takeoverMarginMilliseconds });
    if (action?.do !== 'wait') told.delete(volume.id);
    if (action !== null) await attempt(() => perform(context, action, told));
  }
  const replicated = volumes.filter((volume) => volume.protection.replicas > 0 || volume.replicas.length > 0);
  const plan = planReplicas({ volumes: replicated, hosts, graceMilliseconds: context.replicaGraceMilliseconds, maximumBuilds });
  for (const { volume, replicas } of plan) await attempt(() => assignReplicas(context, volume, replicas, mirror));
  if (hosts.some(({ state }) => state === 'draining')) await attempt(() => drainHosts(context, mirror));
}

async function perform(context: NameServerContext, action: FailoverAction, told: Map<string, string>): Promise<void> {
  const { repository } = context;
  switch (action.do) {
    case 'abort-move': {
      const error = { code: 'host-unreachable', message: 'The source does not answer any more.', hint: 'A replica takes over.' };
      await endMove(context, action.move, error, 'name server');
      return;
    }
    case 'fail-over':
      await takeOver(context, { volume: action.volume, from: action.from, to: action.to, actor: 'name server', reason: 'The lease of its holder ended.' });
      return;
    case 'wait': {
      if (told.get(action.volume) === action.reason) return;
      told.set(action.volume, action.reason);
      await repository.transact(async (transaction) => {
        const volume = await transaction.get(keys.volume(action.volume), volumeRecord);
        if (volume !== undefined) transaction.record('volume.waits', volume.name, 'name server', `Volume "${volume.name}" waits: ${action.reason}.`);
      });
    }
  }
}

async function assignReplicas(context: NameServerContext, id: string, replicas: string[], mirror: ClusterMirror): Promise<void> {
  const seen = mirror.volumes.get(id);
  await context.repository.transact(async (transaction) => {
    const volume = await transaction.get(keys.volume(id), volumeRecord);
    // The plan rests on what was seen: if that has changed, there will be another.
    if (volume === undefined || seen === undefined || volume.replicas.join() !== seen.replicas.join()) return;
    if (JSON.stringify(volume.placement) !== JSON.stringify(seen.placement)) return;
    transaction.put(keys.volume(id), { ...volume, replicas });
    const names = replicas.map((host) => mirror.hosts.find((each) => each.id === host)?.name ?? host);
    transaction.record(
      'replica.assigned',
      volume.name,
      'name server',
      `Volume "${volume.name}" is to have replicas on ${names.join(', ') || 'no host'}.`,
    );
  });
}
