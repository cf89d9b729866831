import { chooseActions, volumeNames } from './actions.ts';
import type { Action, Kind } from './actions.ts';
import { Player } from './player.ts';
import { SimulatedCluster } from './simulated-cluster.ts';

export interface HistoryOptions {
  seed: number;
  hosts: number;
  /** Simulated hours until all is healed and looked at. */
  hours: number;
}

export interface HistoryResult {
  /** Simulated time, with what came after healing. */
  hours: number;
  counts: ReadonlyMap<Kind, number>;
  failovers: number;
  reverts: number;
  writes: number;
  /** Writes that a host which stood still, or both of whose guardians did, accepted after another had taken over: the documented exception. */
  excusedWrites: number;
  /** Failovers to a host that had less of the history than another, just after the name server had stood still. */
  hastyChoices: number;
  /** Containers that found their mount taken away by a fence between its answer and their start, and so did not start. */
  startedOnNothing: number;
}

/** What a history broke, and how it came to it. */
export class BrokenHistory extends Error {
  override readonly name = 'BrokenHistory';
  readonly actions: readonly Action[];
  readonly story: readonly string[];
  readonly log: readonly string[];

  constructor(cause: Error, found: { actions: readonly Action[]; story: readonly string[]; log: readonly string[] }) {
    super(cause.message, { cause });
    this.actions = found.actions;
    this.story = found.story;
    this.log = found.log;
  }
}

/**
 * A random history: containers start, write, stop and start elsewhere, operators move volumes and let replicas take over, while processes, machines, links and
 * clocks fail in every way we know. Then all is healed, and every volume has to be usable on every host, with all that was acknowledged.
 * @param actions in place of those that follow from the seed @throws BrokenHistory
 */
export async function playHistory(options: HistoryOptions, actions: readonly Action[] = chooseActions(options)): Promise<HistoryResult> {
  const cluster = await SimulatedCluster.start(options);
  const player = new Player(cluster);
  // Every call that is given up makes an error, and nobody looks at where.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    await player.createVolumes();
    await player.play(actions);
    await player.heal();
    for (const volume of volumeNames) await player.visitAllHosts(volume);
    await player.visitClones();
  } catch (error) {
    const cause = cluster.broken ?? (error instanceof Error ? error : new Error(String(error)));
    throw new BrokenHistory(cause, { actions, story: player.story, log: cluster.log });
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
    await cluster.stop();
  }
  const { failovers, reverts, excusedWrites, hastyChoices, writes } = cluster.oracle;
  const startedOnNothing = cluster.hosts.reduce((sum, host) => sum + host.startedOnNothing, 0);
  const hours = cluster.clock.monotonicMilliseconds() / 3_600_000;
  return { hours, counts: player.counts, failovers, reverts, writes, excusedWrites, hastyChoices, startedOnNothing };
}
