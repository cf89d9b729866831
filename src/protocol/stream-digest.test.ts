import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createStreamDigest } from './stream-digest.ts';

function digestOf(parts: readonly Buffer[], snapshot = 'snp_a', base: string | null = null): string {
  const digest = createStreamDigest(snapshot, base);
  for (const part of parts) digest.update(part);
  return digest.finish();
}

describe('the digest of a stream', () => {
  const data = randomBytes(100_003);

  it('does not depend on how the bytes are cut', () => {
    expect(digestOf([data.subarray(0, 1), data.subarray(1, 1), data.subarray(1, 70_000), data.subarray(70_000)])).toBe(digestOf([data]));
  });

  it('tells a single bit, the order, a missing end and zeros at the end', () => {
    const flipped = Buffer.from(data);
    flipped[50_000] = (flipped[50_000] ?? 0) ^ 1;
    const others = [[flipped], [data.subarray(16), data.subarray(0, 16)], [data.subarray(0, -1)], [data, Buffer.alloc(1)], []];
    expect(new Set([[data], ...others].map((parts) => digestOf(parts))).size).toBe(6);
  });

  it('is that of this snapshot and base only', () => {
    expect(new Set([digestOf([data]), digestOf([data], 'snp_b'), digestOf([data], 'snp_a', 'snp_0')]).size).toBe(3);
  });
});
