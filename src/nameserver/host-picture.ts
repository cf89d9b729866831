import { unlimitedQuota } from '../model/access.ts';
import type { AccessGrant, Application, Denial, Project } from '../model/access.ts';
import { isTold, mayKnowApplication, mayKnowGrant, nextReachChange, partiesOf } from '../model/judge-reach.ts';
import type { AdmittedApplication, KnownToHost } from '../model/judge-reach.ts';
import type { Move, Volume } from '../model/records.ts';
import type { HostView, WatchMessage } from '../protocol/routes.ts';
import type { StateRecords, Touched } from './state-records.ts';

/**
 * Stands for all projects that require grants and that a host is told nothing of: that there is one decides what its engine lets containers do, also before any
 * volume of it is there.
 */
const untoldProject: Project = {
  id: `prj_${'f'.repeat(24)}`,
  name: 'other projects',
  requireGrants: true,
  quota: unlimitedQuota,
  createdAt: new Date(0).toISOString(),
};

type Told<Item> = Map<string, Item>;

/** What one host is told of the records: it is brought up to date with them, and says what has changed for the host. */
export class HostPicture {
  readonly volumes: Told<Volume> = new Map();
  readonly moves: Told<Move> = new Map();
  readonly hosts: Told<HostView> = new Map();
  readonly projects: Told<Project> = new Map();
  readonly applications: Told<Application> = new Map();
  readonly grants: Told<AccessGrant> = new Map();
  readonly denials: Told<Denial> = new Map();
  readonly #records: StateRecords;
  readonly #host: string;
  #admitted: AdmittedApplication[] = [];
  /** Volumes of whose moves on record the host was a party. */
  #moved = new Set<string>();
  /** When time alone next changes something; milliseconds since 1970. */
  #due: number | null = null;

  /** @param now wall-clock milliseconds since 1970 */
  constructor(records: StateRecords, host: string, now: number) {
    this.#records = records;
    this.#host = host;
    this.#update(null, 0, now);
  }

  /** Whether something has changed by time alone. */
  isDue(now: number): boolean {
    return this.#due !== null && now >= this.#due;
  }

  /**
   * What the host has to be told, after the records have changed.
   * @param touched what changed in them @param revision as of which they are
   */
  update(touched: readonly Touched[], revision: number, now: number): WatchMessage[] {
    const isAccess = touched.some(({ kind }) => kind !== 'volume' && kind !== 'move' && kind !== 'host');
    const messages = this.#update(isAccess || this.isDue(now) ? null : touched, revision, now);
    // The name server waits for a word of every host about each change of access: also of those that it does not concern.
    const toldOne = messages.some(({ type }) => type !== 'volume' && type !== 'move' && type !== 'host');
    if (!isAccess || toldOne) return messages;
    return [...messages, { type: 'project', revision, id: untoldProject.id, project: this.projects.get(untoldProject.id) ?? null }];
  }

