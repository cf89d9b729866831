import { volumeRecord } from '../model/records.ts';
import type { Volume } from '../model/records.ts';
import { keys } from './keys.ts';
import type { NameServerContext } from './name-server.ts';

/**
 * Waits until the record of a volume is as it is waited for.
 * @returns the record, as it is then or after that time; undefined if it is gone
 */
export async function awaitVolume(
  { store, clock, repository }: NameServerContext,
  id: string,
  isDone: (volume: Volume) => boolean,
  milliseconds: number,
): Promise<Volume | undefined> {
  const look = (): Promise<Volume | undefined> => repository.get(keys.volume(id), volumeRecord);
  if (milliseconds === 0) return look();
  const deadline = new AbortController();
  const timer = clock.sleep(milliseconds, deadline.signal).then(
    () => deadline.abort(),
    () => undefined,
  );
  try {
    const { revision } = await store.list(keys.volume(id));
    let volume = await look();
    if (volume === undefined || isDone(volume)) return volume;
    for await (const _ of store.watch(keys.volume(id), revision, deadline.signal)) {
      volume = await look();
      if (volume === undefined || isDone(volume)) break;
    }
    return volume;
  } finally {
    deadline.abort();
    await timer;
  }
}
