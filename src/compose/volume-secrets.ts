import type { LocalState } from '../agent/local-state.ts';
import type { VolumeSecrets } from '../drivers/encrypted/driver.ts';
import { isSupercargoError, SupercargoError } from '../model/errors.ts';
import type { VolumeKey } from '../ports/volume-cipher.ts';
import type { Client } from '../protocol/client.ts';
import type { Routes } from '../protocol/routes.ts';

/** A mount waits for it. Milliseconds. */
const keyTimeoutMilliseconds = 5000;

/** Keys come from the name server for each opening, and nobody here keeps them. */
export function volumeSecrets(state: Pick<LocalState, 'volume'>, nameServer: Pick<Client<Routes>, 'releaseKeys'>): VolumeSecrets {
  return {
    encryptionOf: (id) => {
      const volume = state.volume(id);
      return volume === undefined || volume.encryption === null ? null : { sizeBytes: volume.sizeBytes ?? 0 };
    },
    release: async (id) => {
      const { name = id, epoch = 0 } = state.volume(id) ?? {};
      try {
        const { keys } = await nameServer.releaseKeys(
          { parameters: { volume: id }, body: { epoch } },
          { timeoutMilliseconds: keyTimeoutMilliseconds },
        );
        return keys.map(({ key }) => key as VolumeKey);
      } catch (error) {
        if (!isSupercargoError(error, 'name-server-unreachable')) throw error;
        throw new SupercargoError(
          'name-server-unreachable',
          `Volume "${name}" is encrypted and closed, and the name server, which has its key, does not answer.`,
          {
            hint: 'Start it again when the name server is back.',
            cause: error,
          },
        );
      }
    },
  };
}