  /** @param touched null: anything may have changed */
  #update(touched: readonly Touched[] | null, revision: number, now: number): WatchMessage[] {
    if (touched === null) this.#admit(now);
    const moved = this.#moved;
    this.#moved = new Set([...this.#records.moves.values()].filter((move) => this.#isParty(move)).map(({ volume }) => volume));
    const looked = touched === null ? null : new Set(touched.filter(({ kind }) => kind === 'volume').map(({ id }) => id));
    for (const id of [...moved, ...this.#moved]) if (moved.has(id) !== this.#moved.has(id)) looked?.add(id);
    const before = this.volumes.size;
    const volumes = this.#tellVolumes(looked ?? new Set([...this.#records.volumes.keys(), ...this.volumes.keys()]), now);
    const cameOrWent = this.volumes.size !== before || volumes.some(({ isNew }) => isNew);
    const moves = tell(
      this.moves,
      pick(this.#records.moves, (move) => this.#isParty(move) || this.volumes.has(move.volume)),
    );
    const access = touched === null || cameOrWent ? this.#tellAccess() : { projects: [], applications: [], grants: [] };
    return [
      ...tell(this.denials, this.#records.denials).map(([id, denial]) => ({ type: 'denial' as const, revision, id, denial })),
      ...this.#tellHosts().map(([id, host]) => ({ type: 'host' as const, revision, id, host })),
      ...access.projects.map(([id, project]) => ({ type: 'project' as const, revision, id, project })),
      ...volumes.map(({ id, volume }) => ({ type: 'volume' as const, revision, id, volume })),
      ...moves.map(([id, move]) => ({ type: 'move' as const, revision, id, move })),
      ...access.grants.map(([id, grant]) => ({ type: 'grant' as const, revision, id, grant })),
      ...access.applications.map(([id, application]) => ({ type: 'application' as const, revision, id, application })),
    ];
  }

  #admit(now: number): void {
    const { admissions, applications, grants } = this.#records;
    const admitted = [...(admissions.get(this.#host) ?? [])].flatMap(([id, expires]) => {
      const application = applications.get(id);
      return application === undefined ? [] : [{ application, expires, grants: [...grants.values()].filter((grant) => grant.application === id) }];
    });
    this.#admitted = admitted;
    this.#due = nextReachChange(admitted, now);
  }

  #isParty({ from, to }: Move): boolean {
    return from === this.#host || to === this.#host;
  }

  #tellVolumes(looked: ReadonlySet<string>, now: number): { id: string; volume: Volume | null; isNew: boolean }[] {
    return [...looked].flatMap((id) => {
      const record = this.#records.volumes.get(id);
      const volume = record !== undefined && this.#isTold(record, now) ? record : undefined;
      const before = this.volumes.get(id);
      if (volume === before) return [];
      if (volume === undefined) this.volumes.delete(id);
      else this.volumes.set(id, volume);
      return [{ id, volume: volume ?? null, isNew: before === undefined }];
    });
  }

  #isTold(volume: Volume, now: number): boolean {
    const project = this.#records.projects.get(volume.project);
    const parties = new Set(this.#moved.has(volume.id) ? [this.#host] : []);
    return isTold({ volume, project, host: this.#host, admitted: this.#admitted, now }, parties);
  }

  #tellAccess(): { projects: Change<Project>[]; applications: Change<Application>[]; grants: Change<AccessGrant>[] } {
    const { projects, applications, grants, admissions } = this.#records;
    const known: KnownToHost = {
      host: this.#host,
      volumes: new Set(this.volumes.keys()),
      projects: new Set([...this.volumes.values()].map(({ project }) => project)),
      introduced: new Set(admissions.get(this.#host)?.keys()),
    };
    const grantsOf = Map.groupBy(grants.values(), ({ application }) => application);
    const knownApplications = pick(applications, (each) => mayKnowApplication(each, projects.get(each.project), grantsOf.get(each.id) ?? [], known));
    const theirs = new Set([...knownApplications.values()].map(({ project }) => project));
    const isKnown = ({ id, requireGrants }: Project): boolean => !requireGrants || known.projects.has(id) || theirs.has(id);
    const knownProjects = pick(projects, isKnown);
    if (knownProjects.size < projects.size) knownProjects.set(untoldProject.id, untoldProject);
    return {
      projects: tell(this.projects, knownProjects),
      applications: tell(this.applications, knownApplications),
      grants: tell(
        this.grants,
        pick(grants, (grant) => knownApplications.has(grant.application) && mayKnowGrant(grant, known)),
      ),
    };
  }

  /** While a project is open, any host may have its volumes, and is one to move them to. */
  #tellHosts(): Change<HostView>[] {
    const isOpen = [...this.#records.projects.values()].some(({ requireGrants }) => !requireGrants);
    if (isOpen) return tell(this.hosts, this.#records.hosts);
    const parties = new Set([
      this.#host,
      ...[...this.volumes.values()].flatMap(partiesOf),
      ...[...this.moves.values()].flatMap(({ from, to }) => [from, to]),
    ]);
    return tell(
      this.hosts,
      pick(this.#records.hosts, ({ id }) => parties.has(id)),
    );
  }
}

/** A record by its identifier; null if the host is not told of it any more. */
type Change<Item> = [id: string, item: Item | null];

/** Brings what was told to what is wanted. A record that has changed is another object. @returns what is new, changed or gone */
function tell<Item>(told: Told<Item>, wanted: ReadonlyMap<string, Item>): Change<Item>[] {
  const gone = [...told.keys()].filter((id) => !wanted.has(id)).map((id): Change<Item> => [id, null]);
  const changed = [...wanted].filter(([id, item]) => told.get(id) !== item);
  for (const [id] of gone) told.delete(id);
  for (const [id, item] of changed) told.set(id, item);
  return [...gone, ...changed];
}

function pick<Item>(items: ReadonlyMap<string, Item>, isWanted: (item: Item) => boolean): Map<string, Item> {
  return new Map([...items].filter(([, item]) => isWanted(item)));
}
