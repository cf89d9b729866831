import { SupercargoError } from '../model/errors.ts';
import { formatSize } from '../model/size.ts';

const durationUnits = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/**
 * Parses a duration as people write it: "30s", "10m", "1.5h"; a bare number is seconds.
 * @returns milliseconds
 * @throws invalid-option that names the option
 */
export function parseDuration(option: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text.trim());
  const milliseconds = match ? Math.round(Number(match[1]) * durationUnits[(match[2] ?? 's') as keyof typeof durationUnits]) : NaN;
  if (!Number.isSafeInteger(milliseconds) || milliseconds <= 0) {
    throw new SupercargoError('invalid-option', `Option "${option}" is not a duration: ${JSON.stringify(text)}.`, {
      hint: 'Write for example 30s, 10m or 2h.',
    });
  }
  return milliseconds;
}

/**
 * Parses a time as people write it: "2026-12-24", "2026-12-24T18:00" (both by the clock of this host), "2026-12-24T18:00:00Z".
 * @returns RFC 3339, UTC
 * @throws invalid-option that names the option
 */
export function parseTime(option: string, text: string): string {
  const match = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?)(Z|[+-]\d\d:\d\d)?)?$/.exec(text.trim());
  // A date alone would be read as UTC.
  const milliseconds = match ? Date.parse(`${match[1]}T${match[2] ?? '00:00'}${match[3] ?? ''}`) : NaN;
  if (Number.isNaN(milliseconds)) {
    throw new SupercargoError('invalid-option', `Option "${option}" is not a time: ${JSON.stringify(text)}.`, {
      hint: 'Write for example 2026-12-24T18:00 (time of this host) or 2026-12-24T17:00:00Z.',
    });
  }
  return new Date(milliseconds).toISOString();
}

/** How long ago a time was, in its largest unit: "12s", "5m", "3h", "40d". */
export function formatAge(time: string, nowMilliseconds: number): string {
  const seconds = Math.max(0, Math.floor((nowMilliseconds - Date.parse(time)) / 1000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

export function formatLimit(bytes: number | null): string {
  return bytes === null ? 'unlimited' : formatSize(bytes);
}

export function formatRate(bytesPerSecond: number): string {
  return `${formatSize(Math.round(bytesPerSecond))}/s`;
}

/** Columns under their heads, two spaces apart, without lines: easy to read and to cut with awk. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const cells = [head, ...rows].map((row) => row.map((cell) => printable(cell) || '-'));
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  return cells.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/** Names and values, one each line, for one object. */
export function formatDetails(details: readonly (readonly [name: string, value: string])[]): string[] {
  const width = Math.max(...details.map(([name]) => name.length)) + 1;
  return details.map(([name, value]) => `${`${name}:`.padEnd(width)}  ${printable(value) || '-'}`);
}

/** Takes out what would steer the terminal: labels and container names come from people whom the reader need not trust. */
export function printable(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what this is about
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, '\ufffd');
}
