const units = [
  ['d', 86_400],
  ['h', 3600],
  ['min', 60],
  ['s', 1],
] as const;

/** Writes a duration for people, by its two largest units: "350 ms", "4.2 s", "3 min 20 s", "2 h 5 min", "89 d 3 h". */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 999.5) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 9950) return `${(milliseconds / 1000).toFixed(1)} s`;
  let left = Math.round(milliseconds / 1000);
  const words: string[] = [];
  for (const [name, seconds] of units) {
    const count = Math.floor(left / seconds);
    left -= count * seconds;
    if (count > 0) words.push(`${count} ${name}`);
    // "1 d 5 s" would claim a precision that nobody wants; stop after the unit that follows the first.
    else if (words.length > 0) break;
    if (words.length === 2) break;
  }
  return words.join(' ');
}
