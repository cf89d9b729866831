import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SupercargoError } from '../model/errors.ts';
import type { MasterKeySource } from '../nameserver/volume-keys.ts';
import { MasterKeys } from '../pki/master-key.ts';
import { execute } from '../system/execute.ts';
import { writeFileAtomic } from '../system/files.ts';
import type { Log } from '../agent/context.ts';
import type { Settings } from './settings.ts';

const commandMilliseconds = 10_000;

/**
 * Where the name server's master key comes from: a file, a program's output, or, if neither is named, a file of its own that it makes when the first volume
 * needs one. It is read for each use, so that it is in memory no longer than that.
 */
export function createMasterKeySource(options: { directory: string; settings: Settings; log: Log }): MasterKeySource {
  const { settings, log } = options;
  if (settings.masterKeyCommand !== '') return { load: () => fromCommand(settings.masterKeyCommand), save: null };
  if (settings.masterKeyFile !== '') return { load: () => fromFile(settings.masterKeyFile), save: null };
  const path = join(options.directory, 'master-key');
  const save = (keys: MasterKeys): Promise<void> => writeFileAtomic(path, keys.toText(), 0o600);
  return {
    save,
    load: async () => {
      if (await isThere(path)) return fromFile(path);
      const made = MasterKeys.make();
      await save(made);
      log.warn(
        { path },
        'made a master key for encrypted volumes beside the records: whoever has both, such as a backup of this directory, can read every volume; set SUPERCARGO_MASTER_KEY_FILE or SUPERCARGO_MASTER_KEY_COMMAND to keep it elsewhere',
      );
      return made;
    },
  };
}

/** @throws invalid-option if others could read it */
async function fromFile(path: string): Promise<MasterKeys> {
  const { mode } = await stat(path).catch((error: unknown) => {
    throw new SupercargoError('invalid-option', `The master key file ${path} cannot be read.`, {
      hint: 'Bring it there; do not make a new one.',
      cause: error,
    });
  });
  if ((mode & 0o077) !== 0) {
    throw new SupercargoError('invalid-option', `The master key file ${path} can be read by others than its owner.`, {
      hint: `Run: chmod 600 ${path}`,
    });
  }
  return MasterKeys.parse(await readFile(path, 'utf8'), path);
}

async function fromCommand(command: string): Promise<MasterKeys> {
  const [program = '', ...parameters] = command.split(/\s+/).filter((word) => word !== '');
  return MasterKeys.parse(await execute(program, parameters, { timeoutMilliseconds: commandMilliseconds }), `The command ${program}`);
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}
