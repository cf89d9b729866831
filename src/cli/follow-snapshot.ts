import { formatDuration } from '../model/duration.ts';
import { SupercargoError } from '../model/errors.ts';
import type { SnapshotView } from '../protocol/snapshot-routes.ts';
import type { Api } from './connection.ts';
import { ExitRequest, exitCodes } from './exit-codes.ts';
import { withInterrupt } from './interrupt.ts';
import type { Output } from './output.ts';

/** How long the name server is asked to hold its answer back, in milliseconds: less than a call may take. The first answer comes soon, to say what is waited for. */
const waitMilliseconds = { first: 1500, later: 5000 };

export interface SnapshotWish {
  volume: string;
  name: string | undefined;
  description: string | undefined;
  labels: Record<string, string> | undefined;
}

export interface FollowOptions {
  api: Api;
  output: Output;
  detach: boolean;
  timeoutMilliseconds: number | undefined;
}

/** What people and commands call it. */
export function titleOf({ volume, name }: Pick<SnapshotView, 'volume' | 'name'>): string {
  return `${volume}@${name}`;
}

/**
 * Asks for a snapshot and waits until it has been taken, saying why if that is not at once. Whatever ends the waiting, the request stands.
 * @throws wrong-state if it cannot be taken, deadline-exceeded; ExitRequest after Ctrl-C
 */
export async function wantSnapshot(wish: SnapshotWish, { api, output, detach, timeoutMilliseconds }: FollowOptions): Promise<SnapshotView> {
  const { volume, description, labels } = wish;
  const body = { ...(description === undefined ? {} : { description }), ...(labels === undefined ? {} : { labels }) };
  const ask = (name: string | undefined, milliseconds: number, signal?: AbortSignal): Promise<SnapshotView> => {
    const call = { parameters: { volume }, body: { ...body, ...(name === undefined ? {} : { name }), waitMilliseconds: milliseconds } };
    return api.createSnapshot(call, signal === undefined ? {} : { signal });
  };
  const end = performance.now() + (timeoutMilliseconds ?? Infinity);
  const left = (most: number): number => Math.max(0, Math.min(most, Math.round(end - performance.now())));
  let view = await ask(wish.name, detach ? 0 : left(waitMilliseconds.first));
  if (detach) return view;
  await withInterrupt(async (interrupt) => {
    for (let told = ''; view.state === 'waiting'; view = await ask(view.name, left(waitMilliseconds.later), interrupt)) {
      if (view.explanation !== null && view.explanation !== told) output.note(`Snapshot ${titleOf(view)} waits: ${view.explanation}.`);
      told = view.explanation ?? '';
      if (left(1) > 0) continue;
      throw new SupercargoError(
        'deadline-exceeded',
        `Snapshot "${titleOf(view)}" was not taken within ${formatDuration(timeoutMilliseconds ?? 0)}.`,
        {
          hint: `It stays asked for. Look at it: supercargo snapshot inspect ${titleOf(view)}; give it up: supercargo snapshot rm ${titleOf(view)}`,
        },
      );
    }
  }).catch((error: unknown) => {
    if (!(error instanceof Error) || error.name !== 'AbortError') throw error;
    output.note(`Snapshot ${titleOf(view)} stays asked for. Give it up: supercargo snapshot rm ${titleOf(view)}`);
    throw new ExitRequest(exitCodes.interrupted);
  });
  if (view.state !== 'failed') return view;
  throw new SupercargoError('wrong-state', `Snapshot "${titleOf(view)}" could not be taken: ${view.explanation}`, {
    hint: `Try again: supercargo snapshot create ${titleOf(view)}; give it up: supercargo snapshot rm ${titleOf(view)}`,
  });
}
