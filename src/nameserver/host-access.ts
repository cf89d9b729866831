import { SupercargoError } from '../model/errors.ts';
import type { ClusterEvent } from '../model/records.ts';
import type { Routes } from '../protocol/routes.ts';
import { HostPicture } from './host-picture.ts';
import { findApplication, findHost, findMove, findProject, findVolume, hostName } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import { hintFor, isThereFor } from './reach.ts';
import { StateRecords } from './state-records.ts';

type Route = keyof Routes;
/** What a call names, before anything is known of it. */
type Words = Record<string, string | null | undefined>;
/** Whether the host may know what the call names. @throws not-found if there is no such thing */
type Judge = (context: NameServerContext, words: Words, host: string) => Promise<boolean>;

const ofVolume: Judge = async (context, { volume }, host) =>
  isThereFor(context, context.repository, await findVolume(context.repository, volume ?? ''), host);

const ofMove: Judge = async (context, words, host) => {
  const move = await findMove(context.repository, words['move'] ?? '');
  return move.from === host || move.to === host || ofVolume(context, { volume: move.volume }, host);
};

const ofHost: Judge = async (context, words, host) => {
  const { id } = await findHost(context.repository, words['host'] ?? '');
  return (await pictureOf(context, host)).hosts.has(id);
};

const ofProject: Judge = async (context, { project }, host) => {
  const { id } = await findProject(context.repository, project ?? '');
  return (await pictureOf(context, host)).projects.has(id);
};

const ofApplication: Judge = async (context, { application }, host) => {
  const { id } = await findApplication(context.repository, application ?? '');
  return (await pictureOf(context, host)).applications.has(id);
};

/** What may be left out. */
const given =
  (word: string, judge: Judge): Judge =>
  async (context, words, host) =>
    words[word] === undefined || judge(context, words, host);

const every =
  (...judges: Judge[]): Judge =>
  async (context, words, host) =>
    (await Promise.all(judges.map((judge) => judge(context, words, host)))).every(Boolean);

/** Names nothing but the caller and its own, or what everybody may know; lists are cut down afterwards. */
const anything: Judge = async () => true;

/** Every route that a host may call. */
const rules: Partial<Record<Route, Judge>> = {
  getCluster: anything,
  renewCertificate: anything,
  heartbeat: anything,
  listClasses: anything,
  recordDecisions: anything,
  acknowledgeAccess: anything,
  listAcknowledgements: anything,
  getAuthority: anything,
  listDenials: anything,
  watch: anything,
  listEvents: anything,
  followEvents: anything,
  listHosts: anything,
  getHost: ofHost,
  listVolumes: anything,
  createVolume: given('from', async (context, { from }, host) => ofVolume(context, { volume: from ?? '' }, host)),
  getVolume: ofVolume,
  updateVolume: ofVolume,
  removeVolume: ofVolume,
  where: ofVolume,
  claimVolume: ofVolume,
  reclaimVolume: ofVolume,
  reportCopy: ofVolume,
  confirmRemoval: ofVolume,
  refuseRemoval: ofVolume,
  getVolumeStatus: ofVolume,
  recordSnapshot: ofVolume,
  createReplicaTicket: ofVolume,
  previewFailover: ofVolume,
  recordDiverged: ofVolume,
  releaseKeys: ofVolume,
  confirmRekey: ofVolume,
  createSnapshot: ofVolume,
  listSnapshots: given('volume', ofVolume),
  getSnapshot: ofVolume,
  deleteSnapshot: ofVolume,
  recordSnapshotTaken: ofVolume,
  recordSnapshotFailed: ofVolume,
  recordSnapshotBytes: ofVolume,
  revertVolume: ofVolume,
  commitRevert: ofVolume,
  refuseRevert: ofVolume,
  listMoves: anything,
  createMove: ofVolume,
  getMove: ofMove,
  cancelMove: ofMove,
  readyMove: ofMove,
  blockMove: ofMove,
  releaseMove: ofMove,
  commitMove: ofMove,
  abortMove: ofMove,
  reportProgress: ofMove,
  createTicket: ofMove,
  listProjects: anything,
  getProject: ofProject,
  listApplications: given('project', ofProject),
  // Whoever names an application may have a container of it, and the pass counts on that host only.
  createPass: anything,
  listGrants: every(given('project', ofProject), given('application', ofApplication), given('volume', ofVolume)),
};

