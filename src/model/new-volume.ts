import { defaultProject, unprotected } from './records.ts';
import type { Volume } from './records.ts';

/** A volume that nobody has held yet, or one with what is given. */
export function newVolume(given: Pick<Volume, 'id' | 'name' | 'createdAt'> & Partial<Volume>): Volume {
  return {
    project: defaultProject.id,
    class: 'default',
    driver: 'btrfs',
    sizeBytes: null,
    labels: {},
    epoch: 0,
    placement: { state: 'free' },
    copies: [],
    copyChanges: {},
    protection: unprotected,
    encryption: null,
    replicas: [],
    leasedEpoch: null,
    lineage: [],
    diverged: [],
    snapshots: [],
    reverting: null,
    lastFailover: null,
    origin: null,
    ...given,
  };
}
