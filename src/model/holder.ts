import type { Placement } from './records.ts';

/** The host whose copy counts at this moment: the one that may write, or the one that was last allowed to. */
export function currentHost(placement: Placement): string | null {
  switch (placement.state) {
    case 'free':
      return null;
    case 'held':
    case 'removing':
      return placement.host;
    case 'moving':
      return placement.from;
  }
}