/** What of an answer a host is told, item by item. */
const lists: Partial<Record<Route, (picture: HostPicture, item: never) => boolean>> = {
  listVolumes: ({ volumes }, { id }: { id: string }) => volumes.has(id),
  listSnapshots: ({ volumes }, { volumeId }: { volumeId: string }) => volumes.has(volumeId),
  listMoves: ({ moves }, { id }: { id: string }) => moves.has(id),
  listHosts: ({ hosts }, { id }: { id: string }) => hosts.has(id),
  listProjects: ({ projects }, { id }: { id: string }) => projects.has(id),
  listApplications: ({ applications }, { id }: { id: string }) => applications.has(id),
  listGrants: ({ grants }, { id }: { id: string }) => grants.has(id),
  listAcknowledgements: ({ hosts }, { host }: { host: string }) => hosts.has(host),
};

/** Whether there is a rule for the route; without one no host may call it. */
export function hasRule(route: Route): boolean {
  return rules[route] !== undefined;
}

/**
 * A host is told of what concerns it only, because its certificate may be stolen: what it may not know is as if it were not there.
 * @throws not-found, and forbidden for what is not for hosts
 */
export async function requireKnown(context: NameServerContext, route: Route, input: unknown, host: string): Promise<void> {
  const judge = rules[route];
  if (judge === undefined) throw new SupercargoError('forbidden', `A host may not call ${route}.`);
  const words = wordsOf(input);
  if (!(await judge(context, words, host).catch(asUnknown))) throw await notThere(context, words, host);
}

/** What of an answer the host is told. */
export async function toldToHost<Answer>(context: NameServerContext, route: Route, answer: Answer, host: string): Promise<Answer> {
  const isTold = lists[route];
  if (route === 'getAuthority') return withoutStrangers(context, answer as Answer & { hosts: { host: string }[] }, host);
  if (isTold === undefined) return answer;
  const picture = await pictureOf(context, host);
  const { items } = answer as { items: never[] };
  return { ...answer, items: items.filter((item) => isTold(picture, item)) };
}

/** What a host is told of at this moment. */
export async function pictureOf({ store, clock }: NameServerContext, host: string): Promise<HostPicture> {
  return new HostPicture(new StateRecords((await store.list(keys.state)).entries), host, clock.wallMilliseconds());
}

/** Whether what happened concerns something that the host is told of. Events have names only, and a name may have been another volume's before. */
export function tellsOfKnown({ volumes, hosts }: HostPicture, { type, subject, time }: ClusterEvent): boolean {
  const [kind] = type.split('.');
  if (kind === 'volume' || kind === 'move' || kind === 'replica' || kind === 'snapshot') {
    const [volume] = subject.split('@');
    return [...volumes.values()].some(({ name, createdAt }) => name === volume && createdAt <= time);
  }
  return kind === 'host' && [...hosts.values()].some(({ name }) => name === subject);
}

async function withoutStrangers<Answer extends { hosts: { host: string }[] }>(
  context: NameServerContext,
  answer: Answer,
  host: string,
): Promise<Answer> {
  const { hosts } = await pictureOf(context, host);
  const names = new Set([...hosts.values()].map(({ name }) => name));
  return { ...answer, hosts: answer.hosts.filter((each) => names.has(each.host)) };
}

function wordsOf(input: unknown): Words {
  const { parameters = {}, body = {}, query = {} } = input as { parameters?: Words; body?: (Words & { from?: unknown }) | null; query?: Words };
  const from = (body?.from as { volume?: string } | undefined)?.volume;
  return { ...query, ...body, ...parameters, from };
}

function asUnknown(error: unknown): false {
  if (error instanceof SupercargoError && error.code === 'not-found') return false;
  throw error;
}

async function notThere({ repository }: NameServerContext, words: Words, host: string): Promise<SupercargoError> {
  const name = await hostName(repository, host);
  const word = [words['volume'], words['move'], words['from'], words['application'], words['project'], words['host']].find(
    (each) => each !== undefined,
  );
  return new SupercargoError('not-found', `There is no "${word ?? ''}" that host "${name}" is told of.`, {
    hint: `If there is one, an operator can let a volume come there. ${hintFor(name)}`,
  });
}
