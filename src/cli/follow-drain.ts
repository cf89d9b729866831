import { formatDuration } from '../model/duration.ts';
import { SupercargoError } from '../model/errors.ts';
import { isOver } from '../model/placement.ts';
import type { Move, Volume } from '../model/records.ts';
import type { HostView, WatchMessage } from '../protocol/routes.ts';
import type { Api } from './connection.ts';
import { ExitRequest, exitCodes } from './exit-codes.ts';
import { printable } from './format.ts';
import { hostNames } from './host-names.ts';
import { describeMove } from './move-text.ts';
import type { Output } from './output.ts';
import { plural } from './volume-text.ts';
import { watchCluster } from './watch-cluster.ts';

/** How often a line is printed where nothing can be redrawn, in milliseconds. */
const plainIntervalMilliseconds = 3000;

/** What is still on a host that is drained. */
interface Remainder {
  held: { volume: Volume; move: Move | null }[];
  replicas: Volume[];
}

export interface FollowDrainOptions {
  api: Api;
  output: Output;
  /** Fires when the user wants to look no longer (Ctrl-C). */
  interrupt: AbortSignal;
  timeoutMilliseconds: number | undefined;
}

/**
 * Shows the draining of a host until nothing is left there. Whatever ends the showing, the draining itself goes on.
 * @throws wrong-state if somebody ends the draining; not-found if the host leaves the cluster; deadline-exceeded; ExitRequest after Ctrl-C
 */
export async function followDrain(host: HostView, { api, output, interrupt, timeoutMilliseconds }: FollowDrainOptions): Promise<void> {
  const timeout = timeoutMilliseconds === undefined ? undefined : AbortSignal.timeout(timeoutMilliseconds);
  const signal = timeout === undefined ? interrupt : AbortSignal.any([interrupt, timeout]);
  const later = `supercargo host drain ${host.name} --wait`;
  const state = new DrainState(host, output);
  const watched = { api, output, signal, subject: `the draining of ${host.name}`, later };
  let left: Remainder | undefined;
  try {
    for await (const seen of watchCluster(watched, async (message) => state.apply(message))) {
      if (seen.held.length === 0 && seen.replicas.length === 0) return;
      left = seen;
      state.show(seen);
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  const next = `Look again: ${later}; end it: supercargo host activate ${host.name}`;
  if (interrupt.aborted) {
    output.note(`The draining goes on. ${next}`);
    throw new ExitRequest(exitCodes.interrupted);
  }
  throw new SupercargoError(
    'deadline-exceeded',
    `Host ${host.name} is not empty after ${formatDuration(timeoutMilliseconds ?? 0)}${left === undefined ? '' : `: ${describeCounts(left)} left`}; the draining goes on.`,
    { hint: next },
  );
}

/** What is known of the cluster while it is watched, and what was said of it already. */
class DrainState {
  readonly #host: HostView;
  readonly #output: Output;
  readonly #volumes = new Map<string, Volume>();
  readonly #moves = new Map<string, Move>();
  readonly #hosts = new Map<string, HostView>();
  readonly #told = new Map<string, string>();
  #shownAt = -Infinity;
  #shownCounts = '';

  constructor(host: HostView, output: Output) {
    this.#host = host;
    this.#output = output;
  }

  /** @returns what is left on the host @throws wrong-state, not-found */
  apply(message: WatchMessage): Remainder {
    if (message.type === 'reset') {
      fill(this.#volumes, message.volumes);
      fill(this.#moves, message.moves);
      fill(this.#hosts, message.hosts);
    } else if (message.type === 'volume') put(this.#volumes, message.id, message.volume);
    else if (message.type === 'host') put(this.#hosts, message.id, message.host);
    else if (message.type === 'move') {
      put(this.#moves, message.id, message.move);
      if (message.move !== null && message.move.from === this.#host.id && isOver(message.move)) this.#tell(message.move);
    }
    this.#checkHost();
    return this.#remainder();
  }

  #checkHost(): void {
    const { id, name } = this.#host;
    const now = this.#hosts.get(id);
    if (now === undefined) throw new SupercargoError('not-found', `Host ${name} is not in the cluster any more.`);
    if (now.state !== 'draining') {
      throw new SupercargoError('wrong-state', `The draining of host ${name} was ended.`, { hint: `Begin again: supercargo host drain ${name}` });
    }
  }

  #remainder(): Remainder {
    const { id } = this.#host;
    const held: Remainder['held'] = [];
    const replicas: Volume[] = [];
    for (const volume of this.#volumes.values()) {
      const { placement } = volume;
      if (placement.state === 'moving' && placement.from === id) held.push({ volume, move: this.#moves.get(placement.move) ?? null });
      else if ((placement.state === 'held' || placement.state === 'removing') && placement.host === id) held.push({ volume, move: null });
      else if ((placement.state === 'moving' && placement.to === id) || volume.replicas.includes(id)) replicas.push(volume);
    }
    return { held, replicas };
  }

  /** A line for each change of a volume's phase or of who blocks it, and between them how far the whole is. */
  show(left: Remainder): void {
    for (const { move } of left.held) if (move !== null) this.#tell(move);
    const counts = describeCounts(left);
    const copying = left.held.find(({ move }) => move?.phase === 'copying' && move.progress !== null)?.move;
    const line = `${this.#host.name}: ${counts} left${copying === undefined || copying === null ? '' : `; ${this.#describe(copying)}`}`;
    if (this.#output.redraws) return this.#output.transient(line);
    if (counts === this.#shownCounts && performance.now() - this.#shownAt < plainIntervalMilliseconds) return;
    this.#shownAt = performance.now();
    this.#shownCounts = counts;
    this.#output.note(line);
  }

  #tell(move: Move): void {
    const key = `${move.id} ${move.phase} ${JSON.stringify(move.blockedBy)}`;
    if (this.#told.get(move.volume) === key) return;
    this.#told.set(move.volume, key);
    this.#output.note(this.#describe(move));
  }

  #describe(move: Move): string {
    return printable(describeMove(move, hostNames([...this.#hosts.values()])));
  }
}

/** "2 volumes (1 waits for its users, 1 for its move) and 1 replica". */
function describeCounts({ held, replicas }: Remainder): string {
  const blocked = held.filter(({ move }) => move !== null && move.blockedBy.length > 0).length;
  const unmoved = held.filter(({ move }) => move === null).length;
  const remarks = [...(blocked > 0 ? [`${blocked} in use`] : []), ...(unmoved > 0 ? [`${unmoved} not moving yet`] : [])];
  const parts = [
    ...(held.length > 0 ? [plural(held.length, 'volume') + (remarks.length > 0 ? ` (${remarks.join(', ')})` : '')] : []),
    ...(replicas.length > 0 ? [plural(replicas.length, 'replica')] : []),
  ];
  return parts.length === 0 ? 'nothing' : parts.join(' and ');
}

function fill<Item extends { id: string }>(map: Map<string, Item>, items: readonly Item[]): void {
  map.clear();
  for (const item of items) map.set(item.id, item);
}

function put<Item>(map: Map<string, Item>, id: string, item: Item | null): void {
  if (item === null) map.delete(id);
  else map.set(id, item);
}
