import { setTimeout as delay } from 'node:timers/promises';
import { formatDuration } from '../model/duration.ts';
import { isErrorCode, isSupercargoError, SupercargoError } from '../model/errors.ts';
import { isOver } from '../model/placement.ts';
import type { Host, Move } from '../model/records.ts';
import type { Api } from './connection.ts';
import { ExitRequest, exitCodes } from './exit-codes.ts';
import { describeCommitted, describeMove } from './move-text.ts';
import type { HostNames } from './move-text.ts';
import type { Output } from './output.ts';

/** How often a line is printed where nothing can be redrawn, in milliseconds. */
const plainIntervalMilliseconds = 3000;
/** How long to wait before a cut watch is begun again, in milliseconds, and how many times in a row. */
const retryMilliseconds = 1000;
const maximumRetries = 60;

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

/** Every state of a move that is seen, the present one first; a cut connection to the name server is made again. */
async function* watchMove(id: string, { api, output, hosts, signal }: WatchOptions): AsyncGenerator<Move> {
  const learn = (host: Host): unknown => hosts.set(host.id, host.name);
  for (let failures = 0; failures <= maximumRetries; failures += 1) {
    try {
      for await (const message of api.watch({}, { signal })) {
        failures = 0;
        if (message.type === 'reset') {
          message.hosts.forEach(learn);
          // Moves that ended long ago are not in the state that is watched.
          yield message.moves.find((move) => move.id === id) ?? (await api.getMove({ parameters: { move: id } }, { signal }));
        } else if (message.type === 'host' && message.host !== null) learn(message.host);
        else if (message.type === 'move' && message.id === id && message.move !== null) yield message.move;
      }
    } catch (error) {
      if (signal.aborted || isSupercargoError(error, 'not-found', 'forbidden')) throw error;
      if (failures === 0) output.note('The name server does not answer at the moment; the move goes on.');
    }
    await delay(retryMilliseconds, undefined, { signal });
  }
  throw new SupercargoError('name-server-unreachable', 'The name server does not answer any more.', { hint: `Later: supercargo move follow ${id}` });
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
  const controller = new AbortController();
  const interrupt = (): void => controller.abort();
  process.once('SIGINT', interrupt);
  try {
    const { move, hostName } = await followMove(started, { ...options, interrupt: controller.signal });
    options.output.result(move, () => [describeCommitted(move, hostName)]);
  } finally {
    process.off('SIGINT', interrupt);
  }
}
