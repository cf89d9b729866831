import { z } from 'zod';

/**
 * A mount session that an engine was answered and has not given back. It protects a volume only in the short time between the answer and the
 * container's own mount; from then on the kernel is the witness.
 */
export const sessionReference = z.object({
  session: z.string(),
  count: z.int().positive(),
  /** False while the newest use is being prepared: if the agent dies then, nobody was answered who could use it or give it back. */
  answered: z.boolean().default(true),
  /** Which run of the engine asked: sessions of an engine that is gone are void. */
  engine: z.string().nullable(),
});
export type SessionReference = z.infer<typeof sessionReference>;
