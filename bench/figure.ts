/** What one measurement says, and how people and programs are told. */

/** Which direction is better. Decides how `ratio` and targets are read. */
export type Better = 'lower' | 'higher';

export interface Target {
  /** Bound for `ratio`. */
  ratio?: number;
  /** Bound for `ours`, in the figure's unit. */
  ours?: number;
}

export interface Measure {
  bench: string;
  measure: string;
  unit: string;
  better: Better;
  /** null: measured for information. */
  target: Target | null;
  /** null: there is nothing to compare with. */
  rivalName: string | null;
}

/** A row of the JSON output. `ours` and `rival` are medians over `runs`; `ratio` is ours / rival. */
export interface Figure extends Measure {
  ours: number;
  rival: number | null;
  ratio: number | null;
  runs: number;
  /** Least and most of the runs. */
  oursRange: [number, number];
  rivalRange: [number, number] | null;
  /** Whether the target is met; null without a target. */
  met: boolean | null;
}

/** Values of the same measure, ours and the rival's taken in turn; the rival's are empty if there is none. */
export interface Samples {
  ours: number[];
  rival: number[];
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const [lower, upper] = [sorted[Math.floor((sorted.length - 1) / 2)], sorted[Math.ceil((sorted.length - 1) / 2)]];
  if (lower === undefined || upper === undefined) throw new Error('no median of no values');
  return (lower + upper) / 2;
}

export function figure(measure: Measure, { ours, rival }: Samples): Figure {
  const ourMedian = median(ours);
  const rivalMedian = rival.length === 0 ? null : median(rival);
  const ratio = rivalMedian === null ? null : ourMedian / rivalMedian;
  return {
    ...measure,
    ours: rounded(ourMedian),
    rival: rivalMedian === null ? null : rounded(rivalMedian),
    ratio: ratio === null ? null : rounded(ratio),
    runs: ours.length,
    oursRange: range(ours),
    rivalRange: rival.length === 0 ? null : range(rival),
    met: isMet(measure, ourMedian, ratio),
  };
}

function isMet({ target, better }: Measure, ours: number, ratio: number | null): boolean | null {
  if (target === null) return null;
  const within = (value: number | null, bound: number | undefined): boolean => {
    if (bound === undefined) return true;
    return value !== null && (better === 'lower' ? value <= bound : value >= bound);
  };
  return within(ours, target.ours) && within(ratio, target.ratio);
}

function range(values: readonly number[]): [number, number] {
  return [rounded(Math.min(...values)), rounded(Math.max(...values))];
}

/** Four significant digits: more would pretend. */
function rounded(value: number): number {
  return Number(value.toPrecision(4));
}

const headings = ['BENCH', 'MEASURE', 'UNIT', 'OURS', 'RIVAL', 'RATIO', 'TARGET', 'RUNS', 'RIVAL IS'];

/** A table for people; the ranges stand behind the medians. */
export function formatFigures(figures: readonly Figure[]): string {
  const rows = figures.map((each) => [
    each.bench,
    each.measure,
    `${each.unit}, ${each.better} is better`,
    withRange(each.ours, each.oursRange),
    each.rival === null || each.rivalRange === null ? '-' : withRange(each.rival, each.rivalRange),
    each.ratio === null ? '-' : String(each.ratio),
    describeTarget(each),
    String(each.runs),
    each.rivalName ?? '-',
  ]);
  const lines = [headings, ...rows];
  const widths = headings.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  return lines
    .map(
      (line) =>
        `${line
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

function withRange(value: number, [least, most]: [number, number]): string {
  return `${value} (${least}-${most})`;
}

function describeTarget({ target, better, met }: Figure): string {
  if (target === null) return '-';
  const sign = better === 'lower' ? '<=' : '>=';
  const bounds = [
    ...(target.ratio === undefined ? [] : [`ratio ${sign} ${target.ratio}`]),
    ...(target.ours === undefined ? [] : [`ours ${sign} ${target.ours}`]),
  ];
  return `${bounds.join(', ')}: ${met === true ? 'met' : 'MISSED'}`;
}
