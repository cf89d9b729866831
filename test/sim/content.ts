/** One record that an application wrote to a volume and was told is safe, and all that was there before it. */
export interface Written {
  /** No two writes of a simulation have the same. */
  token: string;
  previous: Content;
  length: number;
  /** True time. Milliseconds. */
  acknowledgedAt: number;
}

/** The data of a volume: what was written to it, in order. Null is empty. Equal if and only if identical. */
export type Content = Written | null;

export function lengthOf(content: Content): number {
  return content?.length ?? 0;
}

/** Whether all of the first is the beginning of the second. */
export function isBeginningOf(first: Content, second: Content): boolean {
  let rest = second;
  while (lengthOf(rest) > lengthOf(first)) rest = rest?.previous ?? null;
  return rest === first;
}

/** The newest record first. */
export function* newestFirst(content: Content): Generator<Written> {
  for (let rest = content; rest !== null; rest = rest.previous) yield rest;
}

/** The last few records, for people. */
export function show(content: Content): string {
  const last: string[] = [];
  for (const { token } of newestFirst(content)) {
    last.unshift(token);
    if (last.length === 8) break;
  }
  return `[${lengthOf(content) > last.length ? `${lengthOf(content) - last.length} more, ` : ''}${last.join()}]`;
}
