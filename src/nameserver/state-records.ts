import { applicationRecord, denialRecord, grantRecord, projectRecord } from '../model/access.ts';
import type { AccessGrant, Application, Denial, Project } from '../model/access.ts';
import { hostRecord, moveRecord, volumeRecord } from '../model/records.ts';
import type { Host, Move, Volume } from '../model/records.ts';
import type { HostView } from '../protocol/routes.ts';
import { keys } from './keys.ts';
import { admissionRecord } from './reach.ts';

/** What a change of the store was about. */
export type Touched = { kind: 'volume' | 'move' | 'host' | 'project' | 'application' | 'grant' | 'denial' | 'admission'; id: string };

/** All records of one state of the cluster, read once and kept up with the changes of the store. */
export class StateRecords {
  readonly volumes = new Map<string, Volume>();
  readonly moves = new Map<string, Move>();
  readonly hosts = new Map<string, HostView>();
  readonly projects = new Map<string, Project>();
  readonly applications = new Map<string, Application>();
  readonly grants = new Map<string, AccessGrant>();
  readonly denials = new Map<string, Denial>();
  /** By host and application: until when it counts, milliseconds since 1970. */
  readonly admissions = new Map<string, Map<string, number>>();
  readonly #hosts = new Map<string, Host>();
  readonly #sessions = new Set<string>();

  /** @param entries all below `keys.state` */
  constructor(entries: Iterable<{ key: string; value: unknown }>) {
    for (const entry of entries) this.take(entry);
  }

  /** @param value undefined if the record is gone @returns undefined for what is of no interest to anybody */
  take({ key, value }: { key: string; value: unknown }): Touched | undefined {
    const id = key.slice(key.lastIndexOf('/') + 1);
    const isGone = value === undefined;
    if (key.startsWith(keys.volumes)) return set('volume', this.volumes, id, isGone ? undefined : volumeRecord.parse(value));
    if (key.startsWith(keys.moves)) return set('move', this.moves, id, isGone ? undefined : moveRecord.parse(value));
    if (key.startsWith(keys.projects)) return set('project', this.projects, id, isGone ? undefined : projectRecord.parse(value));
    if (key.startsWith(keys.applications)) return set('application', this.applications, id, isGone ? undefined : applicationRecord.parse(value));
    if (key.startsWith(keys.grants)) return set('grant', this.grants, id, isGone ? undefined : grantRecord.parse(value));
    if (key.startsWith(keys.denials)) return set('denial', this.denials, id, isGone ? undefined : denialRecord.parse(value));
    if (key.startsWith(keys.admissions)) {
      const host = key.slice(keys.admissions.length, key.lastIndexOf('/'));
      const ofHost = this.admissions.get(host) ?? new Map<string, number>();
      this.admissions.set(host, ofHost);
      return set('admission', ofHost, id, isGone ? undefined : admissionRecord.parse(value).expires);
    }
    if (key.startsWith(keys.hosts)) set('host', this.#hosts, id, isGone ? undefined : hostRecord.parse(value));
    else if (key.startsWith(keys.sessions)) this.#noteSession(id, !isGone);
    else return undefined;
    return this.#lookAtHost(id);
  }

  #noteSession(host: string, isThere: boolean): void {
    if (isThere) this.#sessions.add(host);
    else this.#sessions.delete(host);
  }

  #lookAtHost(id: string): Touched {
    const host = this.#hosts.get(id);
    return set('host', this.hosts, id, host && { ...host, status: this.#sessions.has(id) ? 'up' : 'down' });
  }
}

function set<Item>(kind: Touched['kind'], map: Map<string, Item>, id: string, item: Item | undefined): Touched {
  if (item === undefined) map.delete(id);
  else map.set(id, item);
  return { kind, id };
}
