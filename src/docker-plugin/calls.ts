import { isSupercargoError, SupercargoError } from '../model/errors.ts';
import type { KnownVolume, VolumeVerbs } from '../ports/volume-verbs.ts';
import type { Authorization } from './authorization.ts';
import { parseCreateOptions } from './options.ts';
import type { CallDocument } from './request.ts';
import { driverOptions, mountSession, volumeName } from './request.ts';

export interface Answer {
  document: object;
  /** Called when the answer has gone out, or could not because the engine had hung up. */
  settled?: (delivered: boolean) => Promise<void> | void;
}

/** @param signal fires when the engine closed the connection before the answer */
export type Call = (document: CallDocument, signal: AbortSignal) => Promise<Answer>;

/**
 * Thrown where every possible answer would be a lie: the connection is then closed without one, the only thing that engines do not take
 * for "the volume does not exist".
 */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer';
}

/** The calls of the volume-plugin and the authorization-plugin protocol by their path. */
export function pluginCalls(verbs: VolumeVerbs, authorization: Authorization): ReadonlyMap<string, Call> {
  return new Map<string, Call>([
    [
      '/Plugin.Activate',
      // A second one means that the engine was restarted. The check comes after the answer: the engine waits for it without a deadline.
      async () => ({ document: { Implements: ['VolumeDriver', 'authz'] }, settled: () => verbs.engineStarted() }),
    ],
    ['/AuthZPlugin.AuthZReq', async (document) => ({ document: await authorization.request(document) })],
    ['/AuthZPlugin.AuthZRes', async (document) => ({ document: await authorization.response(document) })],
    ['/VolumeDriver.Capabilities', async () => ({ document: { Capabilities: { Scope: 'global' } } })],
    ['/VolumeDriver.List', async () => ({ document: { Volumes: verbs.list().map(engineVolume), Err: '' } })],
    ['/VolumeDriver.Get', async (document) => ({ document: { Volume: engineVolume(await findForGet(verbs, volumeName(document))), Err: '' } })],
    [
      '/VolumeDriver.Path',
      async (document) => {
        const name = volumeName(document);
        const known = (await verbs.find(name)) ?? notFound(name);
        return { document: { Mountpoint: known.mountPoint ?? '', Err: '' } };
      },
    ],
    [
      '/VolumeDriver.Create',
      async (document) => {
        const name = volumeName(document);
        await verbs.create({ name, ...parseCreateOptions(driverOptions(document)) });
        return succeeded;
      },
    ],
    ['/VolumeDriver.Mount', (document, signal) => mount(verbs, document, signal)],
    [
      '/VolumeDriver.Unmount',
      async (document) => {
        await verbs.unmount(volumeName(document), mountSession(document));
        return succeeded;
      },
    ],
    [
      '/VolumeDriver.Remove',
      async (document) => {
        await verbs.remove(volumeName(document));
        return succeeded;
      },
    ],
  ]);
}

const succeeded: Answer = { document: { Err: '' } };

async function mount(verbs: VolumeVerbs, document: CallDocument, signal: AbortSignal): Promise<Answer> {
  const name = volumeName(document);
  const session = mountSession(document);
  const mountPoint = await verbs.mount(name, session, signal);
  // While `mount` runs, the signal gives the use back; from here on nobody but us can know that the engine never heard of it.
  const settled = async (delivered: boolean) => {
    if (!delivered) await verbs.unmount(name, session);
  };
  return { document: { Mountpoint: mountPoint, Err: '' }, settled };
}

/**
 * After a negative answer to Get, the engine forgets the volume's labels and creates a new one of its name. So only a certain "no" is said.
 * @throws NoAnswer if it is not certain
 */
async function findForGet(verbs: VolumeVerbs, name: string): Promise<KnownVolume> {
  let known: KnownVolume | undefined;
  try {
    known = await verbs.find(name);
  } catch (error) {
    if (isSupercargoError(error, 'not-found', 'invalid-name')) throw error;
    throw new NoAnswer(`Whether volume "${name}" exists is not known.`, { cause: error });
  }
  return known ?? notFound(name);
}

function notFound(name: string): never {
  throw new SupercargoError('not-found', `There is no volume "${name}".`);
}

function engineVolume({ volume, mountPoint, status }: KnownVolume): object {
  return {
    Name: volume.name,
    Mountpoint: mountPoint ?? '',
    // Engines refuse the whole answer if the time is not full RFC 3339; our records may leave out the seconds.
    CreatedAt: new Date(volume.createdAt).toISOString(),
    Status: status,
  };
}
