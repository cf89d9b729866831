import { applicationRecord, denialRecord, grantRecord, projectRecord } from '../model/access.ts';
import type { AccessGrant, Application, Denial, Project } from '../model/access.ts';
import { defaultProject } from '../model/records.ts';
import type { Volume } from '../model/records.ts';
import type { Store, StoreEntry, StoreOperation } from '../ports/store.ts';
import type { WatchMessage } from '../protocol/routes.ts';

/** All records about who may use what, as the name server tells them. */
export interface AccessRecords {
  projects: readonly Project[];
  applications: readonly Application[];
  grants: readonly AccessGrant[];
  denials: readonly Denial[];
}

export type AccessMessage = Extract<WatchMessage, { type: 'project' | 'application' | 'grant' | 'denial' }>;

const prefix = 'access/';

/**
 * Who may use what, as the name server said last: on disk and in memory, so that it is decided upon while the name server is away and after a restart.
 * A change is durable when its promise resolves.
 */
export class AccessView {
  readonly #store: Store;
  readonly #projects = new Map<string, Project>();
  readonly #applications = new Map<string, Application>();
  readonly #grants = new Map<string, AccessGrant>();
  readonly #grantsOf = new Map<string, Map<string, AccessGrant>>();
  readonly #denials = new Map<string, Denial>();
  readonly #denialListeners = new Set<() => void>();

  /** @param entries all that is in the store */
  constructor(store: Store, entries: readonly StoreEntry[]) {
    this.#store = store;
    for (const { key, value } of entries) {
      const [, kind, id = ''] = key.startsWith(prefix) ? key.split('/') : [];
      if (kind === 'projects') this.#projects.set(id, projectRecord.parse(value));
      if (kind === 'applications') this.#applications.set(id, applicationRecord.parse(value));
      if (kind === 'grants') this.#setGrant(id, grantRecord.parse(value));
      if (kind === 'denials') this.#denials.set(id, denialRecord.parse(value));
    }
  }

  /** Whether any project requires grants; most clusters have none. */
  get guarding(): boolean {
    return [...this.#projects.values()].some(({ requireGrants }) => requireGrants);
  }

  project(id: string): Project | undefined {
    return this.#projects.get(id);
  }

  projectByName(name: string): Project | undefined {
    return [...this.#projects.values()].find((project) => project.name === name);
  }

  /** The project of a volume; one that is not known yet, other than the default, counts as one that requires grants. */
  projectOf({ project }: Pick<Volume, 'project'>): Project {
    return this.#projects.get(project) ?? { ...unknownProject, id: project, requireGrants: project !== defaultProject.id };
  }

  application(id: string): Application | undefined {
    return this.#applications.get(id);
  }

  grantsOf(application: string): AccessGrant[] {
    return [...(this.#grantsOf.get(application)?.values() ?? [])];
  }

  denials(): Denial[] {
    return [...this.#denials.values()];
  }

  /** Takes over a change. */
  async apply(message: AccessMessage): Promise<void> {
    switch (message.type) {
      case 'project':
        await this.#save('projects', message.id, message.project);
        set(this.#projects, message.id, message.project);
        return;
      case 'application':
        await this.#save('applications', message.id, message.application);
        set(this.#applications, message.id, message.application);
        return;
      case 'grant':
        await this.#save('grants', message.id, message.grant);
        this.#setGrant(message.id, message.grant);
        return;
      case 'denial':
        await this.#save('denials', message.id, message.denial);
        set(this.#denials, message.id, message.denial);
        this.#tellDenials();
        return;
    }
  }

  /** Takes over a whole new picture: what is not in it is gone. */
  async replace(records: AccessRecords): Promise<void> {
    const { projects, applications, grants, denials } = records;
    await this.#store.transact(
      [],
      [
        ...replacing('projects', this.#projects, projects),
        ...replacing('applications', this.#applications, applications),
        ...replacing('grants', this.#grants, grants),
        ...replacing('denials', this.#denials, denials),
      ],
    );
    refill(this.#projects, projects);
    refill(this.#applications, applications);
    refill(this.#denials, denials);
    this.#grants.clear();
    this.#grantsOf.clear();
    for (const grant of grants) this.#setGrant(grant.id, grant);
    this.#tellDenials();
  }

  /** Called whenever the deny list may have changed. */
  onDenials(listener: () => void): void {
    this.#denialListeners.add(listener);
  }

  #tellDenials(): void {
    for (const listener of this.#denialListeners) listener();
  }

  #setGrant(id: string, grant: AccessGrant | null): void {
    const before = this.#grants.get(id);
    if (before !== undefined) this.#grantsOf.get(before.application)?.delete(id);
    set(this.#grants, id, grant);
    if (grant === null) return;
    const siblings = this.#grantsOf.get(grant.application) ?? new Map<string, AccessGrant>();
    this.#grantsOf.set(grant.application, siblings.set(id, grant));
  }

  async #save(kind: string, id: string, record: object | null): Promise<void> {
    const key = `${prefix}${kind}/${id}`;
    await this.#store.transact([], [record === null ? { delete: key } : { put: key, value: record }]);
  }
}

const unknownProject = { name: 'unknown', quota: { bytes: null, volumes: null, snapshots: null }, createdAt: new Date(0).toISOString() };

function set<Item>(map: Map<string, Item>, id: string, item: Item | null): void {
  if (item === null) map.delete(id);
  else map.set(id, item);
}

function refill<Item extends { id: string }>(map: Map<string, Item>, items: readonly Item[]): void {
  map.clear();
  for (const item of items) map.set(item.id, item);
}

/** What has to be written so that exactly these are there. */
function replacing<Item extends { id: string }>(kind: string, present: ReadonlyMap<string, Item>, items: readonly Item[]): StoreOperation[] {
  const wanted = new Map(items.map((item) => [item.id, item]));
  const gone = [...present.keys()].filter((id) => !wanted.has(id)).map((id) => ({ delete: `${prefix}${kind}/${id}` }));
  const changed = items.filter((item) => JSON.stringify(present.get(item.id)) !== JSON.stringify(item));
  return [...gone, ...changed.map((item) => ({ put: `${prefix}${kind}/${item.id}`, value: item }))];
}
