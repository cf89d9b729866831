import { SupercargoError } from '../model/errors.ts';
import { currentHost } from '../model/holder.ts';
import { moveRecord, volumeRecord } from '../model/records.ts';
import type { Volume } from '../model/records.ts';
import { volumeKeys } from '../model/volume-keys.ts';
import type { VolumeKeys } from '../model/volume-keys.ts';
import type { MasterKeys } from '../pki/master-key.ts';
import type { Routes } from '../protocol/routes.ts';
import type { Handlers } from '../protocol/server.ts';
import { actorName, callingHost } from './hosts.ts';
import { findVolume, hostName } from './lookup.ts';
import type { NameServerContext } from './name-server.ts';
import { keys } from './keys.ts';
import type { Transaction } from './repository.ts';

/** Where master keys come from. */
export interface MasterKeySource {
  /** @throws what is wrong with the source */
  load(): Promise<MasterKeys>;
  /** Replaces them; null if somebody else keeps them. */
  save: ((keys: MasterKeys) => Promise<void>) | null;
}

const keyBytes = 32;
/** Smaller ones have no room for what the file system inside needs. */
const leastSizeBytes = 32 * 1024 ** 2;

type KeyRoutes = 'releaseKeys' | 'rekeyVolume' | 'confirmRekey' | 'rotateMasterKey';

export function keyHandlers(context: NameServerContext): Pick<Handlers<Routes>, KeyRoutes> {
  const { repository } = context;
  return {
    releaseKeys: async ({ parameters, body }, request) => {
      const host = callingHost(request);
      const verdict = await judgeRelease(context, parameters.volume, { host, epoch: body.epoch });
      if (verdict.refusal !== null) throw verdict.refusal;
      return { keys: await unwrapAll(context, verdict.volume, verdict.stored) };
    },
    rekeyVolume: async ({ parameters }, request) => {
      const [actor, masters] = [await actorName(context, request), await context.masterKeys.load()];
      return repository.transact(async (transaction) => {
        const { volume, encryption, stored } = await findKeys(transaction, parameters.volume);
        // Asked again before the holder has done it: that is what was asked for.
        if (encryption.keyInUse < encryption.key) return volume;
        const number = encryption.key + 1;
        const changed = { ...volume, encryption: { ...encryption, key: number } };
        transaction.put(keys.volumeKeys(volume.id), { keys: [...stored.keys, masters.wrap(volume.id, number, newKey(context))] });
        transaction.put(keys.volume(volume.id), changed);
        transaction.record('volume.rekeyed', volume.name, actor, `Volume "${volume.name}" gets key ${number}.`);
        return changed;
      });
    },
    confirmRekey: async ({ parameters, body }, request) => {
      const host = callingHost(request);
      await repository.transact(async (transaction) => {
        const { volume, encryption } = await findKeys(transaction, parameters.volume);
        if (currentHost(volume.placement) !== host || volume.epoch !== body.epoch || body.number !== encryption.key) {
          throw new SupercargoError('stale-epoch', `Volume "${volume.name}" has another holder, epoch or key by now.`, { hint: 'Look at it again.' });
        }
        transaction.put(keys.volume(volume.id), { ...volume, encryption: { ...encryption, keyInUse: body.number } });
        const message = `Key ${body.number} opens volume "${volume.name}", and no older one any more.`;
        transaction.record('volume.rekey-confirmed', volume.name, await hostName(transaction, host), message);
      });
      return {};
    },
    rotateMasterKey: (_, request) => actorName(context, request).then((actor) => rotateMasterKey(context, actor)),
  };
}

/**
 * What an encrypted volume of that class begins with. One that is made of another's data is encrypted as that is, whatever its class says, and opens with the
 * keys of that until its holder has given it its own.
 * @param origin the volume whose data it starts with
 * @throws invalid-option
 */
export async function makeKeys(
  context: NameServerContext,
  transaction: Transaction,
  made: { id: string; sizeBytes: number | null },
  origin: Volume | null,
): Promise<NonNullable<Volume['encryption']>> {
  if (made.sizeBytes === null || made.sizeBytes < leastSizeBytes) {
    throw new SupercargoError('invalid-option', 'An encrypted volume needs a size, of at least 32M.', {
      hint: 'Give one: --size 10G, or one for the class.',
    });
  }
  const masters = await context.masterKeys.load();
  const before = origin === null ? { keys: [] } : ((await transaction.get(keys.volumeKeys(origin.id), volumeKeys)) ?? { keys: [] });
  const texts = [...(origin === null ? [] : before.keys.map((each) => masters.unwrap(origin.id, each))), newKey(context)];
  const wrapped: VolumeKeys = { keys: texts.map((text, index) => masters.wrap(made.id, index + 1, text)) };
  transaction.put(keys.volumeKeys(made.id), wrapped);
  return { engine: 'luks', key: texts.length, keyInUse: Math.max(1, before.keys.length) };
}

