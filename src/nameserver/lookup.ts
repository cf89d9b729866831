import { z } from 'zod';
import { SupercargoError } from '../model/errors.ts';
import { userRecord } from '../model/access.ts';
import type { User } from '../model/access.ts';
import { identifierPattern } from '../model/identifiers.ts';
import { hostRecord, moveRecord, volumeRecord } from '../model/records.ts';
import type { Host, Move, Volume } from '../model/records.ts';
import { keys } from './repository.ts';

/** What both the repository and a transaction can do: read a record. */
interface Reader {
  get<Schema extends z.ZodType>(key: string, schema: Schema): Promise<z.output<Schema> | undefined>;
}

/** A name entry holds the identifier of the object that has the name. */
export const nameEntry = z.object({ id: z.string() });

async function resolve(reader: Reader, nameKey: (name: string) => string, word: string): Promise<string | undefined> {
  // No name looks like an identifier (checkName), so neither can stand in for the other.
  return identifierPattern.test(word) ? word : (await reader.get(nameKey(word), nameEntry))?.id;
}

/** Finds a volume by name or identifier. @throws not-found */
export async function findVolume(reader: Reader, word: string): Promise<Volume> {
  const id = await resolve(reader, keys.volumeName, word);
  const volume = id === undefined ? undefined : await reader.get(keys.volume(id), volumeRecord);
  if (volume === undefined) {
    throw new SupercargoError('not-found', `There is no volume "${word}".`, { hint: 'supercargo volume ls lists all volumes.' });
  }
  return volume;
}

/** Finds a host by name or identifier. @throws not-found */
export async function findHost(reader: Reader, word: string): Promise<Host> {
  const id = await resolve(reader, keys.hostName, word);
  const host = id === undefined ? undefined : await reader.get(keys.host(id), hostRecord);
  if (host === undefined) throw new SupercargoError('not-found', `There is no host "${word}".`, { hint: 'supercargo host ls lists all hosts.' });
  return host;
}

/** Finds a user by name or identifier. @throws not-found */
export async function findUser(reader: Reader, word: string): Promise<User> {
  const id = await resolve(reader, keys.userName, word);
  const user = id === undefined ? undefined : await reader.get(keys.user(id), userRecord);
  if (user === undefined) throw new SupercargoError('not-found', `There is no user "${word}".`, { hint: 'supercargo user ls lists all users.' });
  return user;
}

/** @throws not-found */
export async function findMove(reader: Reader, id: string): Promise<Move> {
  const move = await reader.get(keys.move(id), moveRecord);
  if (move === undefined) throw new SupercargoError('not-found', `There is no move ${id}.`, { hint: 'It may have ended long ago.' });
  return move;
}

/** The name of a host for messages; its identifier if the host is gone. */
export async function hostName(reader: Reader, id: string): Promise<string> {
  return (await reader.get(keys.host(id), hostRecord))?.name ?? id;
}
