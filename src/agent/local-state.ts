import { z } from 'zod';
import { grantRecord } from '../model/grant.ts';
import type { Grant } from '../model/grant.ts';
import { hostRecord, volumeRecord } from '../model/records.ts';
import type { Host, Volume } from '../model/records.ts';
import { sessionReference } from '../model/reference.ts';
import type { SessionReference } from '../model/reference.ts';
import type { Clock } from '../ports/clock.ts';
import type { Store, StoreEntry, StoreOperation } from '../ports/store.ts';
import { AccessView } from './access-view.ts';
import { Admissions } from './admissions.ts';

const referenceList = z.array(sessionReference);
/** The grant of this epoch was confirmed by the name server in this boot of the host. */
const confirmationRecord = z.object({ epoch: z.int(), boot: z.string() });
type Confirmation = z.infer<typeof confirmationRecord>;

/** A ticket that was shown to this host as the source of a transfer. */
const usedTicket = z.object({
  purpose: z.string().describe('What is transferred, and whereto: each has one session.'),
  certificate: z.string().describe('Serial number of the certificate that it was first shown with.'),
  expires: z.int().describe('Wall-clock milliseconds since 1970.'),
  isOver: z.boolean(),
});
export type UsedTicket = z.infer<typeof usedTicket>;

export type AgedReference = SessionReference & { ageMilliseconds: number };

/**
 * What the agent must know without asking anybody, on disk and in memory: its grants, the engines' mount sessions, and a copy of
 * the cluster's volumes and hosts as of the last time the name server could be heard. A change is durable when its promise resolves.
 */
export class LocalState {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #grants = new Map<string, Grant>();
  readonly #confirmations = new Map<string, Confirmation>();
  readonly #references = new Map<string, SessionReference[]>();
  readonly #answeredAt = new Map<string, number>();
  readonly #volumes = new Map<string, Volume>();
  readonly #names = new Map<string, string>();
  readonly #hosts = new Map<string, Host>();
  readonly #tickets = new Map<string, UsedTicket>();
  /** Who may use what, as of that time. */
  readonly access: AccessView;
  /** Which containers were allowed to. */
  readonly admissions: Admissions;
  #heardRevision = 0;

  private constructor(store: Store, clock: Clock, entries: readonly StoreEntry[]) {
    this.#store = store;
    this.#clock = clock;
    this.access = new AccessView(store, entries);
    this.admissions = new Admissions(store, entries);
  }

  /** Reads everything into memory. */
  static async open(store: Store, clock: Clock): Promise<LocalState> {
    const { entries } = await store.list('');
    const state = new LocalState(store, clock, entries);
    for (const { key, value } of entries) {
      const [kind, id = ''] = key.split('/');
      if (kind === 'heard') state.#heardRevision = z.int().parse(value);
      if (kind === 'grants') state.#grants.set(id, grantRecord.parse(value));
      if (kind === 'confirmations') state.#confirmations.set(id, confirmationRecord.parse(value));
      if (kind === 'references') state.#references.set(id, referenceList.parse(value).flatMap(answeredUses));
      if (kind === 'volumes') state.#index(volumeRecord.parse(value));
      if (kind === 'hosts') state.#hosts.set(id, hostRecord.parse(value));
      if (kind === 'tickets') state.#tickets.set(id, usedTicket.parse(value));
    }
    return state;
  }

  grant(volume: string): Grant | null {
    return this.#grants.get(volume) ?? null;
  }

  async setGrant(volume: string, grant: Grant): Promise<void> {
    await this.#store.transact([], [{ put: `grants/${volume}`, value: grant }]);
    this.#grants.set(volume, grant);
  }

