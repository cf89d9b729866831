import { setTimeout as delay } from 'node:timers/promises';
import { isSupercargoError, SupercargoError } from '../model/errors.ts';
import type { WatchMessage } from '../protocol/routes.ts';
import type { Api } from './connection.ts';
import type { Output } from './output.ts';

/** How long to wait before a cut watch is begun again, in milliseconds, and how many times in a row. */
const retryMilliseconds = 1000;
const maximumRetries = 60;

export interface WatchOptions {
  api: Api;
  output: Output;
  signal: AbortSignal;
  /** What is watched and goes on by itself, for example "the move". */
  subject: string;
  /** The command by which one looks again. */
  later: string;
}

/**
 * Follows the state of the cluster; a cut connection to the name server is made again.
 * @param see makes of a message what is of interest; undefined if nothing is. It may ask the API as well
 * @throws name-server-unreachable after many attempts, the signal's reason
 */
export async function* watchCluster<Seen>(
  { api, output, signal, subject, later }: WatchOptions,
  see: (message: WatchMessage) => Promise<Seen | undefined>,
): AsyncGenerator<Seen> {
  for (let failures = 0; failures <= maximumRetries; failures += 1) {
    try {
      for await (const message of api.watch({}, { signal })) {
        failures = 0;
        const seen = await see(message);
        if (seen !== undefined) yield seen;
      }
    } catch (error) {
      if (signal.aborted || isSupercargoError(error, 'not-found', 'forbidden', 'wrong-state')) throw error;
      if (failures === 0) output.note(`The name server does not answer at the moment; ${subject} goes on.`);
    }
    await delay(retryMilliseconds, undefined, { signal });
  }
  throw new SupercargoError('name-server-unreachable', 'The name server does not answer any more.', { hint: `Later: ${later}` });
}
