import { z } from 'zod';
import { errorCatalogue, isErrorCode, SupercargoError } from '../model/errors.ts';

/** An error on the wire: RFC 9457 problem details. `code` is the stable word to match on, `hint` says what to do next. */
export const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  code: z.string(),
  hint: z.string().optional(),
  details: z.record(z.string(), z.unknown()).optional(),
});
export type Problem = z.infer<typeof problem>;

export const problemMediaType = 'application/problem+json';

export function toProblem(error: SupercargoError): Problem {
  return {
    type: `urn:supercargo:error:${error.code}`,
    title: errorCatalogue[error.code].summary,
    status: error.status,
    detail: error.message,
    code: error.code,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    ...(error.details === undefined ? {} : { details: error.details }),
  };
}

/** The error that an answer stands for; an answer that is no problem document becomes `internal`. */
export function fromProblem(status: number, text: string): SupercargoError {
  const parsed = problem.safeParse(parseJson(text));
  if (!parsed.success) {
    return new SupercargoError('internal', `The other side answered with status ${status}: ${text.slice(0, 200)}`);
  }
  const { code, detail, hint, details } = parsed.data;
  return new SupercargoError(isErrorCode(code) ? code : 'internal', detail, {
    ...(hint === undefined ? {} : { hint }),
    ...(details === undefined ? {} : { details }),
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
