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
import { contentOf, plural } from './volume-text.ts';
import type { HostContent } from './volume-text.ts';
import { watchCluster } from './watch-cluster.ts';

/** How often a line is printed where nothing can be redrawn, in milliseconds. */
const plainIntervalMilliseconds = 3000;

/** What is still on a host that is drained. */
interface Remainder {
  content: HostContent;
  /** The moves of what it holds. */
  moves: Move[];
  isDown: boolean;
}

export interface FollowDrainOptions {
  api: Api;
  output: Output;
  /** Fires when the user wants to look no longer (Ctrl-C). */
  interrupt: AbortSignal;
  timeoutMilliseconds: number | undefined;
}

/**
 * Shows the draining of a host until nothing is left there but what waits for an operator. Whatever ends the showing, the draining itself goes on.
 * @returns the volumes of which something is kept there
 * @throws wrong-state if somebody ends the draining; not-found if the host leaves the cluster; deadline-exceeded; ExitRequest after Ctrl-C
 */
export async function followDrain(host: HostView, { api, output, interrupt, timeoutMilliseconds }: FollowDrainOptions): Promise<Volume[]> {
  const timeout = timeoutMilliseconds === undefined ? undefined : AbortSignal.timeout(timeoutMilliseconds);
  const signal = timeout === undefined ? interrupt : AbortSignal.any([interrupt, timeout]);
  const later = `supercargo host drain ${host.name} --wait`;
  const state = new DrainState(host, output);
  const watched = { api, output, signal, subject: `the draining of ${host.name}`, later };
  let left: Remainder | undefined;
  try {
    for await (const seen of watchCluster(watched, async (message) => state.apply(message))) {
      if (isEmpty(seen.content)) return seen.content.kept;
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
    `Host ${host.name} is not empty after ${formatDuration(timeoutMilliseconds ?? 0)}${left === undefined ? '' : `: ${describeLeft(left)}`}; the draining goes on.`,
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
    const content = contentOf(id, this.#volumes.values());
    const moves = content.held.flatMap(({ placement }) => (placement.state === 'moving' ? (this.#moves.get(placement.move) ?? []) : []));
    return { content, moves, isDown: this.#hosts.get(id)?.status !== 'up' };
  }

  /** A line for each change of a volume's phase or of who blocks it, and between them how far the whole is. */
  show(left: Remainder): void {
    for (const move of left.moves) this.#tell(move);
    const counts = describeLeft(left);
    const copying = left.moves.find(({ phase, progress }) => phase === 'copying' && progress !== null);
    const line = `${this.#host.name}: ${counts}${copying === undefined ? '' : `; ${this.#describe(copying)}`}`;
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

function isEmpty({ held, arriving, replicas, leftovers }: HostContent): boolean {
  return held.length + arriving.length + replicas.length + leftovers.length === 0;
}

/** "2 volumes (1 in use), 1 replica left". */
function describeLeft({ content, moves, isDown }: Remainder): string {
  const { held, arriving, replicas, leftovers } = content;
  const blocked = moves.filter(({ blockedBy }) => blockedBy.length > 0).length;
  const waiting = held.length - moves.length;
  const remarks = [...(blocked > 0 ? [`${blocked} in use`] : []), ...(waiting > 0 ? [`${waiting} not moving yet`] : [])];
  const counts = [
    held.length > 0 ? plural(held.length, 'volume') + (remarks.length > 0 ? ` (${remarks.join(', ')})` : '') : '',
    arriving.length > 0 ? `${plural(arriving.length, 'volume')} on the way here` : '',
    replicas.length > 0 ? plural(replicas.length, 'replica') : '',
    leftovers.length > 0 ? `old copies of ${plural(leftovers.length, 'volume')}` : '',
  ].filter((each) => each !== '');
  return `${counts.join(', ')} left${isDown ? '; the host is DOWN, start its agent' : ''}`;
}

function fill<Item extends { id: string }>(map: Map<string, Item>, items: readonly Item[]): void {
  map.clear();
  for (const item of items) map.set(item.id, item);
}

function put<Item>(map: Map<string, Item>, id: string, item: Item | null): void {
  if (item === null) map.delete(id);
  else map.set(id, item);
}