  /** By the name server's word of now this host holds the volume under this epoch. */
  async takeGrant(volume: string, { epoch, boot }: Confirmation): Promise<void> {
    const grant: Grant = { epoch, state: 'held', move: null, snapshot: null };
    await this.#write([
      { put: `grants/${volume}`, value: grant },
      { put: `confirmations/${volume}`, value: { epoch, boot } },
    ]);
    this.#grants.set(volume, grant);
    this.#confirmations.set(volume, { epoch, boot });
  }

  /** The name server says that these are still held by this host under these epochs. A grant itself is never changed by that. */
  async confirmGrants(claims: readonly { volume: string; epoch: number }[], boot: string): Promise<void> {
    await this.#write(claims.map(({ volume, epoch }) => ({ put: `confirmations/${volume}`, value: { epoch, boot } })));
    for (const { volume, epoch } of claims) this.#confirmations.set(volume, { epoch, boot });
  }

  /** Whether the name server has said, in this boot of the host, that it holds the volume under this epoch. */
  isConfirmed(volume: string, { epoch, boot }: Confirmation): boolean {
    const known = this.#confirmations.get(volume);
    return known?.epoch === epoch && known.boot === boot;
  }

  references(volume: string): AgedReference[] {
    const now = this.#clock.monotonicMilliseconds();
    return (this.#references.get(volume) ?? []).map((reference) => ({
      ...reference,
      ageMilliseconds: now - (this.#answeredAt.get(`${volume}/${reference.session}`) ?? this.#noteAnswer(volume, reference.session)),
    }));
  }

  /** Counts one more use of the session; it is being prepared until `confirmReference`. */
  async addReference(volume: string, session: string, engine: string | null): Promise<void> {
    const list = this.#references.get(volume) ?? [];
    // A session of an engine that is gone does not count any more, even if the new one uses its name again.
    const count = list.find((each) => each.session === session && each.engine === engine)?.count ?? 0;
    await this.#saveReferences(volume, [...list.filter((each) => each.session !== session), { session, count: count + 1, answered: false, engine }]);
    this.#noteAnswer(volume, session);
  }

  /** The mount of the session is about to be answered: from here on it counts until it is given back. */
  async confirmReference(volume: string, session: string): Promise<void> {
    const list = this.#references.get(volume) ?? [];
    await this.#saveReferences(
      volume,
      list.map((each) => (each.session === session ? { ...each, answered: true } : each)),
    );
  }

  /** Takes one use of the session back: the one that is being prepared, or else one that was answered. */
  async dropReference(volume: string, session: string): Promise<void> {
    const list = this.#references.get(volume) ?? [];
    if (!list.some((each) => each.session === session)) return;
    const changed = list.map((each) => (each.session === session ? { ...each, count: each.count - 1, answered: true } : each));
    await this.#saveReferences(
      volume,
      changed.filter((each) => each.count > 0),
    );
  }

  /** Drops sessions whatever their count. */
  async forgetSessions(volume: string, sessions: readonly string[]): Promise<void> {
    if (sessions.length === 0) return;
    const list = this.#references.get(volume) ?? [];
    await this.#saveReferences(
      volume,
      list.filter((each) => !sessions.includes(each.session)),
    );
  }

  /** Nothing of the volume is on this host any more. */
  async forgetCopy(volume: string): Promise<void> {
    await this.#write(['grants', 'confirmations', 'references'].map((kind) => ({ delete: `${kind}/${volume}` })));
    this.#grants.delete(volume);
    this.#confirmations.delete(volume);
    this.#references.delete(volume);
  }

  /** Volumes that this host has a grant or a session of. */
  localVolumes(): string[] {
    return [...new Set([...this.#grants.keys(), ...this.#references.keys()])];
  }

  volume(id: string): Volume | undefined {
    return this.#volumes.get(id);
  }

  volumeByName(name: string): Volume | undefined {
    const id = this.#names.get(name);
    return id === undefined ? undefined : this.#volumes.get(id);
  }

  /** Volumes that have a name, that is, all but those whose removal is confirmed. */
  namedVolumes(): Volume[] {
    return [...this.#names.values()].flatMap((id) => this.#volumes.get(id) ?? []);
  }

  host(id: string): Host | undefined {
    return this.#hosts.get(id);
  }

  hostName(id: string): string {
    return this.#hosts.get(id)?.name ?? id;
  }

  /** The highest revision of the name server's store that was heard; it only ever rises. */
  get heardRevision(): number {
    return this.#heardRevision;
  }

  async noteRevision(revision: number): Promise<void> {
    if (revision <= this.#heardRevision) return;
    this.#heardRevision = revision;
    await this.#write([{ put: 'heard', value: revision }]);
  }

  /** An operator says that the name server was set back on purpose. */
  async acceptOlderRevision(): Promise<void> {
    this.#heardRevision = 0;
    await this.#write([{ delete: 'heard' }]);
  }

  async rememberVolumes(volumes: readonly Volume[]): Promise<void> {
    const changed = volumes.filter((volume) => JSON.stringify(this.#volumes.get(volume.id)) !== JSON.stringify(volume));
    for (const volume of changed) this.#index(volume);
    await this.#write(changed.map((volume) => ({ put: `volumes/${volume.id}`, value: volume })));
  }

  async forgetVolume(id: string): Promise<void> {
    this.#unindex(id);
    await this.#write([{ delete: `volumes/${id}` }]);
  }

  async rememberHosts(hosts: readonly Host[]): Promise<void> {
    const changed = hosts.map((host) => hostRecord.parse(host)).filter((host) => JSON.stringify(this.#hosts.get(host.id)) !== JSON.stringify(host));
    for (const host of changed) this.#hosts.set(host.id, host);
    await this.#write(changed.map((host) => ({ put: `hosts/${host.id}`, value: host })));
  }

  /** Takes over a whole new picture: what is not in it is gone. */
  async replaceCatalogue(volumes: readonly Volume[], hosts: readonly Host[]): Promise<void> {
    const present = new Set(volumes.map((volume) => volume.id));
    const gone = [...this.#volumes.keys()].filter((id) => !present.has(id));
    for (const id of gone) this.#unindex(id);
    await this.#write(gone.map((id) => ({ delete: `volumes/${id}` })));
    await this.rememberHosts(hosts);
    await this.rememberVolumes(volumes);
  }

  usedTicket(id: string): UsedTicket | undefined {
    return this.#tickets.get(id);
  }

  /** Notes the first use of a ticket: it ends the session of the one before for the same purpose. What has run out by `now` is forgotten. */
  async useTicket(id: string, ticket: UsedTicket, now: number): Promise<void> {
    const ended = [...this.#tickets].filter(([, { purpose, isOver }]) => purpose === ticket.purpose && !isOver);
    const expired = [...this.#tickets].filter(([, { expires }]) => expires <= now).map(([each]) => each);
    const changed: [string, UsedTicket][] = [...ended.map(([each, old]): [string, UsedTicket] => [each, { ...old, isOver: true }]), [id, ticket]];
    for (const [each, record] of changed) this.#tickets.set(each, record);
    for (const each of expired) this.#tickets.delete(each);
    await this.#write([
      ...changed.filter(([each]) => this.#tickets.has(each)).map(([each, value]) => ({ put: `tickets/${each}`, value })),
      ...expired.map((each) => ({ delete: `tickets/${each}` })),
    ]);
  }

  async close(): Promise<void> {
    await this.#store.close();
  }

  #noteAnswer(volume: string, session: string): number {
    const now = this.#clock.monotonicMilliseconds();
    this.#answeredAt.set(`${volume}/${session}`, now);
    return now;
  }

  async #saveReferences(volume: string, list: SessionReference[]): Promise<void> {
    const key = `references/${volume}`;
    await this.#store.transact([], [list.length === 0 ? { delete: key } : { put: key, value: list }]);
    const kept = new Set(list.map((each) => each.session));
    for (const { session } of this.#references.get(volume) ?? []) if (!kept.has(session)) this.#answeredAt.delete(`${volume}/${session}`);
    if (list.length === 0) this.#references.delete(volume);
    else this.#references.set(volume, list);
  }

  async #write(operations: StoreOperation[]): Promise<void> {
    if (operations.length > 0) await this.#store.transact([], operations);
  }

  #index(volume: Volume): void {
    this.#unindex(volume.id);
    this.#volumes.set(volume.id, volume);
    const nameless = volume.placement.state === 'removing' && volume.placement.confirmed;
    if (!nameless) this.#names.set(volume.name, volume.id);
  }

  #unindex(id: string): void {
    const known = this.#volumes.get(id);
    this.#volumes.delete(id);
    if (known !== undefined && this.#names.get(known.name) === id) this.#names.delete(known.name);
  }
}

/** What remains of a session after the agent has died; nothing if its only use was still being prepared. */
function answeredUses(reference: SessionReference): SessionReference[] {
  const count = reference.answered ? reference.count : reference.count - 1;
  return count > 0 ? [{ ...reference, count, answered: true }] : [];
}
