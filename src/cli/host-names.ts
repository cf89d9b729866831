import type { Host } from '../model/records.ts';

/** The name of a host by its identifier; the identifier itself of one that is gone. */
export type HostNames = (id: string) => string;

/** As HostNames, for what may be nowhere: then an empty text. Names stay as they are. */
export function hostNames(hosts: readonly Pick<Host, 'id' | 'name'>[]): (word: string | null) => string {
  const names = new Map(hosts.map(({ id, name }) => [id, name]));
  return (word) => (word === null ? '' : (names.get(word) ?? word));
}
