import { formatDuration } from '../model/duration.ts';
import { isErrorCode, SupercargoError } from '../model/errors.ts';
import { isOver } from '../model/placement.ts';
import type { Host, Move } from '../model/records.ts';
import type { Api } from './connection.ts';
import { ExitRequest, exitCodes } from './exit-codes.ts';
import type { HostNames } from './host-names.ts';
import { withInterrupt } from './interrupt.ts';
import { describeCommitted, describeMove } from './move-text.ts';
import type { Output } from './output.ts';
import { watchCluster } from './watch-cluster.ts';

/** How often a line is printed where nothing can be redrawn, in milliseconds. */
const plainIntervalMilliseconds = 3000;

export interface FollowOptions {
  api: Api;
  output: Output;
  /** Fires when the user wants to look no longer (Ctrl-C). */
  interrupt: AbortSignal;
  timeoutMilliseconds: number | undefined;
}

/**
 * Shows a move until it ends. Whatever ends the showing, the move itself goes on.
 * @returns the move, committed
 * @throws the move's own error if it was aborted; deadline-exceeded; ExitRequest after Ctrl-C
 */
export async function followMove(
  started: Move,
  { api, output, interrupt, timeoutMilliseconds }: FollowOptions,
): Promise<{ move: Move; hostName: HostNames }> {
  const timeout = timeoutMilliseconds === undefined ? undefined : AbortSignal.timeout(timeoutMilliseconds);
  const signal = timeout === undefined ? interrupt : AbortSignal.any([interrupt, timeout]);
  const hosts = new Map<string, string>();
  const hostName: HostNames = (id) => hosts.get(id) ?? id;
  const show = progressPrinter(output, hostName);
  try {
    for await (const move of watchMove(started.id, { api, output, hosts, signal })) {
      if (!isOver(move)) show(move);
      else if (move.phase === 'committed') return { move, hostName };
      else throw abortedError(move, hostName);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  const next = `Follow it: supercargo move follow ${started.id}; cancel it: supercargo move cancel ${started.id}`;
  if (interrupt.aborted) {
    output.note(`The move goes on. ${next}`);
    throw new ExitRequest(exitCodes.interrupted);
  }
  const waited = formatDuration(timeoutMilliseconds ?? 0);
  throw new SupercargoError('deadline-exceeded', `Volume "${started.volumeName}" has not arrived within ${waited}; the move goes on.`, {
    hint: next,
  });
}

interface WatchOptions {
  api: Api;
  output: Output;
  /** Filled with the names of hosts. */
  hosts: Map<string, string>;
  signal: AbortSignal;
}

/** Every state of a move that is seen, the present one first. */
function watchMove(id: string, { api, output, hosts, signal }: WatchOptions): AsyncGenerator<Move> {
  const learn = (host: Host): unknown => hosts.set(host.id, host.name);
  return watchCluster({ api, output, signal, subject: 'the move', later: `supercargo move follow ${id}` }, async (message) => {
    if (message.type === 'reset') {
      message.hosts.forEach(learn);
      // Moves that ended long ago are not in the state that is watched.
      return message.moves.find((move) => move.id === id) ?? api.getMove({ parameters: { move: id } }, { signal });
    }
    if (message.type === 'host' && message.host !== null) learn(message.host);
    return message.type === 'move' && message.id === id ? (message.move ?? undefined) : undefined;
  });
}

function progressPrinter(output: Output, hostName: HostNames): (move: Move) => void {
  let printedAt = -Infinity;
  let printedPhase = '';
  return (move) => {
    const line = describeMove(move, hostName);
    if (output.redraws) return output.transient(line);
    // A line for each phase and each change of who blocks it, otherwise now and then.
    const phase = `${move.phase} ${JSON.stringify(move.blockedBy)}`;
    if (phase === printedPhase && performance.now() - printedAt < plainIntervalMilliseconds) return;
    printedAt = performance.now();
    printedPhase = phase;
    output.note(line);
  };
}

function abortedError(move: Move, hostName: HostNames): SupercargoError {
  const { code = 'move-failed', message = 'no reason is recorded', hint = null } = move.error ?? {};
  return new SupercargoError(isErrorCode(code) ? code : 'move-failed', `Volume "${move.volumeName}" stays on ${hostName(move.from)}: ${message}`, {
    ...(hint === null ? {} : { hint }),
    details: { move: move.id },
  });
}

/** Follows a move to its end, with Ctrl-C meaning "look no longer", and tells the result. */
export async function followAndReport(started: Move, options: Omit<FollowOptions, 'interrupt'>): Promise<void> {
  await withInterrupt(async (interrupt) => {
    const { move, hostName } = await followMove(started, { ...options, interrupt });
    options.output.result(move, () => [describeCommitted(move, hostName)]);
  });
}
