/** Where the time of a stop goes, read from the logs of the two hosts, whose clocks are one. */

interface LogLine {
  time?: string;
  msg?: string;
  plan?: string;
  call?: string;
}

export interface TimelineEntry {
  /** Since the container's process ended. */
  milliseconds: number;
  host: string;
  what: string;
}

export function stopTimeline(logs: readonly { host: string; text: string }[], began: number): TimelineEntry[] {
  return logs
    .flatMap(({ host, text }) =>
      text
        .split('\n')
        .flatMap((line) => (line.startsWith('{') ? [JSON.parse(line) as LogLine] : []))
        .map((line) => ({
          milliseconds: Date.parse(line.time ?? '') - began,
          host,
          what: [line.msg, line.plan, line.call].filter(Boolean).join(' '),
        })),
    )
    .filter(({ milliseconds }) => milliseconds >= 0)
    .toSorted((a, b) => a.milliseconds - b.milliseconds);
}

export function describeStop(entries: readonly TimelineEntry[]): string {
  return entries.map(({ milliseconds, host, what }) => `    ${String(milliseconds).padStart(6)} ms  ${host}  ${what}`).join('\n');
}
