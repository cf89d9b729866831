import { SupercargoError } from './errors.ts';

const unitExponents: Record<string, number> = { '': 0, k: 1, m: 2, g: 3, t: 4, p: 5 };
const sizePattern = /^(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?$/i;

/**
 * Parses a size as people write it ("10G", "512MiB", "1.5t", "4096"). Units are powers of 1024, as in Docker's options.
 * @returns bytes, an integer
 * @throws invalid-option that names the option
 */
export function parseSize(option: string, text: string): number {
  const match = sizePattern.exec(text.trim());
  const bytes = match ? Math.round(Number(match[1]) * 1024 ** (unitExponents[(match[2] ?? '').toLowerCase()] ?? 0)) : NaN;
  if (!Number.isSafeInteger(bytes) || bytes <= 0) {
    throw new SupercargoError('invalid-option', `Option "${option}" is not a size: ${JSON.stringify(text)}.`, {
      hint: 'Write a number with a unit, for example 512M or 10G.',
    });
  }
  return bytes;
}

/** Writes bytes for people: "1.5 GiB". */
export function formatSize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  const exponent = bytes < 1024 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** exponent;
  const digits = exponent === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${units[exponent]}`;
}
