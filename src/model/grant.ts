import { z } from 'zod';
import { identifier } from './records.ts';

/**
 * What a host durably knows of its own right to write a volume. It is the arbiter on that host: a mount is answered only under `held`, and nothing
 * but the host itself ends `held`.
 * - held: may write under this epoch.
 * - releasing: mounts are refused from now on; the release can still be called off because nobody was told.
 * - released: gave up this epoch for the move; the snapshot holds everything. Only a higher epoch allows writing again.
 */
export const grantRecord = z.object({
  epoch: z.int(),
  state: z.enum(['held', 'releasing', 'released']),
  move: identifier.nullable(),
  snapshot: identifier.nullable(),
});
export type Grant = z.infer<typeof grantRecord>;
