import { z } from 'zod';

/** What agent and guard say to each other on the socket: one JSON value a line, one answer to each request, in any order. */

/** A change of these messages that an older program would misunderstand gets a new number. */
export const protocolVersion = 1;

const lease = z.object({
  volume: z.string().min(1),
  epoch: z.number().int().nonnegative(),
  path: z.string().startsWith('/'),
  mountPoint: z.string().startsWith('/'),
});

const guardState = z.object({
  volume: z.string(),
  epoch: z.number(),
  until: z.number(),
  state: z.enum(['held', 'frozen', 'fenced']),
  problem: z.string().nullable(),
});

const id = z.number().int();
export const requestLine = z.discriminatedUnion('request', [
  /** Comes first. The process number is the agent's, whose own processes must not be stopped. */
  z.object({ id, request: z.literal('hello'), processNumber: z.number().int().positive() }),
  /** Each lease with its end, in milliseconds of CLOCK_MONOTONIC, which all processes of a machine share. */
  z.object({ id, request: z.literal('hold'), leases: z.array(z.object({ lease, until: z.number() })) }),
  z.object({ id, request: z.literal('drop'), volumes: z.array(z.string()) }),
  z.object({ id, request: z.literal('states') }),
  /** The guard forgets everything and ends, so that another version can take its place. */
  z.object({ id, request: z.literal('end') }),
]);
type RequestLine = z.infer<typeof requestLine>;
export type GuardRequest = RequestLine extends infer Line ? (Line extends unknown ? Omit<Line, 'id'> : never) : never;

export const answerLine = z.object({
  id,
  /** To `hello`. */
  guard: z.object({ processNumber: z.number().int(), protocol: z.number().int(), version: z.string() }).optional(),
  /** To `states`. */
  states: z.array(guardState).optional(),
});
export type AnswerLine = z.infer<typeof answerLine>;

/** Longer lines are no message of ours. Characters. */
const longestLine = 4 * 1024 ** 2;

/** Cuts a stream of text into lines. @throws if a line does not end */
export function createLineReader(onLine: (line: string) => void): (chunk: string) => void {
  let pieces: string[] = [];
  let length = 0;
  return (chunk) => {
    const [first = '', ...others] = chunk.split('\n');
    pieces.push(first);
    length += first.length;
    for (const piece of others) {
      onLine(pieces.join(''));
      pieces = [piece];
      ({ length } = piece);
    }
    if (length > longestLine) throw new Error('a line without end');
  };
}
