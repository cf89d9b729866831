import { z } from 'zod';
import { epoch, volumeRecord } from '../model/records.ts';
import { defineRoutes } from './route.ts';

/** Routes about the encryption of volumes. */
const volumeParameters = z.object({ volume: z.string().min(1).max(256) });

export const keyRoutes = defineRoutes({
  releaseKeys: {
    method: 'POST',
    path: '/v1/volumes/:volume/key',
    summary: 'The keys of an encrypted volume, for its holder at its present epoch only; each call is recorded as an event.',
    callers: ['host'],
    parameters: volumeParameters,
    body: z.strictObject({ epoch }),
    response: z.object({
      keys: z
        .array(z.object({ number: z.int().positive(), key: z.string() }))
        .describe('The newest first; older ones open snapshots from before a change of key.'),
    }),
  },
  rekeyVolume: {
    method: 'POST',
    path: '/v1/volumes/:volume/rekey',
    summary: 'Gives an encrypted volume a new key; its holder brings it about and confirms.',
    callers: ['operator'],
    parameters: volumeParameters,
    response: volumeRecord,
  },
  confirmRekey: {
    method: 'POST',
    path: '/v1/volumes/:volume/rekey/confirm',
    summary: 'The calling holder has made the live copy open with this key and no older one.',
    callers: ['host'],
    parameters: volumeParameters,
    body: z.strictObject({ epoch, number: z.int().positive() }),
    response: z.object({}),
  },
  rotateMasterKey: {
    method: 'POST',
    path: '/v1/master-key/rotate',
    summary: 'Wraps the keys of all volumes under the newest master key, which the name server makes where it keeps it itself.',
    callers: ['operator'],
    response: z.object({
      master: z.string().describe('Fingerprint of the master key that counts from now on.'),
      volumes: z.int().describe('Volumes whose keys were wrapped anew.'),
      kept: z.boolean().describe('Whether older master keys are still where the operator keeps them.'),
    }),
  },
});