/** The end of what a volume's copies say, wherever they are: together with the change that nobody needs it any more. */
export function forgetKeys(transaction: Transaction, volume: Pick<Volume, 'id' | 'encryption'>): void {
  if (volume.encryption !== null) transaction.delete(keys.volumeKeys(volume.id));
}

function newKey({ random }: NameServerContext): string {
  return Buffer.from(random(keyBytes)).toString('base64');
}

type Verdict = { refusal: null; volume: Volume; stored: VolumeKeys } | { refusal: SupercargoError };

/** Only the holder of this very epoch gets the keys; either way it is recorded who asked. */
function judgeRelease({ repository }: NameServerContext, word: string, { host, epoch }: { host: string; epoch: number }): Promise<Verdict> {
  return repository.transact(async (transaction): Promise<Verdict> => {
    const { volume, stored } = await findKeys(transaction, word);
    const name = await hostName(transaction, host);
    const refusal = await refusalFor(transaction, volume, host, epoch);
    if (refusal !== null) {
      transaction.record('volume.key-refused', volume.name, name, `${name} was refused the key of volume "${volume.name}": ${refusal.message}`);
      return { refusal };
    }
    transaction.record('volume.key-released', volume.name, name, `${name} was given the key of volume "${volume.name}" for epoch ${epoch}.`);
    return { refusal: null, volume, stored };
  });
}

async function refusalFor(
  transaction: Transaction,
  { name, placement, epoch }: Volume,
  host: string,
  asked: number,
): Promise<SupercargoError | null> {
  if (currentHost(placement) !== host) {
    return new SupercargoError('forbidden', `This host does not hold volume "${name}".`, { hint: 'Only the holder is given its key.' });
  }
  if (asked !== epoch)
    return new SupercargoError('stale-epoch', `Volume "${name}" is at epoch ${epoch}, not ${asked}.`, { hint: 'Look at it again.' });
  const move = placement.state === 'moving' ? await transaction.get(keys.move(placement.move), moveRecord) : undefined;
  if (move?.phase === 'released')
    return new SupercargoError('forbidden', `This host has released volume "${name}".`, { hint: 'Wait for the end of its move.' });
  return null;
}

/** @throws not-found; wrong-state if it is not encrypted or its keys were deleted */
async function findKeys(
  transaction: Transaction,
  word: string,
): Promise<{ volume: Volume; encryption: NonNullable<Volume['encryption']>; stored: VolumeKeys }> {
  const volume = await findVolume(transaction, word);
  const stored = await transaction.get(keys.volumeKeys(volume.id), volumeKeys);
  if (volume.encryption === null) {
    throw new SupercargoError('wrong-state', `Volume "${volume.name}" is not encrypted.`, {
      hint: 'Encryption is chosen by the class when a volume is made.',
    });
  }
  if (stored === undefined) throw new SupercargoError('wrong-state', `The keys of volume "${volume.name}" were deleted with it.`);
  return { volume, encryption: volume.encryption, stored };
}

/** The newest first, as whoever opens an image tries them. */
async function unwrapAll({ masterKeys }: NameServerContext, volume: Volume, stored: VolumeKeys): Promise<{ number: number; key: string }[]> {
  const masters = await masterKeys.load();
  return stored.keys.toReversed().map((each) => ({ number: each.number, key: masters.unwrap(volume.id, each) }));
}

/**
 * Wraps all keys under the first master key. Where the name server keeps the master key itself, it makes a new one before, and drops the old ones after that.
 * Ended anywhere, it goes on when it is asked for again.
 */
async function rotateMasterKey(
  { repository, masterKeys }: NameServerContext,
  actor: string,
): Promise<{ master: string; volumes: number; kept: boolean }> {
  const { save } = masterKeys;
  let masters = await masterKeys.load();
  if (save !== null && masters.count === 1) {
    masters = masters.withNew();
    await save(masters);
  }
  let volumes = 0;
  for (const { id } of (await repository.list(keys.volumes, volumeRecord)).filter(({ encryption }) => encryption !== null)) {
    if (await rewrap(repository, masters, id)) volumes += 1;
  }
  if (save !== null) await save(masters.withoutOld());
  const master = masters.fingerprint;
  await repository.transact(async (transaction) => {
    transaction.record('master-key.rotated', master, actor, `The keys of all volumes are wrapped under master key ${master}.`);
  });
  return { master, volumes, kept: save === null };
}

/** @returns whether anything was to be done */
function rewrap(repository: NameServerContext['repository'], masters: MasterKeys, id: string): Promise<boolean> {
  return repository.transact(async (transaction) => {
    const stored = await transaction.get(keys.volumeKeys(id), volumeKeys);
    if (stored === undefined || stored.keys.every(({ master }) => master === masters.fingerprint)) return false;
    transaction.put(keys.volumeKeys(id), { keys: stored.keys.map((each) => masters.wrap(id, each.number, masters.unwrap(id, each))) });
    return true;
  });
}
