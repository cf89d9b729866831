import { isSupercargoError, SupercargoError } from '../model/errors.ts';
import { formatSize } from '../model/size.ts';
import { currentHost } from '../model/holder.ts';
import type { Volume } from '../model/records.ts';
import type { CreateOptions, KnownVolume, VolumeVerbs } from '../ports/volume-verbs.ts';
import { mountPointOf } from './context.ts';
import type { AgentContext } from './context.ts';
import { describeMove, mount } from './mount.ts';
import type { VolumeActor } from './volume-actor.ts';

/** How long the name server may take to answer about a name that the local copy does not know, in milliseconds. */
const lookupMilliseconds = 2000;
/** How long it may take until a snapshot of a volume in use was taken that another one begins with, in milliseconds. */
const cloneMilliseconds = 30_000;
/** Engines wait sixty seconds for a removal. Milliseconds. */
const removalMilliseconds = 50_000;

/** The verbs behind every foreign protocol, over the agent's actors. */
export function createVerbs(context: AgentContext, actorOf: (volume: string) => VolumeActor, reconsiderAll: () => void): VolumeVerbs {
  const { state, nameServer, enforcement } = context;
  const known = (volume: Volume): KnownVolume => describe(context, volume);

  /** @throws not-found, name-server-unreachable */
  async function requireVolume(name: string): Promise<Volume> {
    const volume = await lookUp(context, name);
    if (volume === undefined)
      throw new SupercargoError('not-found', `There is no volume "${name}".`, { hint: 'supercargo volume ls lists all volumes.' });
    return volume;
  }

  return {
    create: (options) => create(context, options, actorOf),
    find: async (name) => {
      const volume = await lookUp(context, name);
      return volume === undefined ? undefined : known(volume);
    },
    list: () => state.namedVolumes().map(known),
    mount: async (name, session, signal) => {
      const volume = await requireVolume(name);
      enforcement.checkMount(volume, session);
      return mount(context, actorOf(volume.id), volume, session, signal);
    },
    unmount: async (name, session) => {
      const volume = state.volumeByName(name);
      if (volume !== undefined) await actorOf(volume.id).giveBack(session);
    },
    remove: async (name) => {
      const volume = await requireVolume(name);
      try {
        await nameServer.removeVolume({ parameters: { volume: volume.id } }, { timeoutMilliseconds: removalMilliseconds });
      } catch (error) {
        // Removed by somebody else meanwhile: that is what was wanted.
        if (!isSupercargoError(error, 'not-found')) throw error;
      }
      await state.forgetVolume(volume.id);
    },
    engineStarted: reconsiderAll,
  };
}

async function create(context: AgentContext, options: CreateOptions, actorOf: (volume: string) => VolumeActor): Promise<void> {
  const { state, nameServer, self } = context;
  const { from } = options;
  // What begins with the data of another volume shares it, and is made where that is.
  if (state.volumeByName(options.name) === undefined && from === undefined) await requireRoom(context, options);
  const call = {
    body: {
      name: options.name,
      ...(from === undefined
        ? { host: self.id }
        : { from: from.snapshot === null ? { volume: from.volume } : { volume: from.volume, snapshot: from.snapshot } }),
      ...(options.project === undefined ? {} : { project: options.project }),
      ...(options.class === undefined ? {} : { class: options.class }),
      ...(options.sizeBytes === undefined ? {} : { sizeBytes: options.sizeBytes }),
      ...(options.labels === undefined ? {} : { labels: options.labels }),
    },
  };
  const volume = await nameServer.createVolume(call, from === undefined ? {} : { timeoutMilliseconds: cloneMilliseconds });
  await state.rememberVolumes([volume]);
  actorOf(volume.id).wake();
}

/** A volume that can never be filled to its size is refused while that is still easy to see. @throws pool-full */
async function requireRoom({ driver, self }: AgentContext, { name, sizeBytes = 0 }: CreateOptions): Promise<void> {
  const { capacityBytes, usedBytes } = await driver.usage();
  const free = capacityBytes - usedBytes;
  if (sizeBytes <= free) return;
  throw new SupercargoError(
    'pool-full',
    `Volume "${name}" of ${formatSize(sizeBytes)} does not fit: the pool of ${self.name} has ${formatSize(free)} free.`,
    {
      hint: 'Ask for a smaller size, make room, or create it on another host.',
    },
  );
}

/** The local copy answers; only for a name that it does not know is the name server asked. */
async function lookUp({ state, nameServer }: AgentContext, name: string): Promise<Volume | undefined> {
  const local = state.volumeByName(name);
  if (local !== undefined) return local;
  try {
    const volume = await nameServer.getVolume({ parameters: { volume: name } }, { timeoutMilliseconds: lookupMilliseconds });
    if (volume.name !== name) return undefined;
    await state.rememberVolumes([volume]);
    return volume;
  } catch (error) {
    if (isSupercargoError(error, 'not-found')) return undefined;
    throw error;
  }
}

function describe(context: AgentContext, volume: Volume): KnownVolume {
  const { state, view, self } = context;
  const holder = currentHost(volume.placement);
  const move = view.openMoveOf(view.volume(volume.id));
  const mounted = holder === self.id && state.references(volume.id).length > 0;
  return {
    volume,
    mountPoint: mounted ? mountPointOf(context, volume.id) : null,
    status: {
      state: move === null ? volume.placement.state : describeMove(move, state.hostName(move.from)),
      epoch: String(volume.epoch),
      class: volume.class,
      ...(holder === null ? {} : { host: state.hostName(holder) }),
      ...(volume.sizeBytes === null ? {} : { size: formatSize(volume.sizeBytes) }),
      ...(view.synced ? {} : { note: 'as of the last contact with the name server' }),
    },
  };
}
